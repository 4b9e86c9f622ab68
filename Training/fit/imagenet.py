"""ImageNet's weights for a network whose encoder is VGG16."""

from __future__ import annotations

from pathlib import Path

import torch

from LiverSegLib.errors import ModelError
from LiverSegLib.models.weights import read_weights
from LiverSegLib.networks.vgg_unet import VGG16UNet


def load_imagenet_vgg16(network: torch.nn.Module, path: Path) -> None:
    """Fill the encoder of a `VGG16UNet` from a local file of torchvision's vgg16 (vgg16_bn) weights.

    ImageNet has three colors: for one channel the first kernels are summed over them, which is what a gray
    picture repeated in all three gives. The classifier is left out.

    Args:
        network: a `VGG16UNet` of one or three input channels; changed in place.
        path: state dict as torchvision distributes it (.pth), or the same as .safetensors.

    Raises:
        ModelError: another network, or a file that is no such state dict.
    """
    if not isinstance(network, VGG16UNet):
        raise ModelError(f"{path} holds VGG16 weights, which only VGG16UNet takes; remove `pretrained`.")
    if not path.is_file():
        raise ModelError(f"There is no file {path}; download torchvision's vgg16 weights and name their path.")
    found = read_weights(path)
    wanted = network.features.state_dict()
    state = {key.removeprefix("features."): value for key, value in found.items() if key.startswith("features.")}
    first = state.get("0.weight")
    if first is not None and first.ndim == 4 and first.shape[1] == 3 and wanted["0.weight"].shape[1] == 1:
        state["0.weight"] = first.sum(1, keepdim=True)
    counters = {key for key in wanted if key.endswith("num_batches_tracked")}
    fits = wanted.keys() - counters <= state.keys() <= wanted.keys()
    if not fits or any(value.shape != wanted[key].shape for key, value in state.items()):
        kind = "vgg16_bn" if counters else "vgg16"
        raise ModelError(f"{path} does not hold the weights of torchvision's {kind}; name a file that does.")
    network.features.load_state_dict(state, strict=False)
