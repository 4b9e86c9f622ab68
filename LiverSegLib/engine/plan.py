"""What a segmentation will take, worked out before any of it is computed."""

from __future__ import annotations

import math
from typing import Any

from LiverSegLib.engine import budget
from LiverSegLib.engine.geometry import ModelGrid
from LiverSegLib.engine.slabs import kept_slices
from LiverSegLib.engine.sliding_window import window_starts
from LiverSegLib.errors import InputError
from LiverSegLib.models.spec import ModelPackage
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
            f"{sized(package.pixdim)} mm, size {sized(package.size)} and roi_size {sized(package.inferer.roi_size)} "
            f"make {sized(padded)} voxels of an image whose voxels are {sized(volume.spacing)} mm; "
            "use another model, or crop or resample the image."
        )
    count = math.prod(
        len(window_starts(n, r, overlap, package.inferer.evenly)) for n, r in zip(padded, windows, strict=False)
    )
    count *= padded[2] if dims == 2 else 1
    if count > MAX_WINDOWS:
        raise InputError(
            f"{package.name} would need {count} windows for {volume.name}, more than the {MAX_WINDOWS} that are "
            f"computed: its roi_size is {sized(package.inferer.roi_size)} with an overlap of {overlap:g} on "
            f"{sized(padded)} voxels; use a smaller overlap or another model."
        )


def left() -> int | None:
    """Bytes of main memory that may still be taken: what is free, within the limit; None where nobody knows."""
    return budget.left(available_bytes())


def sized(values: Any) -> str:
    """Sizes as people write them: 1.5x1.5x3."""
    return "x".join(f"{n:g}" if isinstance(n, float) else str(n) for n in values)
