"""NIfTI in and out, with nibabel."""

from __future__ import annotations

import gzip
import math
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from LiverSegLib.errors import InputError, OutputError
from LiverSegLib.io.atomic import Opener, atomic_file
from LiverSegLib.io.limits import DEFLATE_RATIO, check_declared_size
from LiverSegLib.volume import Label, Result, Volume, check_array, spacing_of

# Label maps shrink a hundredfold at every level; this one costs no more time than the fastest.
_COMPRESS_LEVEL = 3
# Axes further from perpendicular than this (radians) do not fit a qform: 0.03 mm over 300 mm.
_SHEAR_TOLERANCE = 1e-4
# NIfTI's codes for units of length, in mm. Nearly all files say mm or nothing.
_MM_PER_UNIT = {1: 1000.0, 3: 0.001}
_NIFTI_1_LENGTH = 32767


def read_nifti(path: Path) -> Volume:
    """Read a .nii or .nii.gz file.

    The sform is used where its code is set, else the qform. A file with neither gets nibabel's guess:
    centred, with axes to the left, front and top. Integers stay as on disk; scaled values become float32.

    Args:
        path: the file, which exists.

    Returns:
        The image; its array is Fortran-ordered, as on disk, in the machine's byte order.

    Raises:
        InputError: not a NIfTI file, damaged, or not one scalar 3D image.
    """
    try:
        with _open(path) as stream:
            image = _load(stream)
            shape = _three_dimensions(image, path)
            is_unscaled = (image.dataobj.slope, image.dataobj.inter) == (1, 0)
            array = np.asarray(image.dataobj, dtype=None if is_unscaled else np.float32)
            _reach_checksum(stream)
    except (InputError, MemoryError):
        raise
    # A damaged file can raise nearly anything: HeaderDataError, EOFError, zlib.error, OverflowError, ...
    except Exception as error:
        raise InputError(f"{path} is damaged or no NIfTI file; copy or export it again.") from error
    array = array.reshape(shape, order="F")
    native = array.dtype.newbyteorder("=")
    return Volume(array.astype(native, order="K", copy=False), _affine_mm(image), name=path.name)


def _open(path: Path) -> BinaryIO:
    """The uncompressed stream."""
    return cast(BinaryIO, gzip.open(path)) if _is_gzip(path) else path.open("rb")


def _is_gzip(path: Path) -> bool:
    """Told by the first bytes because names lie."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _load(stream: BinaryIO) -> Any:
    """The image with its header read and its voxels not yet."""
    import nibabel as nib

    size_of_header = stream.read(4)
    stream.seek(0)
    is_version_2 = 540 in (int.from_bytes(size_of_header, "little"), int.from_bytes(size_of_header, "big"))
    image_class: Any = nib.Nifti2Image if is_version_2 else nib.Nifti1Image
    # Without a memory map: a file that shrinks or vanishes while we compute would kill the process.
    return image_class.from_file_map(image_class.make_file_map({"image": stream}), mmap=False)


def _three_dimensions(image: Any, path: Path) -> tuple[int, ...]:
    """The image's shape without trailing ones after the third; refuses all but 3D and absurd sizes."""
    shape = tuple(int(n) for n in image.header.get_data_shape())
    dtype = image.header.get_data_dtype()
    if min(shape, default=0) < 0:
        raise InputError(f"{path} has a damaged header (shape {shape}); export it again.")
    possible = path.stat().st_size * (DEFLATE_RATIO if _is_gzip(path) else 1) - int(image.dataobj.offset)
    check_declared_size(path, math.prod(shape) * dtype.itemsize, possible)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    # A stand-in of this shape without memory: the check happens before anything is read.
    check_array(np.broadcast_to(np.zeros((), dtype), shape), path.name)
    return shape


def _reach_checksum(stream: BinaryIO) -> None:
    """Read on to the end, where gzip compares its checksum."""
    while stream.read(1 << 20):
        pass


def _affine_mm(image: Any) -> npt.NDArray[np.float64]:
    """Voxel index -> RAS mm, also for the rare file in metres or micrometres (as ITK and Slicer do)."""
    affine: npt.NDArray[np.float64] = np.array(image.affine, dtype=np.float64)
    affine[:3] *= _MM_PER_UNIT.get(int(image.header["xyzt_units"]) & 7, 1.0)
    return affine


def write_labelmap(path: Path | str, result: Result, *, opener: Opener = atomic_file) -> None:
    """Write the label map as NIfTI: uint8, the input's grid, what the values mean in the description.

    The affine is stored as sform (code 1), and as qform too unless its axes are sheared, which a qform cannot
    hold. NIfTI stores float32: an affine that came from a NIfTI sform reads back bit for bit; any other is
    rounded to the nearest float32 (below 0.00004 mm within half a metre). `.seg.nrrd` keeps every bit. More
    voxels along an axis than NIfTI-1 can count (32,767, a very wide picture) make it a NIfTI-2 file.

    Args:
        path: ends with .nii.gz or .nii; an existing file is replaced only by a complete one.
        result: what the segmenter gave.
        opener: opens the file; given where it must appear together with others.

    Raises:
        OutputError: the file cannot be written; whatever stood there before is unchanged.
    """
    path = Path(path)
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        raise OutputError(f"{path} is no name for a NIfTI label map; let it end with .nii.gz.")
    image = _labelmap_image(result)
    with opener(path) as file:
        if path.suffix.lower() == ".nii":
            image.to_stream(file)
            return
        # No name and no time inside: the same result gives the same bytes.
        with gzip.GzipFile("", "wb", _COMPRESS_LEVEL, file, mtime=0) as stream:
            image.to_stream(stream)


def _labelmap_image(result: Result) -> Any:
    import nibabel as nib

    is_too_long = max(result.labelmap.shape) > _NIFTI_1_LENGTH
    image = (nib.Nifti2Image if is_too_long else nib.Nifti1Image)(result.labelmap, None)
    header = image.header
    header.set_zooms(spacing_of(result.affine))
    header.set_xyzt_units("mm")
    header.set_intent("label", name="LiverSeg")
    header["descrip"] = _description(result.labels)
    image.set_sform(result.affine, code=1)
    if not _is_sheared(result.affine):
        image.set_qform(result.affine, code=1)
    return image


def _description(labels: tuple[Label, ...]) -> bytes:
    """For example b"1 liver, 2 tumor": as much as fits into the header's 79 bytes."""
    text = ", ".join(f"{label.value} {label.name}" for label in labels)
    return text.encode("ascii", "replace")[:79]


def _is_sheared(affine: npt.NDArray[np.float64]) -> bool:
    """Whether two of the axes are not perpendicular."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(directions.T @ directions - np.eye(3)).max() > _SHEAR_TOLERANCE)
