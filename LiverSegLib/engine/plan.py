"""What a segmentation will take, worked out before any of it is computed."""

from __future__ import annotations

import math
from typing import Any

import torch

from LiverSegLib.engine.geometry import ModelGrid
from LiverSegLib.engine.memory import is_out_of_memory
from LiverSegLib.engine.slabs import kept_slices
from LiverSegLib.engine.sliding_window import window_starts
from LiverSegLib.errors import InputError, ModelError
from LiverSegLib.models.spec import ModelPackage
from LiverSegLib.models.text import one_line
from LiverSegLib.networks import final_logits, network_outline
from LiverSegLib.system import available_bytes
from LiverSegLib.volume import Volume

MAX_VOXELS = 1 << 32
"""Of a model grid; the largest CT scans have a quarter of that."""
MAX_WINDOWS = 1_000_000
_FLOAT = 4


def check_grid(volume: Volume, grid: ModelGrid, package: ModelPackage, overlap: float) -> None:
    """Refuse a model grid that does not fit into memory, and windows that nobody would wait for.

    Raises:
        InputError: names what the image and the package ask for.
    """
    dims = package.spatial_dims
    padded = [-(-n // k) * k for n, k in zip(grid.shape, package.divisible, strict=True)]
    windows = [n if r == -1 else r for n, r in zip(padded, package.inferer.roi_size, strict=False)]
    padded = [max(n, r) for n, r in zip(padded, [*windows, 1], strict=False)]
    voxels = math.prod(padded)
    # The image on the grid, and in some slices of it a number for each class or for the difference of two.
    values = 1 if package.channels == 2 and not package.regions else package.channels
    kept = kept_slices(padded, values, windows[2] if dims == 3 else package.inferer.batch_size)
    needed = _FLOAT * (voxels * len(package.inputs) + math.prod(padded[:2]) * kept * values)
    free = available_bytes()
    if voxels > MAX_VOXELS or (free is not None and needed > free):
        raise InputError(
            f"{package.name} would need {needed / 1e9:.3g} GB of memory for {volume.name}: its pixdim "
            f"{_text(package.pixdim)} mm, size {_text(package.size)} and roi_size {_text(package.inferer.roi_size)} "
            f"make {_text(padded)} voxels of an image whose voxels are {_text(volume.spacing)} mm; "
            "use another model, or crop or resample the image."
        )
    count = math.prod(
        len(window_starts(n, r, overlap, package.inferer.evenly)) for n, r in zip(padded, windows, strict=False)
    )
    count *= padded[2] if dims == 2 else 1
    if count > MAX_WINDOWS:
        raise InputError(
            f"{package.name} would need {count} windows for {volume.name}, more than the {MAX_WINDOWS} that are "
            f"computed: its roi_size is {_text(package.inferer.roi_size)} with an overlap of {overlap:g} on "
            f"{_text(padded)} voxels; use a smaller overlap or another model."
        )


def _text(values: Any) -> str:
    return "x".join(f"{n:g}" if isinstance(n, float) else str(n) for n in values)


def check_window_memory(package: ModelPackage, network: torch.nn.Module, shape: tuple[int, ...]) -> None:
    """Refuse a batch of windows that the main memory cannot hold.

    Most are found small enough at a glance. For the others the network is run without numbers.

    Args:
        package: whose network it is.
        network: the network itself.
        shape: of the windows, [N, 1, ...].

    Raises:
        MemoryError: it does not fit.
        ModelError: the network cannot take windows of this shape.
    """
    free = available_bytes()
    if free is None:
        return
    widest = max((int(getattr(m, "out_channels", 1) or 1) for m in network.modules()), default=1)
    if math.prod(shape) * _FLOAT * widest <= free // 4:
        return
    needed = _trial(package, shape)
    if needed is not None and needed > free:
        raise MemoryError(f"one batch of windows {shape} takes {needed} bytes")


def explain_failure(package: ModelPackage, shape: tuple[int, ...], error: Exception) -> None:
    """Find out whether a network that failed cannot take windows of `shape` [N, 1, ...] at all.

    Raises:
        ModelError: so it is, and the package is to blame. Otherwise nothing is raised: the failure is a defect.
    """
    if not is_out_of_memory(error):
        _trial(package, shape)


def _trial(package: ModelPackage, shape: tuple[int, ...]) -> int | None:
    """Run the network without numbers: bytes of the largest layer's input and output, None where torch cannot tell.

    Raises:
        ModelError: the network cannot take windows of this shape, or does not give logits of their size.
    """
    outline = network_outline(package.network, package.arguments).eval()
    largest = 0

    def note(_module: torch.nn.Module, inputs: Any, output: Any) -> None:
        nonlocal largest
        tensors = [t for t in (*inputs, output) if isinstance(t, torch.Tensor)]
        largest = max(largest, sum(t.numel() for t in tensors) * _FLOAT)

    for module in outline.modules():
        module.register_forward_hook(note)
    try:
        with torch.inference_mode():
            out = outline(torch.empty(shape, device="meta"))
    except NotImplementedError:  # a layer that torch can only run with numbers
        return None
    except Exception as error:
        if "meta" in str(error):
            return None
        raise ModelError(_misfit(package, shape, one_line(error, 200).rstrip("."))) from error
    check_output(package, shape, final_logits(out, len(shape)))
    return largest


def check_output(package: ModelPackage, shape: tuple[int, ...], out: Any) -> None:
    """Refuse what a network gave for windows of `shape` [N, 1, ...] unless it is a number a class and voxel.

    Raises:
        ModelError: it is something else.
    """
    wanted = (shape[0], package.channels, *shape[2:])
    found = tuple(out.shape) if isinstance(out, torch.Tensor) else None
    if found != wanted:
        raise ModelError(_misfit(package, shape, f"it gives {_text((found or ())[1:]) or 'nothing'} values"))


def _misfit(package: ModelPackage, shape: tuple[int, ...], why: str) -> str:
    return (
        f"The network {package.network} of {package.name} cannot be run on windows of {_text(shape[2:])} voxels "
        f"(roi_size {_text(package.inferer.roi_size)}): {why}; repair the package."
    )
