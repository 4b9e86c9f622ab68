"""MetaImage (.mha, .mhd) in, by a reader of our own that refuses what it does not know.

Format: https://itk.org/Wiki/ITK/MetaIO/Documentation. A header of one `key = value` a line ends with the key
ElementDataFile; the voxels follow it, or lie in the file beside the header that it names.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from LiverSegLib.errors import InputError
from LiverSegLib.io.header_text import HeaderLines, doubtful, reals, whole, wholes
from LiverSegLib.io.regular_file import open_beside, open_regular, shown
from LiverSegLib.io.space import affine_of
from LiverSegLib.io.stored_voxels import StoredVoxels, read_stored
from LiverSegLib.volume import Volume

_LINE = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_|.\-\[\] ]*)=(.*)")
# MetaIO's MET_LONG has 4 bytes everywhere.
_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
# Several names for the same thing; a header may use one of them.
_SYNONYMS = {
    "Position": "Offset",
    "Origin": "Offset",
    "Rotation": "TransformMatrix",
    "Orientation": "TransformMatrix",
    "BinaryDataByteOrderMSB": "ElementByteOrderMSB",
}
_USED = {
    "ObjectType",
    "NDims",
    "DimSize",
    "ElementType",
    "ElementNumberOfChannels",
    "ElementSpacing",
    "ElementSize",
    "Offset",
    "TransformMatrix",
    "BinaryData",
    "ElementByteOrderMSB",
    "CompressedData",
    "CompressedDataSize",
    "HeaderSize",
    "HeaderSizePerSlice",
    "DistanceUnits",
    "ElementToIntensityFunctionSlope",
    "ElementToIntensityFunctionOffset",
    "ElementDataFile",
}
_IGNORED = {
    "Comment",
    "ObjectSubType",
    "TransformType",
    "Name",
    "ID",
    "ParentID",
    "Color",
    "CompressionLevel",
    "CenterOfRotation",
    "AnatomicalOrientation",
    "Modality",
    "SequenceID",
    "ElementMin",
    "ElementMax",
    "AcquisitionDate",
}
# Any other key is somebody's note (ITK writes DICOM tags, or "dim[0]" and "pixdim[1]" where an image came from
# NIfTI), unless it looks like one that matters.
_KNOWN = {key.lower(): key for key in (*_USED, *_IGNORED, *_SYNONYMS)}
_FAMILIES = ("element", "binary", "compressed", "headersize", "objecttype", "ndims", "dimsize", "transformmatrix")
_BOOLEANS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
_PATTERN = re.compile(r"%[0-9]*d")
# Directions are written with six digits or more.
_UNIT_TOLERANCE = 1e-2
Header = dict[str, str]


def read_metaimage(path: Path) -> Volume:
    """Read a .mha or .mhd file.

    Args:
        path: the file, which exists.

    Returns:
        The image in its type on disk, in the machine's byte order; its array [i, j, k] is in Fortran order.

    Raises:
        InputError: the header is damaged, unusual, or points outside its folder; the voxels are missing, damaged or
            do not match their checksum; it is not one scalar 3D image.
    """
    with open_regular(path) as file:
        header = _read_header(file, path)
        if header["ElementDataFile"].upper() == "LOCAL":
            if header.pop("HeaderSize", "0") not in ("0", "-1"):
                raise doubtful(path, "it has a HeaderSize, which is for voxels in a file of their own")
            stored, affine = _understand(header, path)
            return Volume(read_stored(file, stored), affine, name=path.name)
        name = header["ElementDataFile"]
        if name.upper().startswith("LIST") or _PATTERN.search(name):
            raise InputError(
                f"{path} keeps its voxels in several files ({shown(name)}); save it again as one .mha file."
            )
        if file.read(1 << 16).strip():
            raise doubtful(path, "something follows its last key, ElementDataFile")
    stored, affine = _understand(header, path)
    with open_beside(path, name) as file:
        return Volume(read_stored(file, stored), affine, name=path.name)


def _read_header(file: BinaryIO, path: Path) -> Header:
    """The keys that we use, by their first name; the file is left where voxels may start."""
    header: Header = {}
    lines = HeaderLines(file, path)
    while "ElementDataFile" not in header:
        line = lines.next()
        if line is None:
            raise InputError(f"{path} is damaged or no {path.suffix.lower()} file; copy or export it again.")
        if not line.strip():
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise doubtful(path, f'line {lines.number} ({shown(line)}) is not "key = value"')
        key, value = match[1].rstrip(), match[2].strip()
        key = _SYNONYMS.get(key, key)
        if key not in _USED and key not in _IGNORED:
            _check_note(key, path)
        elif key in header and key in _USED:
            raise doubtful(path, f"it gives {key} twice")
        header[key] = value
    return header


def _check_note(key: str, path: Path) -> None:
    """Refuse a key that MetaImage does not know but that looks as if it were meant for it."""
    squeezed = re.sub(r"[^a-z]", "", key.lower())
    if squeezed in _KNOWN or squeezed.startswith(_FAMILIES):
        raise doubtful(path, f"the key {shown(key)} is none of MetaImage's")


def _understand(header: Header, path: Path) -> tuple[StoredVoxels, npt.NDArray[np.float64]]:
    """How the voxels are stored and where they lie."""
    for key in ("NDims", "DimSize", "ElementType"):
        if key not in header:
            raise doubtful(path, f"it lacks {key}")
    _check_supported(header, path)
    dims = whole(path, "NDims", header["NDims"], 1, 10)
    shape = wholes(path, "DimSize", header["DimSize"], 0, 1 << 40)
    if len(shape) != dims:
        raise doubtful(path, f"its DimSize ({shown(header['DimSize'])}) is not made of {dims} numbers")
    order = ">" if _boolean(header, "ElementByteOrderMSB", sys.byteorder == "big", path) else "<"
    is_packed = _boolean(header, "CompressedData", False, path)
    is_text = not _boolean(header, "BinaryData", True, path)
    if is_text and is_packed:
        raise doubtful(path, "its voxels are both text and compressed")
    skip = whole(path, "HeaderSize", header.get("HeaderSize", "0"), -1, 1 << 40)
    if skip and (is_text or is_packed):
        raise doubtful(path, f"it has a HeaderSize ({skip}) before voxels that are not raw")
    packed = whole(path, "CompressedDataSize", header.get("CompressedDataSize", "0"), 0, 1 << 50) if is_packed else 0
    stored = StoredVoxels(
        path=path,
        shape=shape,
        dtype=np.dtype(order + _TYPES[header["ElementType"]]),
        encoding="zlib" if is_packed else "text" if is_text else "raw",
        skip=skip,
        packed=packed or None,
    )
    return stored, _affine(header, dims, path)


def _check_supported(header: Header, path: Path) -> None:
    """Refuse what would change the meaning of voxels in a way that is not followed here."""
    if whole(path, "ElementNumberOfChannels", header.get("ElementNumberOfChannels", "1"), 1, 1 << 20) > 1:
        raise InputError(f"{path.name} is a colour or vector image; segment a scalar volume such as the original CT.")
    if header["ElementType"] not in _TYPES:
        raise doubtful(path, f"its ElementType ({shown(header['ElementType'])}) is no number type of MetaImage")
    expected = {"ObjectType": ("Image",), "HeaderSizePerSlice": ("0",), "DistanceUnits": ("mm", "?", "")}
    for key, allowed in expected.items():
        if header.get(key, allowed[0]) not in allowed:
            raise doubtful(path, f"its {key} ({shown(header[key])}) is not {allowed[0]}")
    for key, neutral in (("ElementToIntensityFunctionSlope", 1.0), ("ElementToIntensityFunctionOffset", 0.0)):
        if key in header and reals(path, key, header[key], 1) != (neutral,):
            raise doubtful(path, f"its {key} ({shown(header[key])}) is not {neutral:g}")


def _boolean(header: Header, key: str, default: bool, path: Path) -> bool:
    if key not in header:
        return default
    value = _BOOLEANS.get(header[key].lower())
    if value is None:
        raise doubtful(path, f"its {key} ({shown(header[key])}) is neither True nor False")
    return value


def _affine(header: Header, dims: int, path: Path) -> npt.NDArray[np.float64]:
    """Voxel index -> RAS mm. For other than three axes any: their image is refused by its shape."""
    if dims != 3:
        return np.eye(4)
    key = "ElementSpacing" if "ElementSpacing" in header else "ElementSize"
    spacing = reals(path, key, header.get(key, "1 1 1"), 3)
    # Three numbers for each axis: its direction.
    matrix = reals(path, "TransformMatrix", header.get("TransformMatrix", "1 0 0 0 1 0 0 0 1"), 9)
    origin = reals(path, "Offset", header.get("Offset", "0 0 0"), 3)
    if min(spacing) <= 0:
        raise InputError(f"{path} has a voxel spacing of zero or less ({shown(header[key])}); repair its header.")
    directions = np.reshape(matrix, (3, 3))
    with np.errstate(all="ignore"):
        is_unit = np.abs(np.linalg.norm(directions, axis=1) - 1) < _UNIT_TOLERANCE
    if not is_unit.all():
        raise doubtful(path, f"its TransformMatrix ({shown(header['TransformMatrix'])}) is not made of unit vectors")
    return affine_of(directions * np.array(spacing)[:, None], origin)
