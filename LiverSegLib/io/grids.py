"""One rule for "the same grid": what is stored in another axis order is turned, what lies elsewhere is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from LiverSegLib.errors import InputError
from LiverSegLib.volume import Volume

# Header rounding moves voxels by less than these (in voxels); a real misplacement by more.
_TURN_TOLERANCE = 0.02
_SHIFT_TOLERANCE = 0.5


def on_grid_of(volume: Volume, label: Volume) -> npt.NDArray[Any]:
    """The label's array in the volume's axis order, where both are the same grid stored differently.

    Raises:
        InputError: the grids differ by more than axis order and direction.
    """
    array, offset = _turned(volume, label)
    if array.shape != volume.array.shape:
        mine, other = ("x".join(map(str, shape)) for shape in (array.shape, volume.array.shape))
        told = f"{label.name} has {mine} voxels but {volume.name} {other}"
        raise InputError(f"{told}; resample it, for these are different grids.")
    if np.abs(offset).max() > _SHIFT_TOLERANCE:
        raise _elsewhere(volume, label)
    return array


def placed_on(volume: Volume, label: Volume) -> npt.NDArray[Any]:
    """The label's array on the volume's grid where it may cover only a part of it, as DICOM SEG does.

    Raises:
        InputError: the grids differ, or the label reaches beyond the volume.
    """
    array, offset = _turned(volume, label)
    start = np.round(offset).astype(int)
    stop = start + array.shape
    if np.abs(offset - start).max() > _SHIFT_TOLERANCE / 2 or (start < 0).any() or (stop > volume.array.shape).any():
        raise _elsewhere(volume, label)
    whole = np.zeros(volume.array.shape, array.dtype)
    whole[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = array
    return whole


def _elsewhere(volume: Volume, label: Volume) -> InputError:
    return InputError(
        f"{label.name} lies elsewhere in space than {volume.name}; resample it, for these are different grids."
    )


def _turned(volume: Volume, label: Volume) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """The label in the volume's axis order, and where its first voxel then lies in the volume."""
    to_volume = np.linalg.inv(volume.affine) @ label.affine
    turn = np.round(to_volume[:3, :3])
    same = np.allclose(to_volume[:3, :3], turn, atol=_TURN_TOLERANCE)
    if not same or not np.array_equal(np.abs(turn).sum(0), [1, 1, 1]) or abs(np.linalg.det(turn)) != 1:
        raise InputError(f"{volume.name} and {label.name} are not the same grid; resample the label first.")
    # turn[v, l]: the label's axis l runs along the volume's axis v, forwards or backwards.
    order = [int(np.argmax(np.abs(turn[axis]))) for axis in range(3)]
    signs = [int(turn[axis, order[axis]]) for axis in range(3)]
    array = label.array.transpose(order)[tuple(slice(None, None, sign) for sign in signs)]
    first = np.array([0 if sign > 0 else 1 - size for sign, size in zip(signs, array.shape, strict=True)])
    return array, to_volume[:3, 3] + first
