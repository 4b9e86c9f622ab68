"""A model that looks only near what another model found: first coarse and everywhere, then fine and there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from LiverSegLib.boxes import bounding_box
from LiverSegLib.engine.geometry import GridLabels, ModelGrid
from LiverSegLib.engine.one_model import OneModel
from LiverSegLib.engine.posture import STRAIGHT, Turn
from LiverSegLib.engine.progress import Monitor
from LiverSegLib.engine.region import crop, segment_region
from LiverSegLib.request import Settings
from LiverSegLib.volume import Result, Volume

Mask = npt.NDArray[np.bool_]


def segment_near(
    model: OneModel,
    found: GridLabels,
    margin_mm: float,
    volume: Volume,
    settings: Settings,
    monitor: Monitor,
    turn: Turn = STRAIGHT,
) -> Result:
    """Segment what lies near a guide's largest part; the rest of the volume stays background.

    Args:
        model: sees a box of the volume only.
        found: what the guide found in this volume.
        margin_mm: how far from that the labels may reach.
        volume, settings, monitor, turn: as for `OneModel.segment`.
    """
    near = _near(found, margin_mm)
    box = bounding_box(near)
    target = None if box is None else found.grid.input_box(box)
    if target is None:
        result = model.segment(volume, settings, monitor, turn=turn)
        note = (
            f"No part of {volume.name} stood out as the place to look at, so all of it was searched; check the result."
        )
        return replace(result, warnings=(*result.warnings, note))
    region = found.grid.axes.input_box(target, volume.array.shape)
    allowed = _on_input(near, found.grid, target, crop(volume, region).array.shape)
    return segment_region(volume, region, lambda part: model.segment(part, settings, monitor, allowed, turn))


def _near(found: GridLabels, margin_mm: float) -> Mask:
    """The voxels [X, Y, Z] of the guide's grid within a margin of its largest part."""
    parts, count = ndimage.label(found.labels.cpu().numpy() > 0)
    if not count:
        return np.zeros(parts.shape, bool)
    largest = parts == np.bincount(parts.ravel())[1:].argmax() + 1
    return np.asarray(ndimage.distance_transform_edt(~largest, sampling=found.grid.spacing) <= margin_mm)


def _on_input(near: Mask, grid: ModelGrid, target: tuple[slice, ...], shape: tuple[int, ...]) -> Mask:
    """The mask of the guide's grid on the input voxels [i, j, k] of a box, by the nearest of its voxels."""
    at = [np.round(grid.model_positions(axis)[target[axis]]).astype(int) for axis in range(3)]
    mask = np.empty(shape, bool, order="F")
    grid.axes.apply(mask)[...] = near[np.ix_(*at)]
    return mask
