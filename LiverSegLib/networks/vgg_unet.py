"""A 2D U-Net whose encoder is VGG16, so that it can start from ImageNet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from monai.networks.nets.basic_unet import TwoConv

_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class VGG16UNet(torch.nn.Module):
    """VGG16's 13 convolutions down to 1/16, then a decoder of upsampling, skip and two convolutions a level.

    Simonyan & Zisserman, Very deep convolutional networks (ICLR 2015), configuration D, as encoder of a U-Net
    (Ronneberger et al., 2015). The encoder's weights have torchvision's names, `features.0.weight` to
    `features.28.bias` (`vgg16_bn`'s with `batch_norm`), so that ImageNet's weights are loaded without a table.

    Args:
        spatial_dims: 2; there is no VGG16 in 3D.
        in_channels, out_channels: of image and logits.
        decoder_channels: of the four decoder levels, the coarsest first.
        batch_norm: a batch normalization after each convolution of encoder and decoder.

    Raises:
        ValueError: other dimensions, or not four decoder levels.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 1,
        out_channels: int = 2,
        decoder_channels: Sequence[int] = (512, 256, 128, 64),
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        if spatial_dims != 2:
            raise ValueError("VGG16 has two dimensions; set spatial_dims to 2")
        if len(decoder_channels) != 4:
            raise ValueError(f"decoder_channels {list(decoder_channels)} are not four levels")
        self.features = _encoder(in_channels, batch_norm)
        norm: Any = "batch" if batch_norm else None
        low = [_BLOCKS[-1][-1], *decoder_channels[:-1]]
        skips = [block[-1] for block in reversed(_BLOCKS[:-1])]
        self.up = torch.nn.ModuleList(
            TwoConv(2, a + b, out, "relu", norm, True) for a, b, out in zip(low, skips, decoder_channels, strict=True)
        )
        self.last = torch.nn.Conv2d(decoder_channels[-1], out_channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [N, out_channels, X, Y] of images [N, in_channels, X, Y]."""
        skips = []
        for layer in self.features:
            if isinstance(layer, torch.nn.MaxPool2d):
                skips.append(x)
            x = layer(x)
        for up in self.up:
            skip = skips.pop()
            x = F.interpolate(x, skip.shape[2:], mode="bilinear", align_corners=False)
            x = up(torch.cat([skip, x], 1))
        out: torch.Tensor = self.last(x)
        return out


def _encoder(in_channels: int, batch_norm: bool) -> torch.nn.Sequential:
    """Layers in torchvision's order; the last pooling, which only its classifier needs, is left out."""
    layers: list[torch.nn.Module] = []
    for number, block in enumerate(_BLOCKS):
        if number:
            layers.append(torch.nn.MaxPool2d(2))
        for channels in block:
            layers.append(torch.nn.Conv2d(in_channels, channels, 3, padding=1))
            if batch_norm:
                layers.append(torch.nn.BatchNorm2d(channels))
            layers.append(torch.nn.ReLU(inplace=True))
            in_channels = channels
    return torch.nn.Sequential(*layers)
