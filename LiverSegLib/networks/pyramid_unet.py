"""A 2D or 3D network of two stages, each fed an image pyramid and read out as a feature pyramid."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.networks.blocks.convolutions import Convolution
from monai.networks.nets.basic_unet import TwoConv

from LiverSegLib.networks.double_conv_unet import Kind, upward

_INTERPOLATION = {2: "bilinear", 3: "trilinear"}


class _Stage(torch.nn.Module):
    """A U-Net that sees the image at every scale on its way down and answers from every scale on its way up."""

    def __init__(
        self,
        dims: int,
        inputs: int,
        outputs: int,
        channels: Sequence[int],
        scales: int,
        act: Kind,
        norm: Kind,
        dropout: float,
    ) -> None:
        super().__init__()
        self.scales, self.mode = scales, _INTERPOLATION[dims]
        above = [0, *channels[:-1]]
        seen = [inputs if level < scales else 0 for level in range(len(channels))]
        self.down = torch.nn.ModuleList(
            TwoConv(dims, a + b, c, act, norm, True, dropout) for a, b, c in zip(above, seen, channels, strict=True)
        )
        self.up = torch.nn.ModuleList(
            upward(dims, low, high, high, act, norm, dropout, "interpolate")
            for high, low in reversed(list(itertools.pairwise(channels)))
        )
        self.lateral = torch.nn.ModuleList(
            Convolution(dims, channels[level], channels[0], kernel_size=1, conv_only=True) for level in range(scales)
        )
        self.merge = Convolution(dims, channels[0], channels[0], act=act, norm=norm, dropout=dropout)
        self.last = Convolution(dims, channels[0], outputs, kernel_size=1, conv_only=True)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        pool = F.max_pool2d if image.ndim == 4 else F.max_pool3d
        halve = F.avg_pool2d if image.ndim == 4 else F.avg_pool3d
        features: list[torch.Tensor] = []
        for level, down in enumerate(self.down):
            parts = [pool(features[-1], 2)] if level else []
            if level < self.scales:
                parts.append(image)
                image = halve(image, 2)
            features.append(down(torch.cat(parts, 1)))
        x = features.pop()
        pyramid = [x]
        for up in self.up:
            x = up(x, features.pop())
            pyramid.insert(0, x)
        size = x.shape[2:]
        total = self.lateral[0](x)
        for lateral, coarse in zip(self.lateral[1:], pyramid[1:], strict=False):
            total = total + F.interpolate(lateral(coarse), size, mode=self.mode, align_corners=False)
        out: torch.Tensor = self.last(self.merge(total))
        return out


class PyramidUNet(torch.nn.Module):
    """Two U-Nets in a row, the second of which corrects the first.

    Each level of an encoder gets the image at its own scale (an image pyramid: Burt & Adelson, 1983), and the
    decoder's features of all scales are brought to full size and added up (a feature pyramid: Lin et al., FPN,
    CVPR 2017; added as in Kirillov et al., Panoptic FPN, CVPR 2019). The second stage gets the image together with
    the first's softmax, and both are trained (Newell et al., Stacked hourglass networks, ECCV 2016).

    Args:
        spatial_dims: 2 or 3.
        in_channels, out_channels: of image and logits.
        channels: of each level, the finest first; sizes must be multiples of 2 ** (levels - 1).
        scales: how many levels, from the finest, see the image and answer; None means all.
        norm, act: MONAI's names.
        dropout: probability after each convolution.

    Raises:
        ValueError: fewer than two levels, or more scales than levels.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 1,
        out_channels: int = 2,
        channels: Sequence[int] = (16, 32, 64, 128, 256),
        scales: int | None = None,
        norm: Kind = "batch",
        act: Kind = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        scales = len(channels) if scales is None else scales
        if len(channels) < 2 or not 1 <= scales <= len(channels):
            raise ValueError(f"{scales} scales do not fit {len(channels)} levels of channels; two levels are needed")
        shared = (out_channels, channels, scales, act, norm, dropout)
        self.first = _Stage(spatial_dims, in_channels, *shared)
        self.second = _Stage(spatial_dims, in_channels + out_channels, *shared)

    def forward(self, x: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """Logits [N, out_channels, ...]; while training [second, first], the final ones first."""
        rough = self.first(x)
        fine: torch.Tensor = self.second(torch.cat([x, rough.softmax(1)], 1))
        return [fine, rough] if self.training else fine
