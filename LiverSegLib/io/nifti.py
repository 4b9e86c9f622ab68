"""NIfTI in and out, with nibabel for the header and the voxels by our own bounded reading."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from LiverSegLib.errors import InputError, OutputError
from LiverSegLib.io.atomic import Opener, atomic_file
from LiverSegLib.io.deflate import GzipWriter
from LiverSegLib.io.inflate import inflated
from LiverSegLib.io.regular_file import open_regular
from LiverSegLib.io.stored_voxels import StoredVoxels, read_stored
from LiverSegLib.volume import Result, Volume, spacing_of

# Label maps shrink a hundredfold at every level; this one costs no more time than the fastest.
_COMPRESS_LEVEL = 3
# Axes further from perpendicular than this (radians) do not fit a qform: 0.03 mm over 300 mm.
_SHEAR_TOLERANCE = 1e-4
# NIfTI's codes for units of length, in mm. Nearly all files say mm or nothing.
_MM_PER_UNIT = {1: 1000.0, 3: 0.001}
_NIFTI_1_LENGTH = 32767
# Extensions between header and voxels hold at most a DICOM header or some XML.
_MOST_OFFSET = 1 << 26
# What may follow the voxels in a .nii.gz: it is inflated for the sake of the checksum at its end.
_MOST_REST = 1 << 20
# Voxels that are scaled at a time.
_PART = 1 << 22


def read_nifti(path: Path, channels: int = 1) -> Volume:
    """Read a .nii or .nii.gz file.

    The sform is used where its code is set, else the qform. A file with neither gets nibabel's guess:
    centered, with axes to the left, front and top. Integers stay as on disk; scaled values become float32.
    A .nii.gz is inflated no further than its header declares, and its checksum is compared.

    Args:
        path: the file, which exists.
        channels: how many images of a case are wanted; as many volumes of a 4D file (or components of each voxel) are
            its channels, in their order.

    Returns:
        The image; its array is Fortran-ordered, as on disk, in the machine's byte order.

    Raises:
        InputError: not a NIfTI file, damaged, not one scalar 3D image, or of another number of channels above one.
    """
    with open_regular(path) as file:
        # Told by the first bytes because names lie.
        is_gzip = file.peek(2)[:2] == b"\x1f\x8b"
        try:
            header = _read_header(inflated(file, "gzip") if is_gzip else file)
            affine = _affine_mm(header)
            slope, inter = header.get_slope_inter()
        # A damaged header can raise nearly anything: HeaderDataError, EOFError, zlib.error, OverflowError, ...
        except Exception as error:
            raise InputError(f"{path} is damaged or no NIfTI file; copy or export it again.") from error
        file.seek(0)
        shape, count = _channels_apart(_three_dimensions(header, path), channels, path)
        stored = StoredVoxels(
            path=path,
            shape=shape,
            channels=count,
            dtype=header.get_data_dtype(),
            encoding="gzip" if is_gzip else "raw",
            skip=header.get_data_offset(),
            slack=_MOST_REST if is_gzip else sys.maxsize,
        )
        voxels = read_stored(file, stored)
    if slope is not None and (slope, inter) != (1, 0):
        voxels = _scaled(voxels, slope, inter)
    if count == 1:
        return Volume(voxels, affine, name=path.name)
    first, *further = (voxels[..., number] for number in range(count))
    return Volume(first, affine, name=path.name, further=tuple(further))


def _read_header(stream: BinaryIO) -> Any:
    """nibabel's header without its extensions, which nobody needs.

    Raises:
        ValueError: the voxels lie in another file, or further away than any extension reaches.
    """
    import nibabel as nib

    block = stream.read(348)
    is_version_2 = 540 in (int.from_bytes(block[:4], "little"), int.from_bytes(block[:4], "big"))
    header_class: Any = nib.Nifti2Header if is_version_2 else nib.Nifti1Header
    header = header_class(block + stream.read(header_class.sizeof_hdr - len(block)))
    if bytes(header["magic"])[:3] not in (b"n+1", b"n+2"):
        raise ValueError("a header without voxels")
    if not header_class.sizeof_hdr <= header.get_data_offset() <= _MOST_OFFSET:
        raise ValueError("an impossible offset of the voxels")
    return header


def _three_dimensions(header: Any, path: Path) -> tuple[int, ...]:
    """The image's shape without trailing ones after the third."""
    shape = tuple(int(n) for n in header.get_data_shape())
    if min(shape, default=0) < 0:
        raise InputError(f"{path} has a damaged header (shape {shape}); export it again.")
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def _channels_apart(shape: tuple[int, ...], wanted: int, path: Path) -> tuple[tuple[int, ...], int]:
    """The shape of one channel, and how many there are; where one is wanted, the shape stays as it is.

    Raises:
        InputError: there are several, but not as many as are wanted.
    """
    found = [n for n in shape[3:] if n != 1]
    if wanted == 1 or not found:
        return shape, 1
    if found != [wanted]:
        text = "x".join(map(str, shape))
        raise InputError(
            f"{path.name} holds {' x '.join(map(str, found))} volumes ({text}), but {wanted} images of a case are "
            "needed; give a file of exactly these."
        )
    return shape[:3], wanted


