"""Segmenting only a box of a volume, and keeping only some labels."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import numpy.typing as npt

from LiverSegLib.boxes import Box
from LiverSegLib.errors import InputError
from LiverSegLib.freed_memory import give_back
from LiverSegLib.labels import Label, label_for, organs_of_pieces
from LiverSegLib.request import ALL, RasBox, Region, VoxelBox
from LiverSegLib.volume import Result, Volume

_EPSILON = 1e-6


def voxel_box(region: Region, volume: Volume) -> VoxelBox:
    """The voxels of a volume that a region touches.

    Args:
        region: half-open voxel ranges, or a box in RAS mm.
        volume: the image.

    Raises:
        InputError: nothing of the region lies in the volume.
    """
    if isinstance(region, RasBox):
        to_corners = np.array(list(product((-0.5, 0.5), repeat=3))) * region.size  # [8, 3] along the box's own axes
        region = touched_voxels(region.center + to_corners @ np.array(region.axes), volume.affine)
    i, j, k = ((max(0, start), min(stop, size)) for (start, stop), size in zip(region, volume.array.shape, strict=True))
    if any(stop <= start for start, stop in (i, j, k)):
        raise InputError(f"The region of interest lies outside {volume.name}; move it over the liver.")
    return i, j, k


def touched_voxels(points: npt.NDArray[np.float64], affine: npt.NDArray[np.float64]) -> VoxelBox:
    """The box of voxels, inside a volume or not, that points on the border of a region enclose.

    Args:
        points: [n, 3] in RAS mm.
        affine: 4x4, voxel index -> RAS mm.
    """
    at = np.linalg.solve(affine[:3, :3], (points - affine[:3, 3]).T)
    # A voxel reaches half its size to each side of its center.
    low = np.ceil(at.min(axis=1) - 0.5 - _EPSILON)
    high = np.floor(at.max(axis=1) + 0.5 + _EPSILON) + 1
    i, j, k = zip(low.astype(int).tolist(), high.astype(int).tolist(), strict=True)
    return i, j, k


def slices_of(box: VoxelBox) -> Box:
    """The box as an index of an array [i, j, k]."""
    i, j, k = (slice(*ends) for ends in box)
    return i, j, k


def segment_region(volume: Volume, region: Region | None, segment: Callable[[Volume], Result]) -> Result:
    """Segment what lies in a region and give the result for the whole volume; outside it is background.

    Args:
        volume: the image.
        region: where to look; None for everywhere.
        segment: gives the result of a volume, here of the part in the region.

    Raises:
        InputError: the region lies outside the volume, or what `segment` raises.
    """
    if region is None:
        return segment(volume)
    box = voxel_box(region, volume)
    part = segment(crop(volume, box))  # its measurements are in mm and RAS, which cropping does not change
    give_back()  # as much again is needed
    labelmap = np.zeros(volume.array.shape, np.uint8, order="F")
    labelmap[slices_of(box)] = part.labelmap
    return replace(part, labelmap=labelmap, affine=volume.affine)


def crop(volume: Volume, box: VoxelBox) -> Volume:
    """The volume inside a box, in the same place in space; the array is a view."""
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [start for start, _ in box]
    return volume.mapped(lambda channel: channel[slices_of(box)], affine=affine)


def check_targets(
    targets: Sequence[str] | None, labels: Sequence[Label], model: str, default: Sequence[str] = ()
) -> frozenset[str]:
    """Our spelling of the label names to keep.

    An organ that is no label itself stands for its pieces: the liver for its segments.

    Args:
        targets: what is asked for; `ALL` for all labels, None for the default.
        labels: those of the model.
        model: its name, for errors.
        default: the names that None stands for; () for all.

    Raises:
        InputError: there are none, or the model does not segment one of them.
    """
    known = [label.name for label in labels]
    if targets is None:
        targets = default or known
    elif tuple(targets) == ALL and ALL[0] not in known:
        targets = known
    asked = frozenset(label_for(1, name).name for name in targets)
    organs = asked.intersection(organs_of_pieces(labels))
    wanted = (asked - organs).union(label.name for label in labels if label.is_piece and label.part_of in organs)
    for name in sorted(wanted):
        if name not in known:
            raise InputError(f"The model {model} does not segment {name!r}; choose among {', '.join(known)}.")
    if not wanted:
        raise InputError(f"No target is chosen; choose among {', '.join(known)}.")
    return wanted


def of_same_organs(names: Collection[str], labels: Sequence[Label]) -> tuple[Label, ...]:
    """The labels of these names, and all others of the same organs: what one of them is depends on the others."""
    organs = {label.part_of or label.name for label in labels if label.name in names}
    return tuple(label for label in labels if (label.part_of or label.name) in organs)


def select_labels(result: Result, wanted: frozenset[str]) -> Result:
    """The result with the labels `wanted` alone; the label map is changed in place.

    Where a part is not wanted its organ is whole: without the tumors their voxels become liver. Measured is what was
    found before: shares of an organ stay those of all of it.
    """
    values = {label.name: label.value for label in result.labels}
    if wanted >= values.keys():
        return result
    table = np.arange(256, dtype=np.uint8)
    for label in result.labels:
        if label.name not in wanted:
            table[label.value] = values.get(label.part_of or "", 0) if label.part_of in wanted else 0
    for k in range(result.labelmap.shape[2]):  # indices take eight bytes each
        result.labelmap[:, :, k] = table[result.labelmap[:, :, k]]
    labels = tuple(label for label in result.labels if label.name in wanted)
    organs = {label.part_of for label in labels if label.is_piece and label.part_of} - values.keys()
    return replace(result, labels=labels, measurements=result.measurements.of(wanted | organs))
