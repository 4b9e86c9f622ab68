"""The U-Net as first drawn: two convolutions a level, max pooling, upsampling, skips."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from monai.networks.blocks.convolutions import Convolution
from monai.networks.nets.attentionunet import AttentionBlock
from monai.networks.nets.basic_unet import Down, TwoConv, UpCat

Kind = str | tuple[str, dict[str, Any]]
"""A layer of MONAI's by name, alone or with settings."""


def upward(
    spatial_dims: int,
    low: int,
    skip: int,
    out: int,
    act: Kind | None,
    norm: Kind | None,
    dropout: float,
    upsample: str,
    align_corners: bool = False,
    gate: bool = False,
) -> UpCat:
    """Upsample `low` channels by 2, join the `skip` channels of the encoder, two convolutions to `out`.

    Args:
        upsample: "interpolate" (bi- or trilinear, no weights) or "deconv" (transposed convolution that halves
            the channels).
        align_corners: of the interpolation: the outermost voxel centers of both sizes lie upon each other.
        gate: an attention gate on the skip.

    Raises:
        ValueError: another word.
    """
    if upsample not in ("interpolate", "deconv"):
        raise ValueError(f"upsample {upsample!r} is neither 'interpolate' nor 'deconv'")
    kind, before = ("nontrainable", None) if upsample == "interpolate" else ("deconv", "default")
    make: Any = partial(GatedUpCat, low if before is None else low // 2) if gate else UpCat
    step: UpCat = make(
        spatial_dims, low, skip, out, act, norm, True, dropout, kind, before, align_corners=align_corners
    )
    return step


class GatedUpCat(UpCat):
    """MONAI's step upwards with an additive attention gate on the skip.

    Oktay et al., Attention U-Net (arXiv:1804.03999): the features from below say where those of the skip count. As in
    MONAI's AttentionUnet they are upsampled first and all convolutions of the gate are of size 1; its inner channels
    are half of the skip's.

    Args:
        signal: channels after the upsampling.
        spatial_dims, low, skip: as for `upward`.
        others, options: MONAI's, as for `UpCat`.
    """

    def __init__(self, signal: int, spatial_dims: int, low: int, skip: int, *others: Any, **options: Any) -> None:
        super().__init__(spatial_dims, low, skip, *others, **options)
        self.gate = AttentionBlock(spatial_dims, max(skip // 2, 1), signal, skip)

    def forward(self, x: torch.Tensor, x_e: torch.Tensor | None) -> torch.Tensor:
        """Features of the skip's size; of `x`, half as large, and of the skip `x_e`."""
        assert x_e is not None
        signal = self.upsample(x)
        sizes = zip(reversed(x_e.shape[2:]), reversed(signal.shape[2:]), strict=True)
        missing = [n for skip, found in sizes for n in (0, skip - found)]
        if any(missing):  # an odd size was halved
            signal = torch.nn.functional.pad(signal, missing, "replicate")
        joined: torch.Tensor = self.convs(torch.cat([self.gate(signal, x_e), signal], 1))
        return joined


class DoubleConvUNet(torch.nn.Module):
    """U-Net of double 3x3(x3) convolutions, each with normalization and activation.

    Ronneberger et al., U-Net (MICCAI 2015), and Cicek et al., 3D U-Net (MICCAI 2016); with padding, so that the
    output has the input's size. The 3D network 32-64-128-256 with trilinear upsampling is the default.

    Args:
        spatial_dims: 2 or 3.
        in_channels, out_channels: of image and logits.
        channels: of each level, the finest first; sizes must be multiples of 2 ** (levels - 1).
        norm, act: MONAI's names, for example "batch", ("group", {"num_groups": 8}), "leakyrelu"; None for none.
        upsample: "interpolate" or "deconv".
        dropout: probability after each convolution.
        align_corners: of the interpolation.
        gate: an attention gate on each skip; nothing else of the network changes.

    Raises:
        ValueError: fewer than two levels, or an unknown `upsample`.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        channels: Sequence[int] = (32, 64, 128, 256),
        norm: Kind | None = "batch",
        act: Kind | None = "relu",
        upsample: str = "interpolate",
        dropout: float = 0.0,
        align_corners: bool = False,
        gate: bool = False,
    ) -> None:
        super().__init__()
        if len(channels) < 2:
            raise ValueError(f"channels {list(channels)} are one level; a U-Net needs two at least")
        layers: Any = (act, norm, True, dropout)
        self.first = TwoConv(spatial_dims, in_channels, channels[0], *layers)
        self.down = torch.nn.ModuleList(
            Down(spatial_dims, high, low, *layers) for high, low in itertools.pairwise(channels)
        )
        self.up = torch.nn.ModuleList(
            upward(spatial_dims, low, high, high, act, norm, dropout, upsample, align_corners, gate)
            for high, low in reversed(list(itertools.pairwise(channels)))
        )
        self.last = Convolution(spatial_dims, channels[0], out_channels, kernel_size=1, conv_only=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [N, out_channels, ...] of images [N, in_channels, ...]."""
        skips = [self.first(x)]
        for down in self.down:
            skips.append(down(skips[-1]))
        x = skips.pop()
        for up in self.up:
            x = up(x, skips.pop())
        out: torch.Tensor = self.last(x)
        return out
