"""The axes of an array and the directions of the patient: which lies closest to which, without resampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from LiverSegLib.boxes import Box
from LiverSegLib.models.resampling import OWN_AXES

T = TypeVar("T")
Affine = npt.NDArray[np.float64]

_DIRECTIONS = {"L": (0, -1), "R": (0, 1), "P": (1, -1), "A": (1, 1), "I": (2, -1), "S": (2, 1)}


@dataclass(frozen=True)
class AxisOrder:
    """How to view an array in another axis order: transpose by `order`, then reverse where `flip`."""

    order: tuple[int, int, int]
    flip: tuple[bool, bool, bool]

    def apply(self, array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """A view of the [i, j, k] array in the new order; nothing is copied."""
        slices = tuple(slice(None, None, -1 if f else 1) for f in self.flip)
        return array.transpose(self.order)[slices]

    def back(self, shape: Sequence[int]) -> Affine:
        """4x4, index in the new order -> index in the [i, j, k] array of `shape`."""
        matrix = np.zeros((4, 4))
        matrix[3, 3] = 1.0
        for place, (axis, flip) in enumerate(zip(self.order, self.flip, strict=True)):
            matrix[axis, place] = -1.0 if flip else 1.0
            matrix[axis, 3] = shape[axis] - 1.0 if flip else 0.0
        return matrix

    def input_box(self, box: Box, shape: Sequence[int]) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        """A box in the new order as half-open ranges of the [i, j, k] array of `shape`."""
        ends = [(0, 0)] * 3
        for axis, side, flip in zip(self.order, box, self.flip, strict=True):
            ends[axis] = (shape[axis] - side.stop, shape[axis] - side.start) if flip else (side.start, side.stop)
        return three(ends)

    def box_of(self, box: Box, shape: Sequence[int]) -> Box:
        """A box of the [i, j, k] array of `shape` in the new order."""
        sides = []
        for axis, flip in zip(self.order, self.flip, strict=True):
            side, size = box[axis], shape[axis]
            sides.append(slice(size - side.stop, size - side.start) if flip else side)
        return three(sides)


def axis_order(affine: Affine, axcodes: str) -> AxisOrder:
    """The order that brings the axes closest to `axcodes`, for example "RAS" or "LPS".

    An oblique grid stays oblique: axes are only permuted and reversed, never rotated. Codes such as "kji" name the
    array's own axes, which then are only permuted.

    Raises:
        ValueError: `axcodes` does not name each of the three axes once.
    """
    if sorted(axcodes) == list(OWN_AXES):
        i, j, k = (OWN_AXES.index(code) for code in axcodes)
        return AxisOrder((i, j, k), (False, False, False))
    if len(axcodes) != 3 or sorted(_DIRECTIONS[c][0] for c in axcodes if c in _DIRECTIONS) != [0, 1, 2]:
        raise ValueError(f"axcodes {axcodes!r} do not name three different axes (for example RAS or LPS)")
    # The nearest orthogonal matrix decides, so that shear does not make two axes claim one direction.
    u, _, vt = np.linalg.svd(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0))
    cosines = u @ vt
    # Near 45 degrees there is more than one answer. As in nibabel, and so in MONAI: the axis that lies
    # closest to a direction takes it, then the next takes the best of those left.
    best = {}
    left = [0, 1, 2]
    for axis in np.argsort(-np.abs(cosines).max(axis=0), kind="stable"):
        world = max(left, key=lambda w, axis=axis: abs(cosines[w, axis]))  # type: ignore[misc]
        best[world] = int(axis)
        left.remove(world)
    targets = [_DIRECTIONS[code] for code in axcodes]
    order = tuple(best[world] for world, _ in targets)
    flip = tuple(bool(cosines[world, best[world]] * sign < 0) for world, sign in targets)
    return AxisOrder(order, flip)  # type: ignore[arg-type]


def three(values: Sequence[T]) -> tuple[T, T, T]:
    """Three values as a tuple of three, which the types then know."""
    i, j, k = values
    return i, j, k