def _scaled(voxels: npt.NDArray[Any], slope: float, inter: float) -> npt.NDArray[np.float32]:
    """slope * voxels + inter as nibabel computes it, part by part because it does so in more digits."""
    from nibabel.volumeutils import apply_read_scaling

    stored, values = voxels.reshape(-1, order="F"), np.empty(voxels.size, np.float32)
    factors = np.float64(slope), np.float64(inter)
    with np.errstate(all="ignore"):
        for start in range(0, voxels.size, _PART):
            values[start : start + _PART] = apply_read_scaling(stored[start : start + _PART], *factors)
    return values.reshape(voxels.shape, order="F")


def _affine_mm(header: Any) -> npt.NDArray[np.float64]:
    """Voxel index -> RAS mm, also for the rare file in meters or micrometers (as ITK and Slicer do)."""
    affine: npt.NDArray[np.float64] = np.array(header.get_best_affine(), dtype=np.float64)
    affine[:3] *= _MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)
    return affine


def write_labelmap(path: Path | str, result: Result, *, opener: Opener = atomic_file) -> None:
    """Write the label map as NIfTI: uint8, the input's grid, what the values mean in the description.

    The affine is stored as sform (code 1), and as qform too unless its axes are sheared, which a qform cannot
    hold. NIfTI stores float32: an affine that came from a NIfTI sform reads back bit for bit; any other is
    rounded to the nearest float32 (below 0.00004 mm within half a meter). `.seg.nrrd` keeps every bit. More
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
        with GzipWriter(file, _COMPRESS_LEVEL) as stream:
            image.to_stream(stream)


def _labelmap_image(result: Result) -> Any:
    import nibabel as nib

    is_too_long = max(result.labelmap.shape) > _NIFTI_1_LENGTH
    image = (nib.Nifti2Image if is_too_long else nib.Nifti1Image)(result.labelmap, None)
    header = image.header
    header.set_zooms(spacing_of(result.affine))
    header.set_xyzt_units("mm")
    header.set_intent("label", name="LiverSeg")
    # For example b"1 liver, 2 tumor": as much as fits into the header's 79 bytes.
    described = ", ".join(f"{label.value} {label.name}" for label in result.labels)
    header["descrip"] = described.encode("ascii", "replace")[:79]
    image.set_sform(result.affine, code=1)
    if not _is_sheared(result.affine):
        image.set_qform(result.affine, code=1)
    return image


def _is_sheared(affine: npt.NDArray[np.float64]) -> bool:
    """Whether two of the axes are not perpendicular."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(directions.T @ directions - np.eye(3)).max() > _SHEAR_TOLERANCE)
