"""NRRD (.nrrd, .nhdr) in, by a reader of our own that refuses what it does not know.

Format: https://teem.sourceforge.net/nrrd/format.html. A header of `field: value` and `key:=value` lines ends with
an empty line; the voxels follow it, or lie in the file beside the header that `data file` names.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from LiverSegLib.errors import InputError
from LiverSegLib.io.header_text import HeaderLines, doubtful, whole, wholes
from LiverSegLib.io.nrrd_space import Header, affine_of_header, spatial_axes
from LiverSegLib.io.regular_file import open_beside, open_regular, shown
from LiverSegLib.io.stored_voxels import StoredVoxels, read_stored
from LiverSegLib.volume import Volume

_MAGIC = re.compile(r"NRRD000[1-5]")
_FIELD = re.compile(r"([A-Za-z][A-Za-z ]*):(.*)")
_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
_DTYPES = {name: dtype for dtype, names in _TYPES.items() for name in names}
_ENCODINGS = {"raw": "raw", "gzip": "gzip", "gz": "gzip", "txt": "text", "text": "text", "ascii": "text"}
_ENDIAN = {"little": "<", "big": ">"}
# Field names as they are compared: in small letters, without spaces.
_USED = {
    "type",
    "dimension",
    "space",
    "spacedimension",
    "sizes",
    "spacings",
    "axismins",
    "spacedirections",
    "spaceorigin",
    "kinds",
    "centers",
    "units",
    "spaceunits",
    "endian",
    "encoding",
    "lineskip",
    "byteskip",
    "datafile",
}
_SYNONYMS = {"centerings": "centers"}
_IGNORED = {
    "content",
    "number",
    "thicknesses",
    "axismaxs",
    "labels",
    "measurementframe",
    "min",
    "max",
    "oldmin",
    "oldmax",
    "sampleunits",
}
_SEVERAL = re.compile(r"LIST\b|.*%[0-9]*d")


def read_nrrd(path: Path) -> Volume:
    """Read a .nrrd or .nhdr file, .seg.nrrd included.

    Args:
        path: the file, which exists.

    Returns:
        The image in its type on disk, in the machine's byte order; its array [i, j, k] is in Fortran order.
        Without a space the axes run left, posterior and superior, as ITK takes it.

    Raises:
        InputError: the header is damaged, unusual, or points outside its folder; the voxels are missing, damaged or
            do not match their checksum; it is not one scalar 3D image.
    """
    with open_regular(path) as file:
        header = _read_header(file, path)
        stored, affine = _understand(header, path)
        name = header.get("datafile")
        if name is None:
            return Volume(read_stored(file, stored), affine, name=path.name)
    if _SEVERAL.match(name):
        raise InputError(f"{path} keeps its voxels in several files ({shown(name)}); save it again as one .nrrd file.")
    with open_beside(path, name) as file:
        return Volume(read_stored(file, stored), affine, name=path.name)


def _read_header(file: BinaryIO, path: Path) -> Header:
    """The fields that we use; the file is left after the header."""
    lines = HeaderLines(file, path)
    if file.peek(4)[:4] != b"NRRD" or not _MAGIC.fullmatch(lines.next() or ""):  # type: ignore[attr-defined]
        raise InputError(f"{path} is damaged or no {path.suffix.lower()} file; copy or export it again.")
    header: Header = {}
    while line := lines.next():
        if line.startswith("#"):
            continue
        match = _FIELD.fullmatch(line)
        # "key:=value" is somebody's note, such as a segment's name.
        if match is None and ":=" in line:
            continue
        if match is None:
            raise doubtful(path, f'line {lines.number} ({shown(line)}) is not "field: value"')
        field = match[1].replace(" ", "").lower()
        field = _SYNONYMS.get(field, field)
        if match[2].startswith("="):
            if field in _USED:
                raise doubtful(path, f'its field {shown(match[1])} is followed by ":="')
            continue
        if field not in _USED and field not in _IGNORED:
            raise doubtful(path, f"the field {shown(match[1])} is not supported or none of NRRD's")
        if field in header:
            raise doubtful(path, f"it gives {shown(match[1])} twice")
        header[field] = match[2].strip()
    return header


def _understand(header: Header, path: Path) -> tuple[StoredVoxels, npt.NDArray[np.float64]]:
    """How the voxels are stored and where they lie."""
    for field in ("type", "dimension", "sizes", "encoding"):
        if field not in header:
            raise doubtful(path, f"it lacks the field {field}")
    dims = whole(path, "dimension", header["dimension"], 1, 16)
    sizes = wholes(path, "sizes", header["sizes"], 0, 1 << 40)
    if len(sizes) != dims:
        raise doubtful(path, f"its sizes ({shown(header['sizes'])}) are not {dims} numbers")
    spatial = spatial_axes(header, sizes, path)
    encoding = _one_of(header, "encoding", _ENCODINGS, path)
    skip = whole(path, "byte skip", header.get("byteskip", "0"), -1, 1 << 40)
    if whole(path, "line skip", header.get("lineskip", "0"), 0, 1 << 40) or (skip and encoding != "raw"):
        raise doubtful(path, "it skips a part of its data in a way that is not supported")
    code = _one_of(header, "type", _DTYPES, path)
    # The order of single bytes and of digits need not be told.
    if code.endswith("1") or (encoding == "text" and "endian" not in header):
        order = "="
    else:
        order = _one_of(header, "endian", _ENDIAN, path)
    stored = StoredVoxels(
        path=path,
        shape=tuple(sizes[axis] for axis in spatial),
        dtype=np.dtype(order + code),
        encoding=encoding,
        skip=skip,
    )
    return stored, affine_of_header(header, spatial, path)


def _one_of(header: Header, field: str, known: dict[str, str], path: Path) -> str:
    value = header.get(field)
    if value is None:
        raise doubtful(path, f"it lacks the field {field}")
    if value.lower() not in known:
        raise doubtful(path, f"its {field} ({shown(value)}) is not supported; known are {', '.join(known)}")
    return known[value.lower()]
