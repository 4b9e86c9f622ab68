"""Single DICOM slices as images or masks, and DICOM SEG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from LiverSegLib.io import read_volume
from LiverSegLib.volume import Volume
from Training.data.readers.grids import blamed_on, placed_on
from Training.errors import DataError

_SEG = "1.2.840.10008.5.1.4.1.1.66.4"
_RAS = np.array([-1.0, -1.0, 1.0])  # DICOM is LPS, we are RAS: x and y change sign


def is_dicom(path: Path) -> bool:
    """Whether the file is DICOM, by its suffix or its mark."""
    if path.suffix.lower() == ".dcm":
        return True
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def read_slice(path: Path) -> tuple[Volume, bool]:
    """One slice [x, y, 1] in its place, rescaled, and whether it tells the size of its pixels.

    A file of many frames is read as the volume that it is. X-rays that only tell their size at the detector
    are taken by that.

    Raises:
        DataError: damaged, in colour, or without pixels.
    """
    data = _open(path)
    if int(data.get("NumberOfFrames") or 1) > 1:
        return read_volume(path), True
    spacing = data.get("PixelSpacing") or data.get("ImagerPixelSpacing")
    modality = str(data.get("Modality", "")) or None
    if modality in ("DX", "CR"):  # as inference reads them: bone bright, upright
        return read_volume(path), spacing is not None
    pixels = _pixels(data, path)
    slope, intercept = float(data.get("RescaleSlope", 1)), float(data.get("RescaleIntercept", 0))
    if (slope, intercept) != (1.0, 0.0):
        pixels = pixels * slope + intercept
    return Volume(pixels.T[..., None], _affine(data, spacing), path.name, modality), spacing is not None


def read_mask(path: Path, volume: Volume) -> npt.NDArray[Any]:
    """A mask [i, j, k]: a SEG placed on the volume's grid with its segment numbers, or a slice's stored values.

    Raises:
        DataError: damaged, or a SEG that lies elsewhere.
    """
    data = _open(path)
    if str(data.get("SOPClassUID", "")) == _SEG or str(data.get("Modality", "")) == "SEG":
        with blamed_on(path):
            return placed_on(volume, _segments(path))
    return _pixels(data, path).T[..., None]


def _open(path: Path) -> Any:
    import pydicom

    try:
        return pydicom.dcmread(path)
    # A damaged file can raise nearly anything.
    except Exception as error:
        raise DataError(f"{path} is damaged or no DICOM file; copy or export it again.", path) from error


def _pixels(data: Any, path: Path) -> npt.NDArray[Any]:
    if int(data.get("SamplesPerPixel") or 1) != 1:
        raise DataError(f"{path} is a colour image; a grey slice is needed.", path)
    try:
        pixels = data.pixel_array
    # Truncated pixels, a missing decoder, a header that lies: each with an exception of its own.
    except Exception as error:
        raise DataError(f"{path} holds no readable pixels ({error}).", path) from error
    if pixels.ndim != 2:
        raise DataError(f"{path} is no single slice.", path)
    return np.asarray(pixels)


def _affine(data: Any, spacing: Any) -> npt.NDArray[np.float64]:
    """Index -> RAS mm; without an orientation the rows run left and the columns posterior."""
    rows, columns = (float(v) for v in spacing) if spacing else (1.0, 1.0)
    cosines = data.get("ImageOrientationPatient") or [1, 0, 0, 0, 1, 0]
    x, y = np.array(cosines, float).reshape(2, 3)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = x * columns * _RAS, y * rows * _RAS
    affine[:3, 2] = np.cross(x, y) * _RAS * float(data.get("SliceThickness") or 1.0)
    affine[:3, 3] = np.array(data.get("ImagePositionPatient") or [0, 0, 0], float) * _RAS
    return affine


def _segments(path: Path) -> Volume:
    """The segment numbers of a SEG as one volume over the slices that it holds; the higher number wins."""
    try:
        from highdicom.seg import segread
    except ImportError as error:
        raise DataError(f"{path} is a DICOM SEG; to read it: pip install 'liverseg[dicom]'.", path) from error
    try:
        seg = segread(path)
        volume = seg.get_volume(combine_segments=True, skip_overlap_checks=True)
        array = np.asarray(volume.array)
    except Exception as error:
        raise DataError(f"{path} is no DICOM SEG that can be read ({error}).", path) from error
    affine = np.diag([*_RAS, 1.0]) @ np.asarray(volume.affine, float)
    return Volume(array, affine, path.name)
