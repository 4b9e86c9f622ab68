"""Weights that a run starts from: those of another run or package, or of ImageNet for an encoder that is VGG16."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from LiverSegLib.errors import ModelError
from LiverSegLib.models import read_package
from LiverSegLib.models.weights import load_weights, read_weights
from LiverSegLib.networks.vgg_unet import VGG16UNet
from Training.errors import RunError
from Training.fit.module import SegmentationModule

_NETWORK = "network."


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's tensors and plain data.

    Raises:
        RunError: the file is missing, damaged or no checkpoint.
    """
    try:
        data: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise RunError(f"There is no checkpoint {path} to start from.") from error
    except Exception as error:  # a damaged file makes the reader fail in any way
        raise RunError(f"{path} is damaged or no checkpoint; give another one.") from error
    if not isinstance(data, dict):
        raise RunError(f"{path} is no checkpoint of a training run; give a best.ckpt or last.ckpt.")
    return data


def network_weights(path: Path) -> dict[str, torch.Tensor]:
    """The network's tensors in a checkpoint of a run, by their names in the network.

    Raises:
        RunError: the file is missing, damaged, or holds no weights of a run.
    """
    found = read_checkpoint(path).get("state_dict")
    if not isinstance(found, dict):
        raise RunError(f"{path} holds no state_dict and so is no checkpoint of a training run; give another one.")
    state = {str(key).removeprefix(_NETWORK): value for key, value in found.items() if str(key).startswith(_NETWORK)}
    if not state or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise RunError(f"{path} holds no weights of a network that was trained here; give another checkpoint.")
    return checked(state, path)


def checked(state: dict[str, torch.Tensor], source: Path) -> dict[str, torch.Tensor]:
    """Weights as they are.

    Raises:
        RunError: one is NaN or infinite: a run that went wrong.
    """
    for name, value in state.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise RunError(f"The weights of {source} are not all numbers ({name}); start from another checkpoint.")
    return state


def initialize(network: torch.nn.Module, how: str) -> None:
    """Draw the weights of a new network as `network.initialization` says; changed in place."""
    if how != "kaiming":
        return
    for layer in network.modules():
        if isinstance(layer, torch.nn.modules.conv._ConvNd):
            torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                torch.nn.init.zeros_(layer.bias)


def load_initial(module: SegmentationModule, source: Path) -> None:
    """Fill the network from a checkpoint of a run, a safetensors file or a package folder.

    Raises:
        RunError: the file is missing, or holds another network or weights that are not numbers.
        ModelError: the package cannot be read, or holds another network.
    """
    if source.is_dir():
        load_weights(read_package(source), module.network)
        checked(module.network.state_dict(), source)
        return
    if source.suffix == ".safetensors":
        if not source.is_file():
            raise RunError(f"There are no weights {source} to start from.")
        state = checked(read_weights(source), source)
    else:
        state = network_weights(source)
    try:
        module.network.load_state_dict(state)
    except (RuntimeError, TypeError) as error:
        raise RunError(f"The weights of {source} do not fit this recipe's network.") from error


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
