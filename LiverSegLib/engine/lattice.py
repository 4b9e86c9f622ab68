"""The part of a model's grid that has to be computed for the labels of a box of the image."""

from __future__ import annotations

import math

from LiverSegLib.boxes import Box
from LiverSegLib.engine.geometry import ModelGrid
from LiverSegLib.engine.region import slices_of
from LiverSegLib.engine.sliding_window import window_starts
from LiverSegLib.models.inferer import Inferer
from LiverSegLib.request import VoxelBox
from LiverSegLib.volume import Volume


def grid_near(grid: ModelGrid, core: VoxelBox, volume: Volume, inferer: Inferer, nearest: bool) -> ModelGrid:
    """The grid of all windows that touch a box; they are windows of the whole grid, at the same places.

    So the logits in the box are those that the whole grid gives; outside it some windows are missing. A network that
    sees whole slices, or a whole axis, goes on doing so.

    Args:
        grid: over the whole volume.
        core: the box.
        volume: the image.
        inferer: the windows.
        nearest: see `ModelGrid.part`.
    """
    box = grid.axes.box_of(slices_of(core), volume.array.shape)
    i, j, k = (_side(grid, axis, box, inferer) for axis in range(3))
    return grid.part((i, j, k), nearest)


def _side(grid: ModelGrid, axis: int, box: Box, inferer: Inferer) -> slice:
    at, size = grid.model_positions(axis)[box[axis]], grid.shape[axis]
    first, last = math.floor(at.min()), min(size, math.ceil(at.max()) + 1)
    if axis >= len(inferer.roi_size):  # slice by slice
        return slice(first, last)
    window = inferer.roi_size[axis]
    if window == -1 or window >= size:
        return slice(0, size)
    starts = window_starts(size, window, inferer.overlap, inferer.evenly)
    touching = [start for start in starts if start < last and start + window > first]
    return slice(touching[0], touching[-1] + window)
