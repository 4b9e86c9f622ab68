"""NIfTI-1 out with NumPy alone, for places where nibabel is not installed, such as 3D Slicer.

Format: https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h. Voxels, grid and the unit mm are written; nothing
about a patient, a name or a date.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from LiverSegLib.errors import OutputError
from LiverSegLib.io.atomic import Opener, atomic_file
from LiverSegLib.io.deflate import GzipWriter
from LiverSegLib.volume import spacing_of

_HEADER = struct.Struct("<i10s18sihcB8h3f4h8f3fhBB4f2i80s24s2h6f12f16s4s")
_CODES = {
    **{"uint8": 2, "int16": 4, "int32": 8, "float32": 16, "float64": 64},
    **{"int8": 256, "uint16": 512, "uint32": 768, "int64": 1024, "uint64": 1280},
}
_OFFSET = 352
_MM = 2
_SCANNER = 1
_LONGEST = 32767
_COMPRESS_LEVEL = 1


def write_plain_nifti(
    path: Path, array: npt.NDArray[Any], affine: npt.NDArray[np.float64], *, opener: Opener = atomic_file
) -> None:
    """Write voxels as .nii.gz.

    Args:
        path: the file; an existing one is replaced only by a complete one.
        array: voxels [i, j, k] of real numbers; bool is stored as uint8 and float16 as float32.
        affine: 4x4, voxel index -> RAS mm, stored as float32 in the sform.
        opener: opens the file.

    Raises:
        OutputError: the file cannot be written, or NIfTI-1 cannot hold so many voxels along an axis.
    """
    if max(array.shape) > _LONGEST:
        raise OutputError(f"{path} cannot hold {max(array.shape)} voxels along an axis; crop the image first.")
    stored = np.dtype({"bool": "uint8", "float16": "float32"}.get(array.dtype.name, array.dtype.name))
    with opener(path) as file, GzipWriter(file, _COMPRESS_LEVEL) as stream:
        stream.write(_header(array.shape, stored, affine) + b"\0" * (_OFFSET - _HEADER.size))
        for k in range(array.shape[2]):
            stream.write(array[:, :, k].astype(stored.newbyteorder("<")).tobytes(order="F"))


def _header(shape: tuple[int, ...], stored: np.dtype[Any], affine: npt.NDArray[np.float64]) -> bytes:
    return _HEADER.pack(
        *(_HEADER.size, b"", b"", 0, 0, b"r", 0),
        *(3, *shape, 1, 1, 1, 1),
        *(0.0, 0.0, 0.0, 0, _CODES[stored.name], 8 * stored.itemsize, 0),
        *(1.0, *spacing_of(affine), 0.0, 0.0, 0.0, 0.0),
        *(float(_OFFSET), 1.0, 0.0, 0, 0, _MM),
        *(0.0, 0.0, 0.0, 0.0, 0, 0, b"", b""),
        *(0, _SCANNER, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
        *(float(x) for x in affine[:3].ravel()),
        *(b"", b"n+1\0"),
    )
