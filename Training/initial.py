"""Weights that a run starts from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from Training.module import SegmentationModule
from Training.recipe import RecipeError


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's tensors and plain data.

    Raises:
        RecipeError: the file is missing or damaged.
    """
    try:
        data: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise RecipeError(f"There is no checkpoint {path} to start from.") from error
    except Exception as error:  # a damaged file makes the reader fail in any way
        raise RecipeError(f"{path} is damaged or no checkpoint; give another one.") from error
    return data


def load_initial(module: SegmentationModule, source: Path) -> None:
    """Fill the network from a checkpoint of a run, a safetensors file or a package folder.

    Raises:
        RecipeError: the file is missing or holds another network.
        ModelError: the package cannot be read, or holds another network.
    """
    from LiverSegLib.models import read_package
    from LiverSegLib.models.weights import load_weights, read_safetensors

    if source.is_dir():
        load_weights(read_package(source), module.network)
        return
    if source.suffix == ".safetensors":
        if not source.is_file():
            raise RecipeError(f"There are no weights {source} to start from.")
        state = read_safetensors(source)
    else:
        found = read_checkpoint(source).get("state_dict", {})
        state = {key.removeprefix("network."): value for key, value in found.items() if key.startswith("network.")}
    try:
        module.network.load_state_dict(state)
    except RuntimeError as error:
        raise RecipeError(f"The weights of {source} do not fit this recipe's network.") from error


def load_pretrained(module: SegmentationModule, path: Path) -> None:
    """Fill a VGG16 encoder from torchvision's ImageNet weights."""
    from LiverSegLib.networks.vgg_unet import load_imagenet_vgg16

    load_imagenet_vgg16(module.network, path)
