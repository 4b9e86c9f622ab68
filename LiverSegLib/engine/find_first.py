"""A model of others that looks only where the liver is: found first by the locator that ships with LiverSeg.

Unlike in a chain, the model was not trained for it. So it sees the same windows as if it looked everywhere, all that
touch the surroundings of the liver. Nothing that it finds is removed, and where its result touches a side of these,
that side moves out.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from scipy import ndimage

from LiverSegLib.boxes import Box, bounding_box, is_one_of
from LiverSegLib.engine.geometry import GridLabels
from LiverSegLib.engine.one_model import OneModel
from LiverSegLib.engine.progress import Monitor, Stages
from LiverSegLib.errors import InputError
from LiverSegLib.labels import MAIN_ORGAN, of_main_organ
from LiverSegLib.models import ModelPackage
from LiverSegLib.models.intensity import Normalize, ScalePercentiles
from LiverSegLib.request import Settings, VoxelBox
from LiverSegLib.volume import Result, Volume

MARGIN_MM = 25.0
"""Around what the locator finds; the windows reach further."""
_TOUCHING_MM = 2.0
"""A result that comes so close to a side of the region may go on behind it."""
_LEAST_PART = 0.1
"""A part that is smaller than this share of the largest is no liver."""
_SURE, _LARGEST = 0.9, 0.8
"""How certain the locator has to be, and how much of what it finds has to be one part. Real scans had 0.966 to 0.976
and phantoms 0.923 to 0.972; it need not be as sure as where nothing is looked at again."""


def check_package(package: ModelPackage, wanted: frozenset[str]) -> None:
    """Refuse a model that needs more than the surroundings of the liver.

    Args:
        package: the model.
        wanted: names of the labels that are asked for.

    Raises:
        InputError: a label lies elsewhere, or what the model does depends on the whole image.
    """
    instead = "segment without finding the liver first (--find-first)"
    near = {label.name for label in of_main_organ(package.labels)}
    others = sorted(wanted - near)
    if others:
        raise InputError(
            f"{package.name} is asked for {others[0]}, which does not lie in the {MAIN_ORGAN}; ask for labels of the "
            f"{MAIN_ORGAN} alone (--targets {MAIN_ORGAN}), or {instead}."
        )
    if package.modality not in ("", "CT") or len(package.inputs) > 1:
        raise InputError(f"{package.name} is not for single CT images, where alone the liver is found; {instead}.")
    steps = [step for number in range(len(package.inputs)) for step in package.steps(number)]
    by_image = any(
        isinstance(step, ScalePercentiles) or (isinstance(step, Normalize) and None in (step.mean, step.std))
        for step in steps
    )
    if by_image or package.crop is not None or max(package.size) > 0:
        raise InputError(f"What {package.name} makes of a voxel depends on the whole image; {instead}.")


def segment_found(
    model: OneModel, locator: OneModel, volume: Volume, settings: Settings, monitor: Monitor, wanted: frozenset[str]
) -> Result:
    """Segment in a region around the liver; all of the volume where it is not surely found or the region grows to that.

    Args:
        model, settings, monitor, wanted: as for `OneModel.segment`; the model passed `check_package`.
        locator: finds the liver.
        volume: the image; not changed.

    Raises:
        InputError, DeviceError, SegmentationCancelled: as `Segmenter.segment`.
    """
    stages = Stages(monitor)
    region = _region(locator.find(volume, monitor.of_stage("locate")), volume)
    stages.lap("locate")
    while region is not None:
        result = model.segment(volume, settings, monitor, wanted=wanted, core=region)
        found = bounding_box(is_one_of(result.labelmap, _values(model.package, wanted)))
        wider = _widened(region, found, volume)
        if wider == region:
            return replace(result, timings=stages.seconds | result.timings)
        stages.lap("locate")
        region = wider if found is not None else None  # nothing there: perhaps elsewhere
    result = model.segment(volume, settings, monitor, wanted=wanted)
    note = f"The {MAIN_ORGAN} was not found for sure in {volume.name} at first, so all of it was segmented."
    return replace(result, timings=stages.seconds | result.timings, warnings=(*result.warnings, note))


def _values(package: ModelPackage, wanted: frozenset[str]) -> list[int]:
    return [label.value for label in package.labels if label.name in wanted]


def _region(found: GridLabels, volume: Volume) -> VoxelBox | None:
    """Where the model looks; None for everywhere, as the locator is not sure."""
    parts, count = ndimage.label(found.labels.cpu().numpy() > 0)
    if not count or found.certainty is None or found.certainty < _SURE:
        return None
    sizes = np.bincount(parts.ravel())[1:]
    if sizes.max() < _LARGEST * sizes.sum():
        return None
    large = np.concatenate([[False], sizes >= _LEAST_PART * sizes.max()])
    box = bounding_box(large[parts])
    target = None if box is None else found.grid.input_box(box)
    if target is None:
        return None
    sides = found.grid.axes.input_box(target, volume.array.shape)
    margins = [math.ceil(MARGIN_MM / mm) for mm in volume.spacing]
    around = [(start - margin, stop + margin) for (start, stop), margin in zip(sides, margins, strict=True)]
    return _three(around, volume.array.shape)


def _widened(region: VoxelBox, found: Box | None, volume: Volume) -> VoxelBox:
    """The region with each side that the labels touch moved out by half of its length; itself where none is."""
    if found is None:
        return _three([(0, size) for size in volume.array.shape], volume.array.shape)
    sides = []
    for (start, stop), side, mm in zip(region, found, volume.spacing, strict=True):
        near, step = math.ceil(_TOUCHING_MM / mm), (stop - start) // 2 + 1
        sides.append((start - step * (side.start < start + near), stop + step * (side.stop > stop - near)))
    return _three(sides, volume.array.shape)


def _three(sides: list[tuple[int, int]], shape: tuple[int, ...]) -> VoxelBox:
    """The sides inside the image."""
    i, j, k = ((max(0, start), min(size, stop)) for (start, stop), size in zip(sides, shape, strict=True))
    return i, j, k
