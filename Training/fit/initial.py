"""Weights that a run starts from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

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


def load_initial(module: SegmentationModule, source: Path) -> None:
    """Fill the network from a checkpoint of a run, a safetensors file or a package folder.

    Raises:
        RunError: the file is missing, or holds another network or weights that are not numbers.
        ModelError: the package cannot be read, or holds another network.
    """
    from LiverSegLib.models import read_package
    from LiverSegLib.models.weights import load_weights, read_weights

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
