"""Segmenting only a box of a volume, and keeping only some labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from LiverSegLib.errors import InputError
from LiverSegLib.measure import Measurements
from LiverSegLib.volume import Label, Result, Volume, label_for
from LiverSegLib.worker.values import Range, Roi


def clip_roi(roi: Roi, shape: Sequence[int], name: str) -> Roi:
    """The part of a box that lies in a volume of `shape` [i, j, k].

    Raises:
        InputError: nothing of it does.
    """
    ranges: list[Range] = [(max(0, start), min(stop, size)) for (start, stop), size in zip(roi, shape, strict=True)]
    if any(stop <= start for start, stop in ranges):
        raise InputError(f"The region of interest lies outside {name}; move it over the liver.")
    return ranges[0], ranges[1], ranges[2]


def crop(volume: Volume, roi: Roi) -> Volume:
    """The volume inside a box, in the same place in space; the array is a view."""
    array = volume.array[tuple(slice(*r) for r in roi)]
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [start for start, _ in roi]
    return replace(volume, array=array, affine=affine)


def paste(part: Result, roi: Roi, volume: Volume) -> Result:
    """A result for the whole volume from that of the box; outside it is background.

    Measurements are in mm and RAS, which cropping does not change.
    """
    labelmap = np.zeros(volume.array.shape, np.uint8, order="F")
    labelmap[tuple(slice(*r) for r in roi)] = part.labelmap
    return replace(part, labelmap=labelmap, affine=volume.affine)


def check_targets(targets: Sequence[str], labels: Sequence[Label], model: str) -> frozenset[str]:
    """Our spelling of the label names to keep.

    Raises:
        InputError: there are none, or the model does not segment one of them.
    """
    known = [label.name for label in labels]
    wanted = frozenset(label_for(1, name).name for name in targets)
    for name in sorted(wanted):
        if name not in known:
            raise InputError(f"The model {model} does not segment {name!r}; choose among {', '.join(known)}.")
    if not wanted:
        raise InputError(f"No target is chosen; choose among {', '.join(known)}.")
    return wanted


def keep(result: Result, wanted: frozenset[str]) -> Result:
    """The result with the labels `wanted` alone; the label map is changed in place.

    Without the tumours the liver is whole: their voxels become liver.
    """
    values = {label.name: label.value for label in result.labels}
    if wanted >= values.keys():
        return result
    table = np.arange(256, dtype=np.uint8)
    for name, value in values.items():
        if name not in wanted:
            table[value] = values["liver"] if name == "tumor" and "liver" in wanted else 0
    np.take(table, result.labelmap, out=result.labelmap)
    measured = result.measurements
    tumor = "tumor" in wanted
    measurements = Measurements(
        tuple(segment for segment in measured.segments if segment.name in wanted),
        measured.lesions if tumor else (),
        measured.tumor_burden_percent if tumor else None,
    )
    labels = tuple(label for label in result.labels if label.name in wanted)
    return replace(result, labels=labels, measurements=measurements)
