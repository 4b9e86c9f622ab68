"""NRRD and MetaImage in, with SimpleITK."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from LiverSegLib.errors import InputError
from LiverSegLib.io.limits import DEFLATE_RATIO, check_declared_size
from LiverSegLib.volume import Volume, check_array

# ITK counts millimetres to the left, posterior and superior.
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_IMAGE_IO = {".nrrd": "NrrdImageIO", ".nhdr": "NrrdImageIO", ".mha": "MetaImageIO", ".mhd": "MetaImageIO"}
# Where a header says that the voxels lie in other files.
_DATA_FILE = re.compile(rb"^(?:ElementDataFile\s*=|data ?file:)\s*(.*?)\s*$", re.MULTILINE | re.IGNORECASE)


def read_itk(path: Path) -> Volume:
    """Read a .nrrd, .nhdr, .mha or .mhd file.

    Args:
        path: the file, which exists.

    Returns:
        The image in its type on disk; its array [i, j, k] is a view of ITK's [k, j, i] order.

    Raises:
        InputError: the file is damaged, its voxels lie outside its folder, or it is not one scalar 3D image.
    """
    import SimpleITK as sitk  # noqa: N813 (the name that everybody knows)

    possible = _bytes_with_data_files(path) * DEFLATE_RATIO
    reader = sitk.ImageFileReader()
    # By suffix, lest ITK should try all its formats on a file that somebody renamed.
    reader.SetImageIO(_IMAGE_IO[path.suffix.lower()])
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        check_declared_size(path, math.prod(reader.GetSize()) * reader.GetNumberOfComponents(), possible)
        _check_scalar_3d(reader, path)
        image = reader.Execute()
    except RuntimeError as error:
        suffix = path.suffix.lower()
        raise InputError(f"{path} is damaged or no {suffix} file; copy or export it again.") from error
    return Volume(sitk.GetArrayFromImage(image).transpose(2, 1, 0), _affine(image), name=path.name)


def _bytes_with_data_files(path: Path) -> int:
    """Size of the file, or of all files in its folder where the header points to others.

    Raises:
        InputError: it points outside its folder, where a header from a stranger has no business.
    """
    with path.open("rb") as file:
        header = file.read(1 << 20)
    found = _DATA_FILE.search(header)
    # With everything in one file the value is absent in NRRD and LOCAL in MetaImage.
    if found is None or found[1].upper() == b"LOCAL":
        return path.stat().st_size
    # After LIST come the names, one a line.
    names = header[found.start(1) :] if found[1].upper().startswith(b"LIST") else found[1]
    for name in names.decode("utf-8", "replace").splitlines():
        if Path(name).is_absolute() or ".." in re.split(r"[\\/]", name):
            raise InputError(f"{path} keeps its voxels outside its folder ({name}); bring all files together.")
    return sum(other.stat().st_size for other in path.parent.iterdir() if other.is_file())


def _check_scalar_3d(reader: Any, path: Path) -> None:
    if reader.GetNumberOfComponents() > 1:
        raise InputError(f"{path.name} is a colour or vector image; segment a scalar volume such as the original CT.")
    check_array(np.broadcast_to(np.zeros((), np.uint8), reader.GetSize()), path.name)


def _affine(image: Any) -> npt.NDArray[np.float64]:
    """Voxel index -> RAS mm."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return LPS_TO_RAS @ affine
