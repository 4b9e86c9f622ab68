"""NRRD (.nrrd, .nhdr) in, by a reader of our own that refuses what it does not know.

Format: https://teem.sourceforge.net/nrrd/format.html. A header of `field: value` and `key:=value` lines ends with
an empty line; the voxels follow it, or lie in the file beside the header that `data file` names.
"""

from __future__ import annotations

import re
from io import BufferedReader
from pathlib import Path

import numpy as np
import numpy.typing as npt

from LiverSegLib.errors import InputError
from LiverSegLib.io.header_text import HeaderText
from LiverSegLib.io.regular_file import open_beside, open_regular, shown
from LiverSegLib.io.space import LPS_TO_RAS, affine_of
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
    *("type", "dimension", "sizes", "kinds", "encoding", "endian", "lineskip", "byteskip", "datafile"),
    *("space", "spacedimension", "spacedirections", "spaceorigin", "spaceunits"),
    *("spacings", "axismins", "centers", "units"),
}
_SYNONYMS = {"centerings": "centers"}
_IGNORED = {
    *("content", "number", "thicknesses", "axismaxs", "labels", "measurementframe", "sampleunits"),
    *("min", "max", "oldmin", "oldmax"),
}
_SEVERAL = re.compile(r"LIST\b|.*%[0-9]*d")
_LAS_TO_RAS = np.diag([-1.0, 1.0, 1.0, 1.0])
_TO_RAS = {
    "right-anterior-superior": np.eye(4),
    "ras": np.eye(4),
    "left-anterior-superior": _LAS_TO_RAS,
    "las": _LAS_TO_RAS,
    "left-posterior-superior": LPS_TO_RAS,
    "lps": LPS_TO_RAS,
}
_SPATIAL_KINDS = ("domain", "space", "none", "???")
_MILLIMETERS = {"mm", "millimeter", "millimeters", "", "?", "???", "none"}
_VECTOR = re.compile(r"none|\(([^()]*)\)", re.IGNORECASE)


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
        stored, affine = _understand(header)
        name = header.fields.get("datafile")
        if name is None:
            return Volume(read_stored(file, stored), affine, name=path.name)
    if _SEVERAL.match(name):
        raise header.several_files(name, ".nrrd")
    with open_beside(path, name) as file:
        return Volume(read_stored(file, stored), affine, name=path.name)


def _read_header(file: BufferedReader, path: Path) -> HeaderText:
    """The fields that we use, by names in small letters and without spaces; the file is left after the header."""
    header = HeaderText(file, path)
    if file.peek(4)[:4] != b"NRRD" or not _MAGIC.fullmatch(header.next_line() or ""):
        raise header.no_header()
    while line := header.next_line():
        match = _FIELD.fullmatch(line)
        # "key:=value" is somebody's note, such as a segment's name.
        if line.startswith("#") or (match is None and ":=" in line):
            continue
        if match is None:
            raise header.doubtful(f'line {header.line_number} ({shown(line)}) is not "field: value"')
        field = match[1].replace(" ", "").lower()
        field = _SYNONYMS.get(field, field)
        if match[2].startswith("="):
            if field in _USED:
                raise header.doubtful(f'its field {shown(match[1])} is followed by ":="')
            continue
        if field not in _USED and field not in _IGNORED:
            raise header.doubtful(f"the field {shown(match[1])} is not supported or none of NRRD's")
        if field in header.fields:
            raise header.doubtful(f"it gives {shown(match[1])} twice")
        header.fields[field] = match[2].strip()
    return header


def _understand(header: HeaderText) -> tuple[StoredVoxels, npt.NDArray[np.float64]]:
    """How the voxels are stored and where they lie."""
    header.require("type", "dimension", "sizes", "encoding")
    dims = header.whole("dimension", 1, 16)
    sizes = header.wholes("sizes", 0, 1 << 40)
    if len(sizes) != dims:
        raise header.wrong("sizes", f"are not {dims} numbers")
    steps = _steps(header)
    spatial = _spatial_axes(header, sizes, steps)
    encoding = header.one_of("encoding", _ENCODINGS)
    skip = header.whole("byteskip", -1, 1 << 40)
    if header.whole("lineskip", 0, 1 << 40) or (skip and encoding != "raw"):
        raise header.doubtful("it skips a part of its data in a way that is not supported")
    code = header.one_of("type", _DTYPES)
    # The order of single bytes and of digits need not be told.
    needs_no_order = code.endswith("1") or (encoding == "text" and "endian" not in header.fields)
    stored = StoredVoxels(
        path=header.path,
        shape=tuple(sizes[axis] for axis in spatial),
        dtype=np.dtype(("=" if needs_no_order else header.one_of("endian", _ENDIAN)) + code),
        encoding=encoding,
        skip=skip,
    )
    # An image of other than three axes is refused by its shape.
    return stored, _affine(header, spatial, steps) if len(spatial) == 3 else np.eye(4)


