"""`read_volume`: one door for every image format."""

from __future__ import annotations

import stat
from pathlib import Path

from LiverSegLib.errors import InputError
from LiverSegLib.io.dicom import read_dicom
from LiverSegLib.io.metaimage import read_metaimage
from LiverSegLib.io.nifti import read_nifti
from LiverSegLib.io.nrrd import read_nrrd
from LiverSegLib.io.picture import PICTURES, read_picture
from LiverSegLib.io.regular_file import open_regular, shown
from LiverSegLib.volume import Volume

_NIFTI = (".nii", ".nii.gz")
_NRRD = (".nrrd", ".nhdr")
_METAIMAGE = (".mha", ".mhd")
_FORMATS = (
    "NIfTI (.nii, .nii.gz), NRRD (.nrrd, .nhdr), MetaImage (.mha, .mhd), a folder with one DICOM series, a DICOM "
    "X-ray, or a single grey picture (.png, .jpg, .bmp, .tif, .npy)"
)


def read_volume(path: Path | str) -> Volume:
    """Read one scalar 3D image, or a single picture as an image of one slice.

    Args:
        path: a NIfTI, NRRD or MetaImage file, a folder with one DICOM series, any file of such a series
            (its whole series is read from its folder), a DICOM X-ray, or a grey PNG, JPEG, BMP, TIFF or .npy
            picture (pixels of 1 mm, since it does not tell; rows run to the back, columns to the left).

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
    try:
        return _read(path)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; check the path.") from error
    except PermissionError as error:
        raise InputError(f"{path} may not be read (no permission); ask for access or copy it.") from error
    except MemoryError as error:
        raise InputError(f"{path} does not fit into memory; close programs or crop the image first.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}); copy it again.") from error


def _read(path: Path) -> Volume:
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        return read_dicom(path)
    # Opening a pipe or a device would wait for ever.
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{path} is neither a file nor a folder; pass {_FORMATS}.")
    if status.st_size == 0:
        raise InputError(f"{path} is empty (0 bytes); copy or export it again.")
    with open_regular(path) as file:
        start = file.read(132)
    name = path.name.lower()
    if name.endswith(_NIFTI):
        return read_nifti(path)
    if name.endswith(_NRRD):
        return read_nrrd(path)
    if name.endswith(_METAIMAGE):
        return read_metaimage(path)
    if name.endswith(PICTURES):
        return read_picture(path)
    # DICOM files often have another suffix or none at all.
    if start[128:] == b"DICM":
        return read_dicom(path)
    if name.endswith(".dcm"):
        raise InputError(f"{path} is not a DICOM file (its DICM mark is missing); export it again.")
    raise InputError(f"{path} is not of a format that can be read here; use {_FORMATS}.")
