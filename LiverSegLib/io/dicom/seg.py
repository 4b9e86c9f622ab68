"""DICOM SEG in: the numbers and names of its segments, on the grid of the image that they belong to.

Each frame lies where the file says, whatever the order and whatever is left out: a tilted gantry, empty slices and a
part of the series are read as any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from LiverSegLib.errors import InputError
from LiverSegLib.io.dicom.headers import check_pydicom
from LiverSegLib.io.grids import placed_on
from LiverSegLib.io.space import LPS_TO_RAS, affine_of
from LiverSegLib.labels import known_by_code
from LiverSegLib.volume import Volume

# Segmentations of pixels, as bits and as label maps.
_STORAGE = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")

# In voxels: headers round positions.
_SAME_PLACE = 0.25


def is_seg(path: Path) -> bool:
    """Whether a DICOM file is a segmentation, by its first few bytes.

    Raises:
        InputError: it is damaged, no DICOM file, or packed as a whole, which could unpack to any size.
    """
    check_pydicom(path)
    from pydicom.filereader import read_file_meta_info

    try:
        meta = read_file_meta_info(path)
        is_deflated = bool(meta.TransferSyntaxUID.is_deflated)
    # A damaged file can raise nearly anything.
    except Exception as error:
        raise InputError(f"{path} is damaged or no DICOM file; copy or export it again.") from error
    if is_deflated:
        raise InputError(f"{path} is a deflated DICOM file; export it uncompressed.")
    return str(meta.get("MediaStorageSOPClassUID", "")) in _STORAGE


@dataclass(frozen=True, kw_only=True)
class _Plane:
    """One frame.

    Args:
        index: of the frame in the file, from 0.
        segment: whose frame it is; 0 where its pixels are segment numbers themselves.
        position: center of its first pixel, LPS mm; None where the image has no place in space.
        orientation: unit vectors along a row and along a column, LPS.
        spacing: between rows and between columns, mm.
    """

    index: int
    segment: int
    position: tuple[float, ...] | None
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]


def read_seg(path: Path, volume: Volume) -> npt.NDArray[np.uint16]:
    """Read a DICOM SEG: segment numbers [i, j, k] on the grid of `volume`; where segments overlap the higher one wins.

    A frame of shares counts where its share is at least one half.

    Args:
        path: a file that `is_seg`.
        volume: the image that it belongs to; the file may cover a part of it.

    Raises:
        InputError: it is damaged, lies elsewhere, or highdicom is missing.
    """
    seg = _opened(path)
    try:
        planes = _planes(seg)
        slots = _slots(planes, volume, path)
        shape = (max(slots) + 1, int(seg.Rows), int(seg.Columns))
        if max(shape) > max(volume.array.shape):  # before memory is asked for
            raise _elsewhere(path, volume)
        stack = np.zeros(shape, np.uint16)
        half = int(seg.get("MaximumFractionalValue", 1)) / 2
        for plane, slot in zip(planes, slots, strict=True):
            pixels = seg.get_stored_frame(plane.index, as_index=True)
            found = pixels if plane.segment == 0 else np.where(pixels >= half, plane.segment, 0)
            np.maximum(stack[slot], found.astype(np.uint16), out=stack[slot])
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path} is no DICOM SEG that can be read ({error}).") from error
    array = stack.transpose(2, 1, 0)
    if planes[0].position is None:
        return array
    first = planes[slots.index(0)]
    return placed_on(volume, Volume(array, _affine(first, volume), path.name))


def seg_names(path: Path) -> dict[int, str]:
    """The segments of a DICOM SEG by number: our name where its code is known to us, else its label in lower case.

    Raises:
        InputError: it is damaged, or highdicom is missing.
    """
    seg = _opened(path)
    try:
        return {int(segment.SegmentNumber): _name(segment) for segment in seg.SegmentSequence if segment.SegmentNumber}
    except Exception as error:
        raise InputError(f"{path} is no DICOM SEG that can be read ({error}).") from error


def _name(segment: Any) -> str:
    regions = segment.get("AnatomicRegionSequence") or []
    region = str(regions[0].CodeValue) if regions else ""
    known = known_by_code(str(segment.SegmentedPropertyTypeCodeSequence[0].CodeValue), region)
    return known or str(segment.SegmentLabel).strip().lower() or f"segment {segment.SegmentNumber}"


def _opened(path: Path) -> Any:
    try:
        from highdicom.seg import segread
    except ImportError as error:
        raise InputError(f"{path} is a DICOM SEG; to read it: pip install 'liverseg[dicom]'.") from error
    try:
        return segread(path)
    except Exception as error:
        raise InputError(f"{path} is no DICOM SEG that can be read ({error}).") from error


def _planes(seg: Any) -> list[_Plane]:
    """The frames of a file, in stored order."""
    shared = (seg.get("SharedFunctionalGroupsSequence") or [{}])[0]
    planes = []
    for index, own in enumerate(seg.PerFrameFunctionalGroupsSequence):

        def item(keyword: str, own: Any = own) -> Any:
            found = own.get(keyword) or shared.get(keyword)
            return found[0] if found else {}

        position = item("PlanePositionSequence").get("ImagePositionPatient")
        planes.append(
            _Plane(
                index=index,
                segment=int(item("SegmentIdentificationSequence").get("ReferencedSegmentNumber", 0)),
                position=None if position is None else tuple(map(float, position)),
                orientation=tuple(map(float, item("PlaneOrientationSequence").get("ImageOrientationPatient") or ())),
                spacing=tuple(map(float, item("PixelMeasuresSequence").get("PixelSpacing") or ())),
            )
        )
    if not planes:
        raise ValueError("it has no frames")
    return planes


def _slots(planes: list[_Plane], volume: Volume, path: Path) -> list[int]:
    """For each frame its slice of the volume, counted from the first that has any."""
    if any(plane.position is None for plane in planes):
        return [0] * len(planes)
    to_slices = np.linalg.inv(_affine(planes[0], volume))
    positions = np.array([[*plane.position, 1.0] for plane in planes if plane.position is not None])
    offsets = (positions @ LPS_TO_RAS @ to_slices.T)[:, :3]
    numbers = np.round(offsets[:, 2]).astype(int)
    same = all(plane.orientation == planes[0].orientation for plane in planes)
    # Half of what `placed_on` allows a whole image: its rounding comes on top.
    if not same or np.abs(offsets - numbers[:, None] * [0, 0, 1]).max() > _SAME_PLACE:
        raise _elsewhere(path, volume)
    return [int(number) for number in numbers - numbers.min()]


def _elsewhere(path: Path, volume: Volume) -> InputError:
    return InputError(
        f"{path.name} lies elsewhere in space than {volume.name}; resample it, for these are different grids."
    )


def _affine(plane: _Plane, volume: Volume) -> npt.NDArray[np.float64]:
    """From column, row and slice to RAS mm: a frame's own plane, and the step of the volume across it."""
    assert plane.position is not None
    row, column = np.reshape(plane.orientation, (2, 3))
    normal = np.cross(row, column)
    steps = (LPS_TO_RAS @ volume.affine)[:3, :3].T
    across = steps[int(np.abs(normal @ (steps / np.linalg.norm(steps, axis=1, keepdims=True)).T).argmax())]
    step = across if normal @ across > 0 else -across
    between_rows, between_columns = plane.spacing
    return affine_of((row * between_columns, column * between_rows, step), np.array(plane.position))
