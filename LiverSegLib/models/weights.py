"""Weights into networks: safetensors first, torch's formats else, and nothing that can run code.

Names and shapes are compared with the network's before a number is read, so a file that does not fit costs nothing.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from LiverSegLib.errors import ModelError
from LiverSegLib.io.regular_file import UnsafeFileError, open_plain
from LiverSegLib.models.folder import MAX_WEIGHTS, WEIGHTS, PackageFolder
from LiverSegLib.models.safetensors_file import Check, read_safetensors
from LiverSegLib.models.text import one_line
from LiverSegLib.models.torch_file import read_torch
from LiverSegLib.networks import build_network, network_outline

if TYPE_CHECKING:
    import torch

    from LiverSegLib.models.spec import ModelPackage

_PROGRAM = "models/model.ts"


def loaded_network(package: ModelPackage) -> torch.nn.Module:
    """The package's network with its weights, or the mean of several; what is made large is known to fit.

    Raises:
        ModelError: as `load_weights`, or the network cannot be built.
    """
    outline = network_outline(package.network, package.arguments)
    found = []
    for name in _names(package):
        state, path = _fitting(package, outline, name)
        found.append(build_network(package.network, package.arguments))
        _fill(found[-1], state, path)
    if len(found) == 1:
        return found[0]
    from LiverSegLib.networks.mean import MeanOfNetworks, MeanOfSoftmax  # not above: it needs torch

    return MeanOfSoftmax(found) if package.softmax_mean else MeanOfNetworks(found)


def load_weights(package: ModelPackage, network: torch.nn.Module) -> None:
    """Fill `network` with the package's weights, in place.

    Raises:
        ModelError: no weights, a wrong checksum, code in them, or names and shapes that do not fit.
    """
    _fill(network, *_fitting(package, network, _names(package)[0]))


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """A state dict from a .safetensors file, or from one of torch's (.pt, .pth), of which no code is run.

    Raises:
        ModelError: the file is damaged, declares impossible sizes, or holds anything but tensors and plain data.
    """
    try:
        with open_plain(path, MAX_WEIGHTS) as file:
            return _read(file, path)
    except UnsafeFileError as error:
        raise ModelError(f"{path} cannot be read as weights: {error}.") from error
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror or error}); get it again.") from error


def _read(file: BinaryIO, path: Path, check: Check | None = None) -> dict[str, torch.Tensor]:
    return (read_safetensors if path.suffix == ".safetensors" else read_torch)(file, path, check)


def _names(package: ModelPackage) -> tuple[str, ...]:
    """The files of the package's weights; all that are listed, read or not, have the right checksums."""
    files = PackageFolder(package.path)
    found = package.weights or tuple(name for name in WEIGHTS if files.has(name))[:1]
    if not found and files.has(_PROGRAM):
        raise ModelError(
            f"The package {package.name} holds a TorchScript program, {_PROGRAM}, and no weights; programs are not "
            "run, ask its author for its model.pt or a safetensors file."
        )
    if not found:
        raise ModelError(f"The package {package.name} holds no weights; expected {package.path / WEIGHTS[0]}.")
    files.check_listed(weights=True)
    return found


def _fitting(package: ModelPackage, network: torch.nn.Module, name: str) -> tuple[dict[str, torch.Tensor], Path]:
    """The weights in a file of the package; they have the names and shapes of `network`, and finite numbers."""
    files = PackageFolder(package.path)
    path = package.path / name
    with files.open(name, MAX_WEIGHTS) as file:
        state = _read(file, path, partial(_check_fit, network, path))
    # Finite also once they are float32.
    broken = next((k for k, v in state.items() if v.is_floating_point() and not v.float().isfinite().all()), None)
    if broken:
        raise ModelError(f"The weights {path} hold values that are not finite in {broken}; get the package again.")
    return state, path


def _check_fit(network: torch.nn.Module, path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    # Batch-norm counters are bookkeeping that inference does not need.
    missing = [k for k in wanted if k not in shapes and not k.endswith("num_batches_tracked")]
    unknown = [k for k in shapes if k not in wanted]
    other = [k for k, shape in shapes.items() if k in wanted and shape != wanted[k]]
    for what, keys in (("lacks", missing), ("has the unknown", unknown), ("has another shape for", other)):
        if keys:
            more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            raise ModelError(
                f"The weights {path} do not fit their network: the file {what} {one_line(keys[0], 100)}{more}; "
                "get the package again."
            )


def _fill(network: torch.nn.Module, state: dict[str, torch.Tensor], path: Path) -> None:
    try:
        network.load_state_dict(state, strict=False)
    except (RuntimeError, TypeError, AttributeError) as error:
        why = one_line(error, 300)
        raise ModelError(f"The weights {path} are of a kind that cannot be used ({why}).") from error
