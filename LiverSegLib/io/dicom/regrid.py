"""From the grid that a program keeps a DICOM series on, back to the order of its images: turned and flipped, never
resampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from LiverSegLib.errors import InputError

_SAME_PLACE = 0.1
"""Of a voxel: positions in headers are rounded."""


@dataclass(frozen=True, kw_only=True)
class Regrid:
    """Takes arrays [i, j, k] of one grid to another that has the same voxels, or more, in another order.

    Args:
        order: which axis of the one grid becomes each axis of the other.
        flip: which axes of the other run against it.
        first: the index in the other grid where the array begins.
        shape: of the other grid.
    """

    order: tuple[int, ...]
    flip: tuple[bool, ...]
    first: tuple[int, ...]
    shape: tuple[int, ...]

    def apply(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The array on the other grid, 0 where it has nothing; a view where it has everything."""
        turned = array.transpose(self.order)[tuple(slice(None, None, -1 if flip else 1) for flip in self.flip)]
        if turned.shape == self.shape:
            return turned
        whole = np.zeros(self.shape, array.dtype, order="F")
        whole[tuple(slice(n, n + size) for n, size in zip(self.first, turned.shape, strict=True))] = turned
        return whole


def regrid(
    shape: Sequence[int],
    affine: npt.NDArray[np.float64],
    images_shape: Sequence[int],
    images_affine: npt.NDArray[np.float64],
    name: str,
) -> Regrid:
    """How a volume lies on the images that it was loaded from.

    Args:
        shape, affine: of the volume, voxel index -> RAS mm. A part of the images is enough.
        images_shape, images_affine: of what the images make up, slice by slice.
        name: of the volume, for messages.

    Raises:
        InputError: its voxels are others than those of the images.
    """
    for candidate in chain([images_affine], _straightened(images_affine)):
        found = _found(shape, np.linalg.inv(candidate) @ affine, images_shape)
        if found is not None:
            return found
    raise InputError(
        f"{name} has another grid than the DICOM images that it was loaded from, as after resampling or a hardened "
        "transform; segment it as it was loaded, or export a label map instead."
    )


def _found(shape: Sequence[int], matrix: npt.NDArray[np.float64], images_shape: Sequence[int]) -> Regrid | None:
    """The regrid that a matrix from indices to indices stands for; None where voxels lie between voxels."""
    turn = np.round(matrix[:3, :3]).astype(int)
    ends = np.array(shape) - 1
    if (np.abs(turn).sum(axis=0) != 1).any() or (np.abs(turn).sum(axis=1) != 1).any():
        return None
    shift = np.round(matrix[:3, 3]).astype(int)
    # The farthest that any voxel of the volume lies from a voxel of the images.
    apart = np.abs(matrix[:3, :3] - turn) @ ends + np.abs(matrix[:3, 3] - shift)
    if apart.max() > _SAME_PLACE:
        return None
    order = [int(np.flatnonzero(row)[0]) for row in turn]
    flip = [bool(turn[axis, order[axis]] < 0) for axis in range(3)]
    first = [int(shift[axis] - (ends[order[axis]] if flip[axis] else 0)) for axis in range(3)]
    stops = [start + shape[axis] for start, axis in zip(first, order, strict=True)]
    if min(first) < 0 or any(stop > size for stop, size in zip(stops, images_shape, strict=True)):
        return None
    return Regrid(order=tuple(order), flip=tuple(flip), first=tuple(first), shape=tuple(images_shape))


def _straightened(affine: npt.NDArray[np.float64]) -> list[npt.NDArray[np.float64]]:
    """The grid of a tilted gantry without its shear, as 3D Slicer has it, which puts the shear into a transform.

    The step from slice to slice is as long as across the slices, or as from corner to corner: readers differ.
    """
    column, row, step = affine[:3, :3].T
    normal = np.cross(column, row)
    normal /= np.linalg.norm(normal)
    across = float(step @ normal)
    lengths = (across, float(np.copysign(np.linalg.norm(step), across)))
    found = []
    for length in lengths:
        straight = affine.copy()
        straight[:3, 2] = normal * length
        found.append(straight)
    return found
