"""A DICOM series in: one folder, one series, one volume. Or one slice by itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from LiverSegLib.errors import InputError
from LiverSegLib.io.dicom.choice import find_series
from LiverSegLib.io.dicom.frames import Frame, frames_of
from LiverSegLib.io.dicom.geometry import order_frames
from LiverSegLib.io.dicom.headers import check_pydicom, has_dicom_mark, read_header
from LiverSegLib.io.dicom.pixels import read_pixels
from LiverSegLib.volume import Volume

# Both kinds of plain radiograph, computed and digital, are one to a model.
_MODALITIES = {"CT": "CT", "MR": "MR", "DX": "DX", "CR": "DX"}


def read_dicom(path: Path, series: str | None = None) -> Volume:
    """Read the one image series in a folder, or the series that a file belongs to.

    Slices are ordered by their position in space alone. Missing, doubled or displaced slices are refused,
    since every volume in mL would be wrong; a gantry tilt is kept as shear in the affine.

    Args:
        path: a folder (its direct subfolders are searched too) or one DICOM file.
        series: which of several series of a folder, see `find_series`.

    Returns:
        The volume, array [i, j, k] with i along the rows of the slices: int16 where the rescaled values are
        exact in it, else float32. Padding values and MONOCHROME1 (which only inverts the display) stay as is,
        except that X-rays (DX, CR) always come with bone bright, as one slice.

    Raises:
        InputError: no image series, several of them, an incomplete or damaged one, or pydicom is missing.
    """
    check_pydicom(path)
    files = find_series(path, series)
    frames = [frame for file in files for frame in frames_of(file)]
    # Resolved, because "." has no name.
    return _volume(frames, path.resolve().name)


def read_dicom_slice(path: Path) -> tuple[Volume, bool]:
    """Read one file by itself: a slice [i, j, 1] in its place, rescaled; a file of many frames as its volume.

    Args:
        path: a DICOM file. It need not tell its place: then its columns run to the left, its rows to the back.

    Returns:
        The image as `read_dicom` gives it, and whether the file tells how large its pixels are (else they are 1 mm).

    Raises:
        InputError: damaged, in color, or without pixels.
    """
    frames = _frames_of_slice(path)
    return _volume(frames, path.resolve().name), frames[0].has_spacing


def read_stored_slice(path: Path) -> npt.NDArray[Any]:
    """The numbers of a mask that is stored as a DICOM slice [i, j, 1], without slope and intercept.

    Raises:
        InputError: damaged, in color, or without pixels.
    """
    frames = [replace(frame, slope=1.0, intercept=0.0) for frame in _frames_of_slice(path)]
    if len(frames) > 1:
        raise InputError(f"{path} has {len(frames)} frames; a single slice is needed.")
    return read_pixels(frames).transpose(2, 1, 0)


def _frames_of_slice(path: Path) -> list[Frame]:
    check_pydicom(path)
    file = read_header(path)
    if file is None:
        why = "a DICOM file without an image" if has_dicom_mark(path) else "damaged or no DICOM file"
        raise InputError(f"{path} is {why}; pass a slice of the CT or MR series.")
    return frames_of(file, is_alone=file.frame_count == 1)


def _volume(frames: list[Frame], name: str) -> Volume:
    frames, affine = order_frames(frames, name)
    stack = read_pixels(frames)
    file = frames[0].file
    if file.is_xray and file.text("PhotometricInterpretation") == "MONOCHROME1":
        # Stored as on film, bone black; every other format shows it white.
        stack = (stack.max() + stack.min() - stack.astype(np.float32)).astype(stack.dtype)
    return Volume(stack.transpose(2, 1, 0), affine, name=name, modality=_MODALITIES.get(file.text("Modality")))
