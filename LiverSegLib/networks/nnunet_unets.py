"""The two networks that nnU-Net v2 trains, with the names of its weights.

Isensee et al., nnU-Net (Nature Methods 2021), and nnU-Net Revisited (MICCAI 2024) for the residual encoder. Layers,
order and names are those of https://github.com/MIC-DKFZ/dynamic-network-architectures 0.4. Dropout is left out: it
has no weights and does nothing once a network is trained.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.layers.utils import get_act_layer, get_norm_layer

from LiverSegLib.networks.double_conv_unet import Kind

_CONV = {2: torch.nn.Conv2d, 3: torch.nn.Conv3d}
_UP = {2: torch.nn.ConvTranspose2d, 3: torch.nn.ConvTranspose3d}
_POOL = {2: torch.nn.AvgPool2d, 3: torch.nn.AvgPool3d}
Sizes = int | Sequence[int]
NORM: Kind = ("instance", {"eps": 1e-5, "affine": True})
ACT: Kind = ("leakyrelu", {"negative_slope": 0.01, "inplace": True})


class _Style:
    """How every convolution of a network is made."""

    def __init__(self, dims: int, bias: bool, norm: Kind | None, act: Kind | None, act_first: bool = False) -> None:
        if dims not in _CONV:
            raise ValueError(f"spatial_dims is {dims}; 2 or 3 is needed")
        self.dims, self.bias, self.norm, self.act, self.act_first = dims, bias, norm, act, act_first

    def sizes(self, value: Sizes) -> tuple[int, ...]:
        """One size for each axis."""
        found = (value,) * self.dims if isinstance(value, int) else tuple(value)
        if len(found) != self.dims:
            raise ValueError(f"{list(found)} are not {self.dims} sizes")
        return found

    def bare(self) -> _Style:
        """The same without bias and activation, as a skip has it."""
        return _Style(self.dims, False, self.norm, None)


class _Conv(torch.nn.Module):
    """Convolution, normalization, activation; the last two in the other order with `act_first`."""

    def __init__(self, inputs: int, outputs: int, kernel: Sizes, stride: Sizes, style: _Style) -> None:
        super().__init__()
        size = style.sizes(kernel)
        padding = tuple((n - 1) // 2 for n in size)
        self.conv = _CONV[style.dims](inputs, outputs, size, style.sizes(stride), padding, bias=style.bias)  # type: ignore[arg-type]
        self.norm = get_norm_layer(style.norm, style.dims, outputs) if style.norm is not None else None
        self.nonlin = get_act_layer(style.act) if style.act is not None else None
        self.act_first = style.act_first

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        for layer in (self.nonlin, self.norm) if self.act_first else (self.norm, self.nonlin):
            x = x if layer is None else layer(x)
        return x


class _Convs(torch.nn.Module):
    """Convolutions in a row, the first of which may be strided."""

    def __init__(self, count: int, inputs: int, outputs: int, kernel: Sizes, stride: Sizes, style: _Style) -> None:
        super().__init__()
        self.convs = _row(_Conv, count, inputs, outputs, kernel, stride, style)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.convs(x)
        return out


class _Residual(torch.nn.Module):
    """Two convolutions beside a skip, which is averaged where the block is strided (ResNet-D: He et al., CVPR 2019)."""

    def __init__(self, inputs: int, outputs: int, kernel: Sizes, stride: Sizes, style: _Style) -> None:
        super().__init__()
        without_act = _Style(style.dims, style.bias, style.norm, None)
        self.conv1 = _Conv(inputs, outputs, kernel, stride, style)
        self.conv2 = _Conv(outputs, outputs, kernel, 1, without_act)
        self.nonlin2 = get_act_layer(style.act) if style.act is not None else torch.nn.Identity()
        steps = style.sizes(stride)
        pool = [_POOL[style.dims](steps, steps)] if max(steps) > 1 else []  # type: ignore[arg-type]
        project = [_Conv(inputs, outputs, 1, 1, style.bare())] if inputs != outputs else []
        self.skip = torch.nn.Sequential(*pool, *project)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.nonlin2(self.conv2(self.conv1(x)) + self.skip(x))
        return out


class _Residuals(torch.nn.Module):
    """Residual blocks in a row, the first of which may be strided."""

    def __init__(self, count: int, inputs: int, outputs: int, kernel: Sizes, stride: Sizes, style: _Style) -> None:
        super().__init__()
        self.blocks = _row(_Residual, count, inputs, outputs, kernel, stride, style)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.blocks(x)
        return out


def _row(
    kind: type[_Conv] | type[_Residual], count: int, inputs: int, outputs: int, kernel: Sizes, stride: Sizes,
    style: _Style,
) -> torch.nn.Sequential:  # fmt: skip
    """Blocks of one kind; the first takes the `inputs` and the stride."""
    return torch.nn.Sequential(
        *(kind(outputs if n else inputs, outputs, kernel, 1 if n else stride, style) for n in range(count))
    )


class _Encoder(torch.nn.Module):
    """Stages, each of which may reduce what it is given, and what comes out of each; a stem before them or none."""

    def __init__(self, stem: torch.nn.Module | None, stages: Sequence[torch.nn.Module]) -> None:
        super().__init__()
        if stem is not None:
            self.stem = stem
        self.has_stem = stem is not None
        self.stages = torch.nn.Sequential(*stages)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        x = self.stem(x) if self.has_stem else x
        found = []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found


class _Decoder(torch.nn.Module):
    """From the deepest stage up: transposed convolution, skip, convolutions; of a head a level the last is used."""

    def __init__(
        self, outputs: int, features: Sequence[int], kernels: Sequence[Sizes], strides: Sequence[Sizes],
        counts: Sequence[int], style: _Style,
    ) -> None:  # fmt: skip
        super().__init__()
        levels = list(range(len(features) - 1, 0, -1))
        steps = {level: style.sizes(strides[level]) for level in levels}
        self.transpconvs = torch.nn.ModuleList(
            _UP[style.dims](features[n], features[n - 1], steps[n], steps[n], bias=style.bias)  # type: ignore[arg-type]
            for n in levels
        )
        self.stages = torch.nn.ModuleList(
            _Convs(count, 2 * features[n - 1], features[n - 1], kernels[n - 1], 1, style)
            for n, count in zip(levels, counts, strict=True)
        )
        self.seg_layers = torch.nn.ModuleList(_CONV[style.dims](features[n - 1], outputs, 1) for n in levels)

    def forward(self, skips: list[torch.Tensor]) -> torch.Tensor:
        x = skips[-1]
        for up, stage, skip in zip(self.transpconvs, self.stages, reversed(skips[:-1]), strict=True):
            x = stage(torch.cat((up(x), skip), 1))
        out: torch.Tensor = self.seg_layers[-1](x)
        return out


def _check(count: int, **given: Sequence[object]) -> None:
    for name, values in given.items():
        if len(values) != count:
            raise ValueError(f"{name} has {len(values)} entries for {count} stages")
    if count < 2:
        raise ValueError("a U-Net needs two stages at least")


class PlainConvUNet(torch.nn.Module):
    """nnU-Net's plain U-Net: strided convolutions down, transposed convolutions up.

    Args:
        spatial_dims: 2 or 3.
        in_channels, out_channels: of image and logits.
        features_per_stage: channels of each stage, the finest first.
        kernel_sizes, strides: of each stage, a number or one for each axis; the first stage is hardly ever strided.
        n_conv_per_stage, n_conv_per_stage_decoder: convolutions of each stage; the decoder's coarsest first.
        conv_bias: whether convolutions have one.
        norm, act: MONAI's names, alone or with settings.
        nonlin_first: activation before normalization.

    Raises:
        ValueError: lists of different lengths, or another number of dimensions.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        features_per_stage: Sequence[int],
        kernel_sizes: Sequence[Sizes],
        strides: Sequence[Sizes],
        n_conv_per_stage: Sequence[int],
        n_conv_per_stage_decoder: Sequence[int],
        conv_bias: bool = True,
        norm: Kind | None = NORM,
        act: Kind | None = ACT,
        nonlin_first: bool = False,
    ) -> None:
        super().__init__()
        count = len(features_per_stage)
        _check(count, kernel_sizes=kernel_sizes, strides=strides, n_conv_per_stage=n_conv_per_stage)
        _check(count, n_conv_per_stage_decoder=[0, *n_conv_per_stage_decoder])
        style = _Style(spatial_dims, conv_bias, norm, act, nonlin_first)
        given = [in_channels, *features_per_stage[:-1]]
        stages = zip(n_conv_per_stage, given, features_per_stage, kernel_sizes, strides, strict=True)
        self.encoder = _Encoder(None, [torch.nn.Sequential(_Convs(*stage, style)) for stage in stages])
        self.decoder = _Decoder(
            out_channels, features_per_stage, kernel_sizes, strides, n_conv_per_stage_decoder, style
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [N, out_channels, ...] of images [N, in_channels, ...]."""
        out: torch.Tensor = self.decoder(self.encoder(x))
        return out


class ResidualEncoderUNet(torch.nn.Module):
    """nnU-Net's U-Net whose encoder is made of residual blocks (the presets ResEnc M, L and XL).

    Args:
        n_blocks_per_stage: residual blocks of each stage.
        stem_channels: of the convolution before the first stage; None: as the first stage.
        spatial_dims, in_channels, out_channels, features_per_stage, kernel_sizes, strides, n_conv_per_stage_decoder,
            conv_bias, norm, act: as `PlainConvUNet`.

    Raises:
        ValueError: lists of different lengths, or another number of dimensions.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        features_per_stage: Sequence[int],
        kernel_sizes: Sequence[Sizes],
        strides: Sequence[Sizes],
        n_blocks_per_stage: Sequence[int],
        n_conv_per_stage_decoder: Sequence[int],
        conv_bias: bool = True,
        norm: Kind | None = NORM,
        act: Kind | None = ACT,
        stem_channels: int | None = None,
    ) -> None:
        super().__init__()
        count = len(features_per_stage)
        _check(count, kernel_sizes=kernel_sizes, strides=strides, n_blocks_per_stage=n_blocks_per_stage)
        _check(count, n_conv_per_stage_decoder=[0, *n_conv_per_stage_decoder])
        style = _Style(spatial_dims, conv_bias, norm, act)
        first = stem_channels or features_per_stage[0]
        given = [first, *features_per_stage[:-1]]
        stages = zip(n_blocks_per_stage, given, features_per_stage, kernel_sizes, strides, strict=True)
        stem = _Convs(1, in_channels, first, kernel_sizes[0], 1, style)
        self.encoder = _Encoder(stem, [_Residuals(*stage, style) for stage in stages])
        self.decoder = _Decoder(
            out_channels, features_per_stage, kernel_sizes, strides, n_conv_per_stage_decoder, style
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [N, out_channels, ...] of images [N, in_channels, ...]."""
        out: torch.Tensor = self.decoder(self.encoder(x))
        return out
