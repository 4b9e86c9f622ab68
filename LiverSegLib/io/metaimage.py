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

from LiverSegLib.io.header_text import HeaderText
from LiverSegLib.io.regular_file import open_beside, open_regular, shown
from LiverSegLib.io.space import affine_of
from LiverSegLib.io.stored_voxels import StoredVoxels, read_stored
from LiverSegLib.volume import Volume

_LINE = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_|.\-\[\] ]*)=(.*)")
# MetaIO's MET_LONG has 4 bytes everywhere.
_BYTES = {"CHAR": 1, "SHORT": 2, "INT": 4, "LONG": 4, "LONG_LONG": 8}
_SIGNED = {f"MET_{name}": f"i{size}" for name, size in _BYTES.items()}
_UNSIGNED = {f"MET_U{name}": f"u{size}" for name, size in _BYTES.items()}
_TYPES = {**_SIGNED, **_UNSIGNED, "MET_FLOAT": "f4", "MET_DOUBLE": "f8"}
# Several names for the same thing; a header may use one of them.
_SYNONYMS = {
    "Position": "Offset",
    "Origin": "Offset",
    "Rotation": "TransformMatrix",
    "Orientation": "TransformMatrix",
    "BinaryDataByteOrderMSB": "ElementByteOrderMSB",
}
_USED = {
    *("ObjectType", "NDims", "DimSize", "ElementType", "ElementNumberOfChannels"),
    *("ElementSpacing", "ElementSize", "Offset", "TransformMatrix", "DistanceUnits"),
    *("BinaryData", "ElementByteOrderMSB", "CompressedData", "CompressedDataSize"),
    *("HeaderSize", "HeaderSizePerSlice", "ElementDataFile"),
    *("ElementToIntensityFunctionSlope", "ElementToIntensityFunctionOffset"),
}
# Any other key is somebody's note (MetaIO's own such as Comment, DICOM tags, or "dim[0]" and "pixdim[1]" where an image
# came from NIfTI), unless it looks like one that matters.
_NOTES = ("ElementMin", "ElementMax")
_KNOWN = {key.lower() for key in (*_USED, *_SYNONYMS)}
_FAMILIES = ("element", "binary", "compressed", "headersize", "objecttype", "ndims", "dimsize", "transformmatrix")
_BOOLEANS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
_PATTERN = re.compile(r"%[0-9]*d")
# Directions are written with six digits or more.
_UNIT_TOLERANCE = 1e-2


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
        name = header.fields["ElementDataFile"]
        if name.upper() == "LOCAL":
            if header.fields.pop("HeaderSize", "0") not in ("0", "-1"):
                raise header.doubtful("it has a HeaderSize, which is for voxels in a file of their own")
            stored, affine = _understand(header)
            return Volume(read_stored(file, stored), affine, name=path.name)
        if name.upper().startswith("LIST") or _PATTERN.search(name):
            raise header.several_files(name, ".mha")
        if file.read(1 << 16).strip():
            raise header.doubtful("something follows its last key, ElementDataFile")
    stored, affine = _understand(header)
    with open_beside(path, name) as file:
        return Volume(read_stored(file, stored), affine, name=path.name)


def _read_header(file: BinaryIO, path: Path) -> HeaderText:
    """The keys that we use, by their first name; the file is left where voxels may start."""
    header = HeaderText(file, path)
    while "ElementDataFile" not in header.fields:
        line = header.next_line()
        if line is None:
            raise header.no_header()
        if not line.strip():
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise header.doubtful(f'line {header.line_number} ({shown(line)}) is not "key = value"')
        key, value = match[1].rstrip(), match[2].strip()
        key = _SYNONYMS.get(key, key)
        if key not in _USED and key not in _NOTES and _is_near_a_key(key):
            raise header.doubtful(f"the key {shown(key)} is none of MetaImage's")
        if key in header.fields and key in _USED:
            raise header.doubtful(f"it gives {key} twice")
        header.fields[key] = value
    return header


