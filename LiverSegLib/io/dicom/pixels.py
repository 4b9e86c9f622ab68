"""Pixels of ordered frames as one array of rescaled values."""

from __future__ import annotations

from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from LiverSegLib.errors import InputError
from LiverSegLib.io.dicom.frames import Frame
from LiverSegLib.io.dicom.gdcm import GdcmDecoder
from LiverSegLib.io.dicom.headers import ImageFile
from LiverSegLib.io.stored_voxels import check_declared_size

_PIXEL_TAGS = [
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths", "PixelData"),
]
# A blank slice can shrink to nearly nothing, so that the size of a compressed file says little. Larger images
# than this (5,792 x 5,792 at 16 bit; scanners make 1,024 x 1,024) are believed only up to a ratio.
_BELIEVED_BYTES = 1 << 26
_BELIEVED_RATIO = 1000
_INT16 = np.iinfo(np.int16)


def read_pixels(frames: list[Frame]) -> npt.NDArray[Any]:
    """Read, decompress and rescale frames of one size.

    Args:
        frames: in the order of the result.

    Returns:
        [slice, row, column], int16 if all rescaled values are whole and fit, else float32.

    Raises:
        InputError: pixels are missing, truncated or in an encoding that cannot be read here.
    """
    slots: dict[Path, list[int]] = {}
    for slot, frame in enumerate(frames):
        slots.setdefault(frame.file.path, []).append(slot)
    files = [frames[members[0]].file for members in slots.values()]
    for file in files:
        _check_declared(file)
    stack: npt.NDArray[Any] = np.empty((len(frames), *frames[0].file.size), np.int16)
    with closing(GdcmDecoder()) as gdcm:
        for file in files:
            stored, is_rescaled = _decode(file, gdcm)
            for slot in slots[file.path]:
                frame = frames[slot]
                factors = (1.0, 0.0) if is_rescaled else (frame.slope, frame.intercept)
                values = _rescale(stored[frame.index], *factors)
                if values.dtype != stack.dtype and stack.dtype == np.int16:
                    stack = stack.astype(np.float32)
                stack[slot] = values
    return stack


def _check_declared(file: ImageFile) -> None:
    """Refuse absurd sizes before memory is asked for."""
    rows, columns = file.size
    declared = rows * columns * file.frame_count * file.integer("BitsAllocated", 16) // 8
    size = file.path.stat().st_size
    if file.is_compressed:
        check_declared_size(file.path, declared, max(_BELIEVED_BYTES * file.frame_count, size * _BELIEVED_RATIO))
        check_declared_size(file.path, file.frame_count, size)
    else:
        check_declared_size(file.path, declared, size)


def _decode(file: ImageFile, gdcm: GdcmDecoder) -> tuple[npt.NDArray[Any], bool]:
    """All frames of a file [frame, row, column], and whether they are rescaled already, as ITK does it."""
    import pydicom

    shape = (file.frame_count, *file.size)
    try:
        return np.reshape(pydicom.dcmread(file.path, specific_tags=_PIXEL_TAGS).pixel_array, shape), False
    # Decoders raise whatever they like; what matters is whether another one can read it.
    except Exception as error:
        fault = "is truncated or has damaged pixel data; copy or export the series again."
        if file.is_compressed:
            if file.frame_count == 1:
                with suppress(ValueError):
                    return np.reshape(gdcm.decode(file.path, file.size), shape), True
            fault = (
                f"has pixel data ({file.encoding}) that are damaged or cannot be decompressed here; "
                "export the series uncompressed."
            )
        raise InputError(f"{file.path} {fault}") from error


def _rescale(stored: npt.NDArray[Any], slope: float, intercept: float) -> npt.NDArray[Any]:
    """slope * stored + intercept as int16 where that is exact, else as float32."""
    are_whole = slope.is_integer() and intercept.is_integer() and max(abs(slope), abs(intercept)) < 1 << 31
    if stored.dtype.kind not in "iu" or not are_whole:
        return (stored.astype(np.float64) * slope + intercept).astype(np.float32)
    values = stored.astype(np.int64) * int(slope) + int(intercept)
    is_short = values.min() >= _INT16.min and values.max() <= _INT16.max
    return values.astype(np.int16 if is_short else np.float32)
