"""One door for every image format, and one for every format of label maps."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy.typing as npt

from LiverSegLib.errors import InputError
from LiverSegLib.io.dicom import has_dicom_mark, is_seg, read_dicom, read_dicom_slice, read_seg, read_stored_slice
from LiverSegLib.io.grids import on_grid_of
from LiverSegLib.io.metaimage import read_metaimage
from LiverSegLib.io.nifti import read_nifti
from LiverSegLib.io.nrrd import read_nrrd
from LiverSegLib.io.picture import PICTURES, read_picture, read_picture_mask
from LiverSegLib.io.regular_file import shown
from LiverSegLib.volume import Volume

_READERS: dict[tuple[str, ...], Callable[[Path], Volume]] = {
    (".nii", ".nii.gz"): read_nifti,
    (".nrrd", ".nhdr"): read_nrrd,
    (".mha", ".mhd"): read_metaimage,
    PICTURES: read_picture,
}
_OF_CHANNELS = (".nii", ".nii.gz")
_FORMATS = (
    "NIfTI (.nii, .nii.gz), NRRD (.nrrd, .nhdr), MetaImage (.mha, .mhd), a folder with one DICOM series, a DICOM "
    "X-ray, or a single gray picture (.png, .jpg, .bmp, .tif, .npy)"
)


def read_volume(path: Path | str, *, series: str | None = None, channels: int = 1) -> Volume:
    """Read one scalar 3D image, or a single picture as an image of one slice.

    Args:
        path: a NIfTI, NRRD or MetaImage file, a folder with one DICOM series, any file of such a series
            (its whole series is read from its folder), a DICOM X-ray, or a PNG, JPEG, BMP, TIFF or .npy
            picture (pixels of 1 mm, since it does not tell; rows run to the back, columns to the left). A picture in
            color is read as its luminance, and its `notes` say so.
        series: which series of a DICOM folder with several: its number, UID, description, or "best"; other inputs
            do not heed it.
        channels: how many images of a case are wanted; only a 4D NIfTI file holds several, as its volumes.

    Returns:
        The image as array [i, j, k] in its type on disk and the affine, voxel index -> RAS mm. The array is a
        view in the order of the file (usually Fortran order): making it C-contiguous costs seconds.
        Values that have a slope or an intercept are applied, as int16 where that is exact for DICOM and as
        float32 otherwise. `modality` is "CT", "MR" or "DX" (X-ray) from DICOM and None from other formats.

    Raises:
        InputError: the image cannot be read; the sentence names it and says what to do.
    """
    path = Path(path)
    if "\0" in str(path):
        raise InputError(f"{shown(str(path))} is no file name (it holds a zero byte); check the path.")
    with _in_a_sentence(path):
        return _read(path, series, channels)


def read_slice(path: Path) -> tuple[Volume, bool]:
    """Read a DICOM file by itself, whatever series it belongs to, and whether it tells the size of its pixels.

    A file of many frames is the volume that it is; a slice that does not tell its place lies as a picture does.

    Raises:
        InputError: damaged, in color, or without pixels.
    """
    with _in_a_sentence(path):
        return read_dicom_slice(path)


def read_label_map(path: Path, volume: Volume, *, has_place: bool = True) -> npt.NDArray[Any]:
    """Read the label values of a file, [i, j, k] on the grid of `volume`.

    Args:
        path: any format of `read_volume`, or DICOM SEG, whose segment numbers are put in their place. Of a palette
            picture these are its indices, of a DICOM mask for one slice its stored values; both have no place, only
            their size is compared.
        volume: the image that it belongs to.
        has_place: whether the image tells its place, so that it can be compared.

    Raises:
        InputError: it cannot be read, is in color, or lies on another grid.
    """
    with _in_a_sentence(path):
        is_dicom = path.is_file() and is_dicom_file(path)
        if path.is_file() and path.name.lower().endswith(PICTURES):
            values = read_picture_mask(path).T[..., None]
        elif is_dicom and is_seg(path):
            values = read_seg(path, volume)
        elif is_dicom and volume.array.shape[2] == 1:
            values = read_stored_slice(path)
        elif has_place:
            return on_grid_of(volume, read_volume(path))
        else:
            values = read_volume(path).array
    check_same_size(values, volume, path)
    return values


def check_same_size(values: npt.NDArray[Any], volume: Volume, path: Path) -> None:
    """Refuse a mask that has other pixels than its image.

    Raises:
        InputError: the sentence tells both sizes.
    """
    if values.shape != volume.array.shape:
        mine, other = ("x".join(str(n) for n in array.shape) for array in (values, volume.array))
        raise InputError(f"{path} is of size {mine}, its image {volume.name} of {other}; they must match.")


def is_dicom_file(path: Path) -> bool:
    """Whether a file is DICOM, by its mark; a .dcm without one counts too, so that it is told of."""
    return path.suffix.lower() == ".dcm" or has_dicom_mark(path)


@contextmanager
def _in_a_sentence(path: Path) -> Iterator[None]:
    """Turn what the operating system says into a sentence about `path`."""
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; check the path.") from error
    except PermissionError as error:
        raise InputError(f"{path} may not be read (no permission); ask for access or copy it.") from error
    except MemoryError as error:
        raise InputError(f"{path} does not fit into memory; close programs or crop the image first.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}); copy it again.") from error


def _read(path: Path, series: str | None, channels: int) -> Volume:
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        return read_dicom(path, series)
    # Opening a pipe or a device would wait for ever.
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{path} is neither a file nor a folder; pass {_FORMATS}.")
    if status.st_size == 0:
        raise InputError(f"{path} is empty (0 bytes); copy or export it again.")
    name = path.name.lower()
    if channels > 1 and name.endswith(_OF_CHANNELS):
        return read_nifti(path, channels)
    for endings, reader in _READERS.items():
        if name.endswith(endings):
            return reader(path)
    # DICOM files often have another suffix or none at all.
    if has_dicom_mark(path):
        return read_dicom(path)
    if name.endswith(".dcm"):
        raise InputError(f"{path} is not a DICOM file (its DICM mark is missing); export it again.")
    raise InputError(f"{path} is not of a format that can be read here; use {_FORMATS}.")