def _is_near_a_key(key: str) -> bool:
    """Whether a key that MetaImage does not know looks as if it were meant for it."""
    squeezed = re.sub(r"[^a-z]", "", key.lower())
    return squeezed in _KNOWN or squeezed.startswith(_FAMILIES)


def _understand(header: HeaderText) -> tuple[StoredVoxels, npt.NDArray[np.float64]]:
    """How the voxels are stored and where they lie."""
    header.require("NDims", "DimSize", "ElementType")
    _check_supported(header)
    dims = header.whole("NDims", 1, 10)
    shape = header.wholes("DimSize", 0, 1 << 40)
    if len(shape) != dims:
        raise header.wrong("DimSize", f"is not made of {dims} numbers")
    order = ">" if _boolean(header, "ElementByteOrderMSB", sys.byteorder == "big") else "<"
    is_packed, is_text = _boolean(header, "CompressedData", False), not _boolean(header, "BinaryData", True)
    if is_text and is_packed:
        raise header.doubtful("its voxels are both text and compressed")
    skip = header.whole("HeaderSize", -1, 1 << 40)
    if skip and (is_text or is_packed):
        raise header.doubtful(f"it has a HeaderSize ({skip}) before voxels that are not raw")
    packed = header.whole("CompressedDataSize", 0, 1 << 50) if is_packed else 0
    stored = StoredVoxels(
        path=header.path,
        shape=shape,
        dtype=np.dtype(order + _TYPES[header.fields["ElementType"]]),
        encoding="zlib" if is_packed else "text" if is_text else "raw",
        skip=skip,
        packed=packed or None,
    )
    # An image of other than three axes is refused by its shape.
    return stored, _affine(header) if dims == 3 else np.eye(4)


def _check_supported(header: HeaderText) -> None:
    """Refuse what would change the meaning of voxels in a way that is not followed here."""
    if header.whole("ElementNumberOfChannels", 1, 1 << 20) > 1:
        raise header.no_scalars()
    if header.fields["ElementType"] not in _TYPES:
        raise header.wrong("ElementType", "is no number type of MetaImage")
    expected = {"ObjectType": ("Image",), "HeaderSizePerSlice": ("0",), "DistanceUnits": ("mm", "?", "")}
    for key, allowed in expected.items():
        if header.fields.get(key, allowed[0]) not in allowed:
            raise header.wrong(key, f"is not {allowed[0]}")
    for key, neutral in (("ElementToIntensityFunctionSlope", 1.0), ("ElementToIntensityFunctionOffset", 0.0)):
        if header.reals(key, 1, str(neutral)) != (neutral,):
            raise header.wrong(key, f"is not {neutral:g}")


def _boolean(header: HeaderText, key: str, default: bool) -> bool:
    value = _BOOLEANS.get(header.fields.get(key, str(default)).lower())
    if value is None:
        raise header.wrong(key, "is neither True nor False")
    return value


def _affine(header: HeaderText) -> npt.NDArray[np.float64]:
    """Voxel index -> RAS mm."""
    key = "ElementSpacing" if "ElementSpacing" in header.fields else "ElementSize"
    spacing = header.reals(key, 3, "1 1 1")
    # Three numbers for each axis: its direction.
    directions = np.reshape(header.reals("TransformMatrix", 9, "1 0 0 0 1 0 0 0 1"), (3, 3))
    origin = header.reals("Offset", 3, "0 0 0")
    if min(spacing) <= 0:
        raise header.no_spacing(key)
    with np.errstate(all="ignore"):
        is_unit = np.abs(np.linalg.norm(directions, axis=1) - 1) < _UNIT_TOLERANCE
    if not is_unit.all():
        raise header.wrong("TransformMatrix", "is not made of unit vectors")
    return affine_of(directions * np.array(spacing)[:, None], origin)
