"""Models that look only near what another model found: first coarse and everywhere, then fine and there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from LiverSegLib.boxes import bounding_box, grown, is_one_of
from LiverSegLib.engine.geometry import GridLabels, ModelGrid
from LiverSegLib.engine.one_model import OneModel
from LiverSegLib.engine.posture import STRAIGHT, Turn
from LiverSegLib.engine.progress import Monitor, Stages
from LiverSegLib.engine.region import crop, segment_region
from LiverSegLib.engine.vote import mask_of, outvote
from LiverSegLib.labels import subject_of, values_of
from LiverSegLib.request import Settings
from LiverSegLib.volume import Result, Volume

Mask = npt.NDArray[np.bool_]


def segment_near(
    model: OneModel,
    voters: Sequence[OneModel],
    found: GridLabels,
    volume: Volume,
    settings: Settings,
    monitor: Monitor,
    turn: Turn = STRAIGHT,
    wanted: frozenset[str] = frozenset(),
) -> Result:
    """Segment what lies near a guide's largest part; the rest of the volume stays background.

    Args:
        model: sees a box of the volume only; its package says how far from the guide's part labels may reach.
        voters: see that box, too; the organ is what most of all models say, the guide included.
        found: what the guide found in this volume.
        volume, settings, monitor, turn, wanted: as for `OneModel.segment`.
    """
    guide = model.package.guide
    near = _near(found, 0.0 if guide is None else guide.margin_mm)
    box = bounding_box(near)
    target = None if box is None else found.grid.input_box(box)
    if target is None:
        result = model.segment(volume, settings, monitor, turn=turn, wanted=wanted)
        note = (
            f"No part of {volume.name} stood out as the place to look at, so all of it was searched; check the result."
        )
        return replace(result, warnings=(*result.warnings, note))
    region = found.grid.axes.input_box(target, volume.array.shape)
    shape = crop(volume, region).array.shape
    allowed = _on_input(near, found.grid, target, shape)
    looking = monitor.of_stage("vote")
    drawn = [mask_of(found, target, shape, looking)] if voters else []

    def segment(part: Volume) -> Result:
        stages = Stages(monitor)
        others = [*drawn, *(_organ_of(one, model, part, looking, turn) & allowed for one in voters)]
        if others:
            stages.lap("vote")
        agreed: list[float | None] = []

        def revise(labelmap: npt.NDArray[np.uint8]) -> None:
            labelmap[~allowed] = 0
            if others:
                agreed.append(outvote(labelmap, _subject(model), model.package.labels, others))

        result = model.segment(part, settings, monitor, revise, turn, wanted)
        return _with_agreement(replace(result, timings=stages.seconds | result.timings), agreed)

    return segment_region(volume, region, segment)


def _subject(model: OneModel) -> str:
    """The organ that is voted on; that there is one was seen to when the voters were loaded."""
    return str(subject_of(model.package.labels))


def _organ_of(voter: OneModel, model: OneModel, part: Volume, looking: Monitor, turn: Turn) -> Mask:
    return is_one_of(voter.draw(part, looking, turn), values_of(_subject(model), voter.package.labels))


def _with_agreement(result: Result, agreed: Sequence[float | None]) -> Result:
    """The result with the models' agreement as evidence of its quality, where they voted."""
    if result.quality is None or not agreed or agreed[0] is None:
        return result
    evidence = result.quality.evidence | {"agreement": agreed[0]}
    return replace(result, quality=replace(result.quality, evidence=evidence))


def _near(found: GridLabels, margin_mm: float) -> Mask:
    """The voxels [X, Y, Z] of the guide's grid within a margin of its largest part."""
    parts, count = ndimage.label(found.labels.cpu().numpy() > 0)
    if not count:
        return np.zeros(parts.shape, bool)
    largest = parts == np.bincount(parts.ravel())[1:].argmax() + 1
    return grown(largest, found.grid.spacing, margin_mm)


def _on_input(near: Mask, grid: ModelGrid, target: tuple[slice, ...], shape: tuple[int, ...]) -> Mask:
    """The mask of the guide's grid on the input voxels [i, j, k] of a box, by the nearest of its voxels."""
    at = [np.round(grid.model_positions(axis)[target[axis]]).astype(int) for axis in range(3)]
    mask = np.empty(shape, bool, order="F")
    grid.axes.apply(mask)[...] = near[np.ix_(*at)]
    return mask
