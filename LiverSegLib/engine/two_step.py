"""Two models in a row: an organ, then what a second model finds inside it (lungs, then their lesions)."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from LiverSegLib.engine.postprocess import bounding_box
from LiverSegLib.engine.progress import ProgressCallback, StopCallback
from LiverSegLib.engine.segmenter import Segmenter
from LiverSegLib.errors import InputError, ModelError
from LiverSegLib.io import read_label_map
from LiverSegLib.labels import MAIN_ORGAN, Label, label_for, lesion_in
from LiverSegLib.measure import measure
from LiverSegLib.volume import Result, Volume, spacing_of

Mask = npt.NDArray[np.bool_]


def segment_within(
    organ: Segmenter,
    lesion: Segmenter,
    volume: Volume,
    organ_label: str | None = None,
    margin_mm: float = 0.0,
    progress: ProgressCallback | None = None,
    should_stop: StopCallback | None = None,
) -> Result:
    """Segment an organ, then keep of a second model's labels what lies inside it.

    Args:
        organ, lesion: the two models.
        volume: the image; both get the whole of it.
        organ_label: which label of `organ` is the organ; None: its only one, or "liver" with its lesions.
        margin_mm: how far outside the organ still counts.
        progress, should_stop: as for `Segmenter.segment`; progress runs through its stages twice.

    Returns:
        The organ as label 1 and the second model's labels from 2 on, where both are set the second's; one that
        has the organ's name is left out. Measurements are those of the joint label map.

    Raises:
        ModelError: the first model has no such label, or several and none is the liver.
        InputError, DeviceError, SegmentationCancelled: as `Segmenter.segment`.
    """
    name = organ_label or _only_organ(organ)
    if name not in [label.name for label in organ.package.labels]:
        raise ModelError(f"The model {organ.package.name} does not segment {name}; choose another for the organ.")
    first = organ.segment(volume, progress, should_stop)
    joint = segment_within_mask(
        first.mask(name),
        lesion,
        volume,
        organ_name=name,
        margin_mm=margin_mm,
        progress=progress,
        should_stop=should_stop,
    )
    timings = {key: first.timings.get(key, 0.0) + joint.timings.get(key, 0.0) for key in first.timings | joint.timings}
    notes = tuple(dict.fromkeys([*first.warnings, *joint.warnings]))
    return replace(joint, timings=timings, warnings=notes, model=f"{joint.model} within {first.model}")


def segment_within_mask(
    mask: Mask,
    lesion: Segmenter,
    volume: Volume,
    organ_name: str = "organ",
    margin_mm: float = 0.0,
    progress: ProgressCallback | None = None,
    should_stop: StopCallback | None = None,
) -> Result:
    """As `segment_within`, with the organ given as a boolean [i, j, k] mask on the volume's grid.

    Raises:
        InputError: the mask has another shape, or the volume cannot be segmented.
        DeviceError, SegmentationCancelled: as `Segmenter.segment`.
    """
    if mask.shape != volume.array.shape:
        raise InputError(f"The mask {mask.shape} and {volume.name} {volume.array.shape} differ in size; resample it.")
    found = lesion.segment(volume, progress, should_stop)
    organ = label_for(1, organ_name)
    kept = [label for label in found.labels if label.name != organ.name]
    labels = (organ, *(_inside(label, value, organ) for value, label in enumerate(kept, 2)))
    inside = grown(mask, volume.affine, margin_mm)
    new_value = np.zeros(256, np.uint8)
    new_value[[label.value for label in kept]] = np.arange(2, len(kept) + 2)
    labelmap = new_value[found.labelmap]
    labelmap[~inside] = 0
    labelmap[mask & (labelmap == 0)] = 1
    notes = found.warnings
    if not mask.any():
        notes = (*notes, f"No {organ_name} was found in {volume.name}, so nothing inside it was looked for.")
    measurements = measure(labelmap, volume.affine, labels, volume.array, found.measurements.intensity_unit)
    return replace(found, labelmap=labelmap, labels=labels, measurements=measurements, warnings=notes)


def _inside(label: Label, value: int, organ: Label) -> Label:
    """A label of the second model with a new value; a lesion is one of the organ."""
    label = replace(label, value=value)
    return lesion_in(label, organ.name) if label.is_lesion else label


def read_mask(path: Path, volume: Volume) -> Mask:
    """A label map file on the grid of `volume` as a mask: every value above 0.

    Raises:
        InputError: it cannot be read, or lies on another grid.
    """
    return np.asarray(read_label_map(path, volume) > 0)


def grown(mask: Mask, affine: npt.NDArray[np.float64], margin_mm: float) -> Mask:
    """The mask [i, j, k] and every voxel whose centre lies within `margin_mm` of one of its own."""
    spacing = spacing_of(affine)
    box = bounding_box(mask, math.ceil(margin_mm / min(spacing)) + 1)
    if margin_mm <= 0 or box is None:
        return mask
    from scipy import ndimage

    place = tuple(slice(*ends) for ends in box)
    wide = np.zeros_like(mask)
    wide[place] = ndimage.distance_transform_edt(~mask[place], sampling=spacing) <= margin_mm
    return wide


def _only_organ(organ: Segmenter) -> str:
    names = [label.name for label in organ.package.labels]
    if len(names) == 1:
        return names[0]
    if MAIN_ORGAN in names:
        return MAIN_ORGAN
    raise ModelError(
        f"The model {organ.package.name} segments {len(names)} things, none of which is the liver; "
        "choose a model of one organ, or give its label map as a file."
    )
