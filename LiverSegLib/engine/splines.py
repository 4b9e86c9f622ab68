"""Cubic spline interpolation of whole images, edge to edge, as products with one matrix an axis."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from scipy import ndimage

from LiverSegLib.engine.geometry import ModelGrid, resample_window
from LiverSegLib.engine.progress import Monitor

_SLAB_VALUES = 8_000_000


@lru_cache(maxsize=8)
def _matrix(size: int, new: int) -> torch.Tensor:
    """The matrix float32 [new, size] that resamples an axis of `size` voxels to `new`.

    A spline is linear in the image, so what `ndimage.zoom` makes of each unit vector tells all of it.
    """
    found = ndimage.zoom(np.eye(size), (new / size, 1), order=3, mode="nearest", grid_mode=True)
    return torch.from_numpy(found.astype(np.float32))


def _along(x: torch.Tensor, axis: int, new: int) -> torch.Tensor:
    """`x` [X, Y, Z] with `new` voxels along `axis`."""
    if x.shape[axis] == new:
        return x
    matrix = _matrix(x.shape[axis], new).to(x.device)
    if axis == 2:
        return x @ matrix.T
    if axis == 1:
        return matrix @ x
    return (matrix @ x.reshape(x.shape[0], -1)).reshape(new, *x.shape[1:])


def resample_cubic(x: torch.Tensor, grid: ModelGrid, monitor: Monitor) -> torch.Tensor:
    """An image [X, Y, Z] from `on_own_voxels` on the model grid; its values stay within those that it had.

    Across a thick axis each slice is an image of its own, and then the nearest is taken.

    Args:
        x: float32, on the field of view that the grid divides anew, edge to edge.
        grid: where to.
        monitor: asked for a stop.
    """
    thick = grid.thick
    shape = [x.shape[axis] if axis == thick else size for axis, size in enumerate(grid.shape)]
    across = [axis for axis in range(3) if axis != thick]
    low, high = x.amin(across, keepdim=True), x.amax(across, keepdim=True)
    parts = []
    depth = max(1, _SLAB_VALUES // (max(x.shape[1], shape[1]) * max(x.shape[2], shape[2])))
    for first in range(0, x.shape[0], depth):
        monitor.check()
        parts.append(_along(_along(x[first : first + depth], 2, shape[2]), 1, shape[1]))
    x = torch.cat(parts)
    del parts
    monitor.check()
    x = _along(x, 0, shape[0]).clamp_(low, high)
    return x if thick is None else resample_window(x, thick, grid)
