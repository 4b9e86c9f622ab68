"""What anatomy says of a label map: one liver, without holes, lesions only inside it and no specks of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from LiverSegLib.boxes import bounding_box, is_one_of
from LiverSegLib.engine.components import Parts, nothing, slabs
from LiverSegLib.labels import SOLID, Label, organs_of_pieces, values_of
from LiverSegLib.request import Settings

_WORLD = 1
"""The number of the part that the corner belongs to, in a mask that is set all around."""
SMALLEST_LESION_MM = 5.0
"""Diameter of a ball: a lesion of less cannot be told from noise, nor measured, on a liver scan's slices."""


def postprocess(
    labelmap: npt.NDArray[np.uint8],
    labels: Sequence[Label],
    settings: Settings,
    check: Callable[[], None] = nothing,
    spacing: Sequence[float] | None = None,
) -> None:
    """Clean a label map [i, j, k] in place, with about one byte of memory for each voxel around its labels.

    Args:
        labelmap: labels of a model.
        labels: what its values mean. One body without holes is made only of an organ that is one, such as the
            liver; lesions are kept inside any organ. An organ is all of its pieces, each of which may be in parts;
            holes are filled only where the organ has a value of its own.
        settings: what is to be done.
        check: called several times a second; may raise.
        spacing: mm along i, j, k; without it no lesion is too small.
    """
    least = 0.0 if spacing is None else least_voxels(labelmap.shape, spacing)
    organs = [organ for organ in _organs(labels) if organ.lesions or organ.is_solid]
    box = bounding_box(labelmap) if organs else None
    if box is None:
        return
    # Memory order for SciPy: it walks C order, our arrays have i fastest.
    part = labelmap[box].transpose(2, 1, 0)
    for organ in organs:
        if not any(is_one_of(part[place], organ.values).any() for place in slabs(part.shape, check)):
            continue
        if settings.largest_component and organ.is_solid:
            _keep_largest(part, organ.values, check)
        for lesion in organ.lesions if settings.lesions_inside else ():
            _remove_detached(part, organ.tissue, lesion, check)
            if organ.own is not None:
                _join_specks(part, organ.own, lesion, least, check)
        if settings.fill_holes and organ.is_solid and organ.own is not None:
            _fill_holes(part, organ.own, organ.values, check)


def least_voxels(shape: Sequence[int], spacing: Sequence[float]) -> float:
    """How many voxels of a volume [i, j, k] of this spacing in mm make a ball of `SMALLEST_LESION_MM`.

    Of a single slice, whose thickness says nothing: a disc of that diameter.
    """
    sides = [mm for n, mm in zip(shape, spacing, strict=True) if n > 1]
    share = math.pi / 6 if len(sides) == 3 else math.pi / 4
    return share * math.prod(SMALLEST_LESION_MM / mm for mm in sides)


@dataclass(frozen=True, kw_only=True)
class _Organ:
    """An organ by the values of its voxels.

    Args:
        own: the value of its own label; None where only its pieces are labels.
        tissue: its own and those of its pieces.
        lesions: those of its lesions.
        is_solid: it is one body without holes.
    """

    own: int | None
    tissue: tuple[int, ...]
    lesions: tuple[int, ...]
    is_solid: bool

    @property
    def values(self) -> tuple[int, ...]:
        """All of them."""
        return (*self.tissue, *self.lesions)


def _organs(labels: Sequence[Label]) -> Iterator[_Organ]:
    """Every label as an organ, and the organs that only their pieces make up."""
    owns = {label.name: label.value for label in labels}
    for name in (*owns, *organs_of_pieces(labels)):
        lesions = tuple(label.value for label in labels if label.is_lesion and label.part_of == name)
        tissue = tuple(value for value in values_of(name, labels) if value not in lesions)
        yield _Organ(own=owns.get(name), tissue=tissue, lesions=lesions, is_solid=name in SOLID)


def _keep_largest(part: npt.NDArray[np.uint8], values: tuple[int, ...], check: Callable[[], None]) -> None:
    organ = np.empty(part.shape, bool)
    for place in slabs(part.shape, check):
        organ[place] = is_one_of(part[place], values)
    parts = Parts(organ, check)
    if parts.count > 1:
        for place, kept in parts.chosen(np.arange(parts.count + 1) == parts.sizes.argmax()):
            part[place][organ[place] & ~kept] = 0


def _remove_detached(
    part: npt.NDArray[np.uint8], tissue: tuple[int, ...], lesion: int, check: Callable[[], None]
) -> None:
    """Remove lesion parts that do not touch their organ."""
    parts = Parts(part == lesion, check)
    if not parts.count:
        return
    touching = np.zeros(parts.count + 1, bool)
    for place, numbers in parts.labeled():
        start, stop = max(place.start - 1, 0), min(place.stop + 1, len(part))  # with the layers above and below
        near = ndimage.binary_dilation(is_one_of(part[start:stop], tissue))[place.start - start :][: len(numbers)]
        touching[np.unique(numbers[near])] = True
    for place, detached in parts.chosen(~touching):
        part[place][detached] = 0


def _join_specks(
    part: npt.NDArray[np.uint8], tissue: int, lesion: int, least: float, check: Callable[[], None]
) -> None:
    """Make lesion parts of fewer than `least` voxels tissue of their organ."""
    parts = Parts(part == lesion, check)
    small = parts.sizes < least
    small[0] = False
    if small.any():
        for place, speck in parts.chosen(small):
            part[place][speck] = tissue


def _fill_holes(part: npt.NDArray[np.uint8], organ: int, values: tuple[int, ...], check: Callable[[], None]) -> None:
    outside = np.ones([n + 2 for n in part.shape], bool)
    inner = outside[1:-1, 1:-1, 1:-1]
    for place in slabs(part.shape, check):
        inner[place] = ~is_one_of(part[place], values)
    parts = Parts(outside, check)
    for place, enclosed_here in parts.chosen(np.arange(parts.count + 1) != _WORLD) if parts.count > 1 else ():
        start, stop = max(place.start, 1), min(place.stop, len(part) + 1)
        here = part[start - 1 : stop - 1]
        here[enclosed_here[start - place.start : stop - place.start, 1:-1, 1:-1] & (here == 0)] = organ