def _steps(header: HeaderText) -> list[str | None] | None:
    """The text of one step in space for each axis, None for an axis that has none; or None without space directions."""
    text = header.fields.get("spacedirections")
    if text is None:
        return None
    if _VECTOR.sub("", text).strip():
        raise header.doubtful(f"its space directions ({shown(text)}) are not made of vectors")
    found: list[str | None] = []
    for match in _VECTOR.finditer(text):
        # Some writers put (nan,nan,nan) for "none".
        is_none = match[1] is None or {part.strip().lower() for part in match[1].split(",")} == {"nan"}
        found.append(None if is_none else match[1])
    return found


def _spatial_axes(header: HeaderText, sizes: tuple[int, ...], steps: list[str | None] | None) -> list[int]:
    """Numbers of the axes that run through space. Others (color, layers, time) may only be of one sample."""
    kinds = header.fields.get("kinds", "domain " * len(sizes)).lower().split()
    if len(kinds) != len(sizes) or (steps is not None and len(steps) != len(sizes)):
        raise header.doubtful(f"its kinds or space directions are not those of {len(sizes)} axes")
    spatial = []
    for axis, (kind, size) in enumerate(zip(kinds, sizes, strict=True)):
        if kind in _SPATIAL_KINDS and (steps is None or steps[axis] is not None):
            spatial.append(axis)
        elif size > 1 and kind == "time":
            shape = "x".join(str(n) for n in sizes)
            raise InputError(f"{header.path.name} is a series over time ({shape}); extract one 3D volume of it first.")
        elif size > 1:
            raise header.no_scalars()
    return spatial


def _affine(header: HeaderText, spatial: list[int], steps: list[str | None] | None) -> npt.NDArray[np.float64]:
    """Voxel index -> RAS mm. Without space directions the axes run left, posterior and superior, as ITK takes them."""
    for field in ("units", "spaceunits"):
        if not set(header.fields.get(field, "").replace('"', " ").lower().split()) <= _MILLIMETERS:
            raise header.wrong(field, "are not mm")
    if steps is None:
        return _affine_without_space(header, spatial)
    if "spacings" in header.fields or "axismins" in header.fields:
        raise header.doubtful("it gives both space directions and spacings or axis mins")
    to_ras = _TO_RAS.get(header.fields.get("space", "").lower())
    if to_ras is None:
        raise header.wrong("space", "does not tell left from right")
    origin = header.fields.get("spaceorigin", "(0,0,0)")
    vectors = [step.replace(",", " ") for step in steps if step is not None]
    if len(vectors) != 3 or not (origin.startswith("(") and origin.endswith(")")):
        raise header.doubtful("its space directions or its space origin are not three vectors and one")
    start = header.reals_in(origin[1:-1].replace(",", " "), "space origin", 3)
    return affine_of([header.reals_in(vector, "space directions", 3) for vector in vectors], start, to_ras)


def _affine_without_space(header: HeaderText, spatial: list[int]) -> npt.NDArray[np.float64]:
    """The affine of a file that knows no more than spacings and where its axes start."""
    if "space" in header.fields or "spaceorigin" in header.fields:
        raise header.doubtful("it names a space but gives no space directions")
    spacing = _of_axes(header, "spacings", spatial) or (1.0, 1.0, 1.0)
    if min(spacing) <= 0:
        raise header.no_spacing("spacings")
    origin = np.zeros(3)
    starts = _of_axes(header, "axismins", spatial)
    if starts is not None:
        # An axis of cells starts at the border of its first sample, one of nodes at its center.
        centers = header.fields.get("centers", "").lower().split() or ["cell"] * (max(spatial) + 1)
        if len(centers) <= max(spatial):
            raise header.wrong("centers", "are not those of its axes")
        is_node = np.array([centers[axis] == "node" for axis in spatial])
        origin = np.array(starts) + np.where(is_node, 0, np.array(spacing) / 2)
    return affine_of(np.diag(spacing), origin)


def _of_axes(header: HeaderText, field: str, spatial: list[int]) -> tuple[float, ...] | None:
    """One number for each axis in space, None where the field is absent; other axes may have "nan"."""
    if field not in header.fields:
        return None
    texts = header.fields[field].split()
    if len(texts) <= max(spatial) or len(texts) > 16:
        raise header.wrong(field, "are not those of its axes")
    return header.reals_in(" ".join(texts[axis] for axis in spatial), field, 3)
