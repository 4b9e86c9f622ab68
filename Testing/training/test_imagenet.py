"""ImageNet's weights in the encoder of a VGG16 U-Net."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from LiverSegLib.errors import ModelError
from LiverSegLib.networks.double_conv_unet import DoubleConvUNet
from LiverSegLib.networks.vgg_unet import VGG16UNet
from Training.fit.initial import load_imagenet_vgg16


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    """A file like torchvision's: three colors, with a classifier."""
    torch.manual_seed(1)
    state = {f"features.{k}": v for k, v in VGG16UNet(in_channels=3).features.state_dict().items()}
    state["classifier.0.weight"] = torch.rand(4, 4)
    torch.save(state, tmp_path / "vgg16.pth")
    return tmp_path / "vgg16.pth"


def test_one_gray_channel_sees_what_three_equal_colors_would(imagenet: Path) -> None:
    gray, color = VGG16UNet(in_channels=1), VGG16UNet(in_channels=3)
    load_imagenet_vgg16(gray, imagenet)
    load_imagenet_vgg16(color, imagenet)
    x = torch.rand(1, 1, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(gray.features(x), color.features(x.repeat(1, 3, 1, 1)))


def test_other_files_and_networks_are_refused_in_a_sentence(imagenet: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="which only VGG16UNet takes"):
        load_imagenet_vgg16(DoubleConvUNet(2, 1, 2, [4, 8]), imagenet)
    with pytest.raises(ModelError, match="weights of torchvision's vgg16_bn"):
        load_imagenet_vgg16(VGG16UNet(batch_norm=True), imagenet)
    with pytest.raises(ModelError, match="There is no file"):
        load_imagenet_vgg16(VGG16UNet(), tmp_path / "missing.pth")
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ModelError, match=r"other\.pth does not hold the weights"):
        load_imagenet_vgg16(VGG16UNet(), tmp_path / "other.pth")
