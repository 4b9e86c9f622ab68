"""Two models in a row: an organ, then what a second model finds inside it (lungs, then their lesions)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from LiverSegLib.boxes import grown
from LiverSegLib.engine.progress import ProgressCallback, StopCallback
from LiverSegLib.engine.region import check_targets, segment_region, select_labels, slices_of, voxel_box
from LiverSegLib.engine.segmenter import Segmenter
from LiverSegLib.errors import InputError, ModelError
from LiverSegLib.io import read_label_map
from LiverSegLib.io.dicom import is_seg
from LiverSegLib.io.dicom.seg import seg_names
from LiverSegLib.io.read import is_dicom_file
from LiverSegLib.labels import MAIN_ORGAN, Label, label_for, labels_for, lesion_in, values_of
from LiverSegLib.measure import measure
from LiverSegLib.request import ALL, SegmentationRequest
from LiverSegLib.volume import Result, Volume, spacing_of

Mask = npt.NDArray[np.bool_]


def segment_within(
    organ: Segmenter,
    lesion: Segmenter,
    volume: Volume,
    margin_mm: float = 0.0,
    progress: ProgressCallback | None = None,
    should_stop: StopCallback | None = None,
    *,
    request: SegmentationRequest | None = None,
) -> Result:
    """Segment an organ, then keep of a second model's labels what lies inside it.

    Args:
        organ, lesion: the two models; the organ is the first one's only label, or the liver with its lesions.
        volume: the image; both get the whole of it, or of the request's region.
        margin_mm: how far outside the organ still counts.
        progress, should_stop: as for `Segmenter.segment`; progress runs through its stages twice.
        request: as for `Segmenter.segment`; targets may be the organ and the second model's labels.

    Returns:
        The organ as label 1 and the second model's labels from 2 on, where both are set the second's; one that
        has the organ's name is left out. Measurements are those of the joint label map.

    Raises:
        ModelError: the first model has several labels and none is the liver.
        InputError, DeviceError, SegmentationCancelled: as `Segmenter.segment`.
    """
    name = _only_organ(organ)
    asked = request or SegmentationRequest()
    labels = _joint_labels(name, lesion, asked)
    wanted = check_targets(asked.targets, labels, lesion.package.title)
    whole = None if request is None else replace(request, region=None, targets=None)
    inner = None if request is None else replace(request, region=None, targets=request.targets and ALL)

    def segment(part: Volume) -> Result:
        first = organ.segment(part, progress, should_stop, request=whole)
        found = lesion.segment(part, progress, should_stop, request=inner)
        joint = _joined(first.mask(name), found, part, labels, margin_mm)
        stages = first.timings | found.timings
        timings = {stage: first.timings.get(stage, 0.0) + found.timings.get(stage, 0.0) for stage in stages}
        notes = tuple(dict.fromkeys([*first.warnings, *joint.warnings]))
        return replace(
            joint, timings=timings, warnings=notes, model=f"{joint.model} within {first.model}", quality=first.quality
        )

    return select_labels(segment_region(volume, asked.region, segment), wanted)


def segment_within_mask(
    mask: Mask,
    lesion: Segmenter,
    volume: Volume,
    organ_name: str = "organ",
    margin_mm: float = 0.0,
    progress: ProgressCallback | None = None,
    should_stop: StopCallback | None = None,
    *,
    request: SegmentationRequest | None = None,
) -> Result:
    """As `segment_within`, with the organ given as a boolean [i, j, k] mask on the volume's grid.

    Raises:
        InputError: the mask has another shape, or the volume cannot be segmented.
        DeviceError, SegmentationCancelled: as `Segmenter.segment`.
    """
    if mask.shape != volume.array.shape:
        raise InputError(f"The mask {mask.shape} and {volume.name} {volume.array.shape} differ in size; resample it.")
    asked = request or SegmentationRequest()
    labels = _joint_labels(organ_name, lesion, asked)
    wanted = check_targets(asked.targets, labels, lesion.package.title)
    whole = None if request is None else replace(request, region=None, targets=request.targets and ALL)
    box = None if asked.region is None else voxel_box(asked.region, volume)
    inside = mask if box is None else mask[slices_of(box)]

    def segment(part: Volume) -> Result:
        found = lesion.segment(part, progress, should_stop, request=whole)
        return replace(_joined(inside, found, part, labels, margin_mm), quality=None)

    return select_labels(segment_region(volume, box, segment), wanted)


def _joint_labels(organ_name: str, lesion: Segmenter, asked: SegmentationRequest) -> tuple[Label, ...]:
    """The organ as label 1, then the second model's labels but that organ; its lesions are those of the organ."""
    organ, package = label_for(1, organ_name), lesion.package
    there = [label for label in package.labels if asked.targets or label.name in package.default_targets]
    others = [label for label in there if label.name != organ.name]
    numbered = [replace(label, value=value) for value, label in enumerate(others, 2)]
    return (organ, *(lesion_in(label, organ.name) if label.is_lesion else label for label in numbered))


def _joined(mask: Mask, found: Result, volume: Volume, labels: tuple[Label, ...], margin_mm: float) -> Result:
    """What was found within an organ's mask together with the organ itself, measured anew."""
    organ, *others = labels
    values = {label.name: label.value for label in others}
    new_value = np.zeros(256, np.uint8)
    for label in found.labels:
        new_value[label.value] = values.get(label.name, 0)
    labelmap = new_value[found.labelmap]
    labelmap[~grown(mask, spacing_of(volume.affine), margin_mm)] = 0
    labelmap[mask & (labelmap == 0)] = 1
    notes = found.warnings
    if not mask.any():
        notes = (*notes, f"No {organ.name} was found in {volume.name}, so nothing inside it was looked for.")
    measurements = measure(labelmap, volume.affine, labels, volume.array, found.measurements.intensity_unit)
    return replace(found, labelmap=labelmap, labels=labels, measurements=measurements, warnings=notes)


def read_mask(path: Path, volume: Volume, segment: str = "") -> Mask:
    """A label map file on the grid of `volume` as a mask: every value above 0.

    Args:
        path: the file.
        volume: the image.
        segment: of a DICOM SEG the name of the segment that counts, with the lesions and pieces in it; "": all count.

    Raises:
        InputError: it cannot be read, lies on another grid, or has no such segment.
    """
    given = read_label_map(path, volume)
    return np.asarray(given > 0) if not segment else np.isin(given, _values_in(path, segment))


def _values_in(path: Path, segment: str) -> tuple[int, ...]:
    if not (is_dicom_file(path) and is_seg(path)):
        raise InputError(f"{path} is no DICOM SEG, so its segments have no names; leave out #{segment}.")
    labels = labels_for(seg_names(path))
    # An organ that is no segment of its own may be there in its pieces.
    values = values_of(label_for(1, segment).name, labels)
    if not values:
        names = ", ".join(label.name for label in labels)
        raise InputError(f"{path} has no segment {segment}; choose one of: {names}.")
    return values


def _only_organ(organ: Segmenter) -> str:
    names = [label.name for label in organ.package.labels]
    if len(names) == 1:
        return names[0]
    if values_of(MAIN_ORGAN, organ.package.labels):
        return MAIN_ORGAN
    raise ModelError(
        f"The model {organ.package.name} segments {len(names)} things, none of which is the liver; "
        "choose a model of one organ, or give its label map as a file."
    )
