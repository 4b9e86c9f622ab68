"""Boxes along the axes of an array, and masks of its values."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Box = tuple[slice, slice, slice]


def bounding_box(mask: npt.NDArray[np.generic], margin: int = 0) -> Box | None:
    """The smallest box [i, j, k] around all that is not 0, widened by `margin` inside the array; None for nothing."""
    box = [slice(0, size) for size in mask.shape]
    for axis in reversed(range(3)):  # each axis within what is left of the others
        others = tuple(other for other in range(3) if other != axis)
        used = np.flatnonzero(mask[tuple(box)].any(axis=others))
        if not used.size:
            return None
        box[axis] = slice(int(used[0]), int(used[-1]) + 1)
    ends = zip(box, mask.shape, strict=True)
    i, j, k = (slice(max(0, side.start - margin), min(size, side.stop + margin)) for side, size in ends)
    return i, j, k


def grown(mask: npt.NDArray[np.bool_], spacing: Sequence[float], margin_mm: float) -> npt.NDArray[np.bool_]:
    """The mask [i, j, k] and every voxel whose center lies within `margin_mm` of one of its own."""
    # Within a box: distances over a whole volume take forty bytes a voxel.
    box = bounding_box(mask, math.ceil(margin_mm / min(spacing)) + 1)
    if margin_mm <= 0 or box is None:
        return mask
    from scipy import ndimage

    wide = np.zeros_like(mask)
    wide[box] = ndimage.distance_transform_edt(~mask[box], sampling=spacing) <= margin_mm
    return wide


def is_one_of(labels: npt.NDArray[np.generic], values: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Which voxels have one of these values, with no more memory than two masks; `numpy.isin` takes five."""
    found = np.asarray(labels == (values[0] if values else -1))
    for value in values[1:]:
        found |= labels == value
    return found


def whole_of(mask: npt.NDArray[np.generic]) -> Box:
    """The box of an array [i, j, k] itself."""
    i, j, k = (slice(0, size) for size in mask.shape)
    return i, j, k
