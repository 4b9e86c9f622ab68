"""The U-Net as first drawn: two convolutions a level, max pooling, upsampling, skips."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from monai.networks.blocks.convolutions import Convolution
from monai.networks.nets.basic_unet import Down, TwoConv, UpCat

Kind = str | tuple[str, dict[str, Any]]


def upward(
    spatial_dims: int, low: int, skip: int, out: int, act: Kind, norm: Kind, dropout: float, upsample: str
) -> UpCat:
    """Upsample `low` channels by 2, join the `skip` channels of the encoder, two convolutions to `out`.

    Args:
        upsample: "interpolate" (bi- or trilinear, no weights) or "deconv" (transposed convolution that halves
            the channels).

    Raises:
        ValueError: another word.
    """
    if upsample not in ("interpolate", "deconv"):
        raise ValueError(f"upsample {upsample!r} is neither 'interpolate' nor 'deconv'")
    kind, before = ("nontrainable", None) if upsample == "interpolate" else ("deconv", "default")
    return UpCat(spatial_dims, low, skip, out, act, norm, True, dropout, kind, before, align_corners=False)


class DoubleConvUNet(torch.nn.Module):
    """U-Net of double 3x3(x3) convolutions, each with normalization and activation.

    Ronneberger et al., U-Net (MICCAI 2015), and Cicek et al., 3D U-Net (MICCAI 2016); with padding, so that the
    output has the input's size. The 3D network 32-64-128-256 with trilinear upsampling is the default.

    Args:
        spatial_dims: 2 or 3.
        in_channels, out_channels: of image and logits.
        channels: of each level, the finest first; sizes must be multiples of 2 ** (levels - 1).
        norm, act: MONAI's names, for example "batch", ("group", {"num_groups": 8}), "leakyrelu".
        upsample: "interpolate" or "deconv".
        dropout: probability after each convolution.

    Raises:
        ValueError: fewer than two levels, or an unknown `upsample`.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        channels: Sequence[int] = (32, 64, 128, 256),
        norm: Kind = "batch",
        act: Kind = "relu",
        upsample: str = "interpolate",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if len(channels) < 2:
            raise ValueError(f"channels {list(channels)} are one level; a U-Net needs two at least")
        self.first = TwoConv(spatial_dims, in_channels, channels[0], act, norm, True, dropout)
        self.down = torch.nn.ModuleList(
            Down(spatial_dims, high, low, act, norm, True, dropout) for high, low in itertools.pairwise(channels)
        )
        self.up = torch.nn.ModuleList(
            upward(spatial_dims, low, high, high, act, norm, dropout, upsample)
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
