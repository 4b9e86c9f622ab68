"""Slices in space: their order, their completeness, and the affine that they span."""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt

from LiverSegLib.errors import InputError
from LiverSegLib.io.dicom.frames import Frame
from LiverSegLib.io.space import LPS_TO_RAS, affine_of

# Slices closer than this are the same slice: headers round positions to 0.001 mm or finer.
_SAME_POSITION_MM = 0.01
# Gaps may differ by this much from their median. Positions are rounded, in old headers to 0.1 mm; 5 % keeps a
# volume in mL well within the spread of two readers; and a missing slice doubles its gap, far above both.
_GAP_TOLERANCE_MM = 0.1
_GAP_TOLERANCE = 0.05
# Direction cosines may be rounded to three digits.
_DIRECTION_TOLERANCE = 2e-3


def order_frames(frames: list[Frame], name: str) -> tuple[list[Frame], npt.NDArray[np.float64]]:
    """Sort slices by their position along the normal and build the affine from the first and the last.

    The slice axis is the true step from slice to slice. With a tilted gantry it is not perpendicular to the
    slices, and the affine holds that shear. Slice number, location and thickness in the header are not used,
    because they are often wrong; only a single slice has nothing but its thickness.

    Args:
        frames: at least one, in any order.
        name: what messages call the series.

    Returns:
        The frames in rising order along the normal, and the affine: index (column, row, slice) -> RAS mm.

    Raises:
        InputError: the slices are of different kinds, doubled, missing or displaced.
    """
    _check_alike(frames, name)
    row, column = np.reshape(frames[0].orientation, (2, 3))
    normal = np.cross(row, column)
    frames = sorted(frames, key=lambda frame: float(normal @ frame.position))
    positions = np.array([frame.position for frame in frames])
    if len(frames) > 1:
        gaps = np.diff(positions @ normal)
        _check_doubled(frames, gaps, name)
        _check_gaps(frames, gaps, name)
        step = (positions[-1] - positions[0]) / (len(frames) - 1)
    else:
        step = normal * frames[0].thickness
    between_rows, between_columns = frames[0].spacing
    affine = affine_of((row * between_columns, column * between_rows, step), positions[0])
    _check_straight(frames, positions @ LPS_TO_RAS[:3, :3], affine, name)
    return frames, affine


def _check_alike(frames: list[Frame], name: str) -> None:
    """Refuse a series whose slices do not share size, orientation and pixel size."""
    first = frames[0]
    row, column = np.reshape(first.orientation, (2, 3))
    lengths = np.array([np.linalg.norm(row), np.linalg.norm(column)])
    if not (np.abs(lengths - 1) < _DIRECTION_TOLERANCE).all() or abs(row @ column) > _DIRECTION_TOLERANCE:
        raise InputError(f"{name} has a damaged orientation ({first.file.path.name}); export the series again.")
    if not min(first.spacing) > 0:
        raise InputError(f"{name} has a pixel spacing of zero ({first.file.path.name}); repair its header.")
    for frame in frames:
        same = (
            frame.file.size == first.file.size
            and np.allclose(frame.orientation, first.orientation, rtol=0, atol=_DIRECTION_TOLERANCE)
            and np.allclose(frame.spacing, first.spacing, rtol=1e-3, atol=0)
        )
        if not same:
            raise InputError(
                f"{name} holds a mixed series: {first.file.path.name} and {frame.file.path.name} differ in "
                "size, orientation or pixel spacing; export the axial slices alone."
            )


def _check_doubled(frames: list[Frame], gaps: npt.NDArray[np.float64], name: str) -> None:
    doubled = np.flatnonzero(gaps < _SAME_POSITION_MM)
    if not doubled.size:
        return
    groups = np.concatenate([[0], np.cumsum(gaps >= _SAME_POSITION_MM)])
    copies = set(Counter(groups.tolist()).values())
    # One more image at some positions is a copy; as many at each are a time series, echoes or b-values.
    if len(copies) == 1 and len(frames) > max(copies):
        raise InputError(
            f"{name} has {copies.pop()} images at every position (several phases or echoes); "
            "export one of them as a series of its own."
        )
    one, other = frames[doubled[0]], frames[doubled[0] + 1]
    raise InputError(f"{name} has two images at the same position ({_called(one)} and {_called(other)}); remove one.")


def _check_gaps(frames: list[Frame], gaps: npt.NDArray[np.float64], name: str) -> None:
    median = float(np.median(gaps))
    # Never more than half a slice, however thin the slices are.
    allowed = min(max(_GAP_TOLERANCE_MM, _GAP_TOLERANCE * median), 0.5 * median)
    uneven = np.flatnonzero(np.abs(gaps - median) > allowed)
    if not uneven.size:
        return
    worst = int(uneven[np.argmax(np.abs(gaps[uneven] - median))])
    where = (
        f"between slices {worst + 1} and {worst + 2} of {len(frames)} "
        f"({_called(frames[worst])} and {_called(frames[worst + 1])}), "
        f"where {gaps[worst]:.2f} mm lie instead of {median:.2f} mm"
    )
    if gaps[worst] > 1.5 * median:
        raise InputError(f"{name} lacks slices {where}; copy or export the whole series again.")
    raise InputError(f"{name} has uneven slices {where}; pass a series with one slice distance.")


def _check_straight(
    frames: list[Frame], positions: npt.NDArray[np.float64], affine: npt.NDArray[np.float64], name: str
) -> None:
    """Refuse slices that the affine would put more than half a voxel from their positions (RAS mm)."""
    if abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        return  # `Volume` says what is wrong with it
    index = (positions - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
    index[:, 2] -= np.arange(len(frames))
    worst = int(np.abs(index).max(axis=1).argmax())
    if np.abs(index[worst]).max() > 0.5:
        raise InputError(
            f"{name} has slices that do not lie in one row: slice {worst + 1} of {len(frames)} "
            f"({_called(frames[worst])}) is displaced; export the original series."
        )


def _called(frame: Frame) -> str:
    name = frame.file.path.name
    return f"{name} frame {frame.index + 1}" if frame.file.frame_count > 1 else name
