"""Dealing an organ out to the parts that a second model drew: every voxel of it to one part, each part in one piece."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from LiverSegLib.boxes import Box, bounding_box
from LiverSegLib.engine.geometry import GridLabels, ModelGrid
from LiverSegLib.engine.progress import Monitor
from LiverSegLib.engine.restore import restore

Mask = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.uint8]
_NEARBY = 10
"""Voxels around what was dealt out to nobody in which the nearest part is looked for first."""


def divide(organ: Mask, found: GridLabels, monitor: Monitor) -> Labels:
    """Labels uint8 [i, j, k] of an organ's parts; nothing outside the organ, and all of it where any part was found.

    Borders are those of the parts as drawn, interpolated between the voxels of their grid; where a part was not
    drawn far enough, its nearest voxel decides.

    Args:
        organ: boolean [i, j, k], on the input's grid.
        found: the parts on the second model's grid.
        monitor: is told of the stage "divide".
    """
    monitor.report("divide", 0, 3)
    view = found.grid.axes.apply(organ)
    box = bounding_box(view)
    drawn = _in_one_piece(found.labels.cpu().numpy())
    if box is None or not drawn.any():
        return np.zeros(organ.shape, np.uint8, order="F")
    around = _grid_box(found.grid, box)
    territory = _filled(drawn)[around]
    count = int(drawn.max())
    votes = torch.zeros((count + 1, *drawn.shape), dtype=torch.uint8)
    for part in range(1, count + 1):
        votes[(part, *around)] = torch.from_numpy(np.asarray(territory == part).astype(np.uint8))
    monitor.report("divide", 1, 3)
    labels = restore(votes, found.grid, organ.shape, False, monitor.of_stage("divide"))
    labels[~organ] = 0
    monitor.report("divide", 2, 3)
    inside = bounding_box(organ)
    assert inside is not None
    part_labels = _in_one_piece(labels[inside])
    labels[inside] = _given_to_nearest(part_labels, organ[inside])
    monitor.report("divide", 3, 3)
    return labels


def _grid_box(grid: ModelGrid, box: Sequence[slice]) -> Box:
    """The voxels of the model's grid around a box of input voxels, two wider: interpolation ends inside."""
    sides = []
    for axis, side in enumerate(box):
        at = grid.model_positions(axis)[side]
        low, high = int(np.floor(at.min())) - 2, int(np.ceil(at.max())) + 3
        sides.append(slice(max(0, low), min(grid.shape[axis], high)))
    i, j, k = sides
    return i, j, k


def _in_one_piece(labels: Labels) -> Labels:
    """The labels with only the largest piece of each."""
    kept = np.zeros_like(labels)
    for value, place in enumerate(ndimage.find_objects(labels), start=1):
        if place is None:
            continue
        pieces, _ = ndimage.label(labels[place] == value)
        largest = np.bincount(pieces.ravel())[1:].argmax() + 1
        kept[place][pieces == largest] = value
    return kept


def _filled(labels: Labels) -> Labels:
    """Every voxel with the label of the nearest one that has any."""
    nearest = ndimage.distance_transform_edt(labels == 0, return_distances=False, return_indices=True)
    return np.asarray(labels[tuple(nearest)])


def _given_to_nearest(labels: Labels, organ: Mask) -> Labels:
    """The labels with what is left of the organ given to the nearest part."""
    left = organ & (labels == 0)
    place = bounding_box(left, _NEARBY)
    if place is None:
        return labels
    if not labels[place].any():
        i, j, k = (slice(0, size) for size in labels.shape)
        place = (i, j, k)
    labels[place][left[place]] = _filled(labels[place])[left[place]]
    return labels
