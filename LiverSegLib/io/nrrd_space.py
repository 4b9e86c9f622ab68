"""Where the voxels of an NRRD file lie: which of its axes run through space, and in what steps."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from LiverSegLib.errors import InputError
from LiverSegLib.io.header_text import doubtful, reals
from LiverSegLib.io.regular_file import shown
from LiverSegLib.io.space import LPS_TO_RAS, affine_of

# Field names in small letters and without spaces -> values.
Header = dict[str, str]
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
_MILLIMETERS = ("mm", "millimeter", "millimeters", "millimetre", "millimetres", "", "?", "???", "none")
_VECTOR = re.compile(r"none|\(([^()]*)\)", re.IGNORECASE)


def spatial_axes(header: Header, sizes: tuple[int, ...], path: Path) -> list[int]:
    """Numbers of the axes that run through space. Others (color, layers, time) may only be of one sample.

    Raises:
        InputError: a color or vector image, or a series over time.
    """
    kinds = header.get("kinds", " ".join(["domain"] * len(sizes))).lower().split()
    steps = _steps(header, path)
    if len(kinds) != len(sizes) or (steps is not None and len(steps) != len(sizes)):
        raise doubtful(path, f"its kinds or space directions are not those of {len(sizes)} axes")
    spatial = []
    for axis, (kind, size) in enumerate(zip(kinds, sizes, strict=True)):
        if kind in _SPATIAL_KINDS and (steps is None or steps[axis] is not None):
            spatial.append(axis)
        elif size > 1 and kind == "time":
            shape = "x".join(str(n) for n in sizes)
            raise InputError(f"{path.name} is a series over time ({shape}); extract one 3D volume of it first.")
        elif size > 1:
            raise InputError(
                f"{path.name} is a colour or vector image; segment a scalar volume such as the original CT."
            )
    return spatial


def affine_of_header(header: Header, spatial: list[int], path: Path) -> npt.NDArray[np.float64]:
    """Voxel index -> RAS mm. For other than three axes in space any: their image is refused by its shape.

    Without space directions the axes run left, posterior and superior, as ITK takes them.

    Raises:
        InputError: steps, space or units are damaged, contradict each other, or are unknown.
    """
    if len(spatial) != 3:
        return np.eye(4)
    for field in ("units", "spaceunits"):
        units = header.get(field, "").replace('"', " ").lower().split()
        if not set(units) <= set(_MILLIMETERS):
            raise doubtful(path, f"its {field} ({shown(header[field])}) are not mm")
    if "spacedirections" not in header:
        return _without_space(header, spatial, path)
    if "spacings" in header or "axismins" in header:
        raise doubtful(path, "it gives both space directions and spacings or axis mins")
    to_ras = _TO_RAS.get(header.get("space", "").lower())
    if to_ras is None:
        raise doubtful(path, f"its space ({shown(header.get('space', 'not told'))}) does not tell left from right")
    steps = [_vector(step, "space directions", path) for step in _steps(header, path) or [] if step is not None]
    origin = header.get("spaceorigin", "(0,0,0)")
    if len(steps) != 3 or not (origin.startswith("(") and origin.endswith(")")):
        raise doubtful(path, "its space directions or its space origin are not three vectors and one")
    return affine_of(steps, _vector(origin[1:-1], "space origin", path), to_ras)


def _without_space(header: Header, spatial: list[int], path: Path) -> npt.NDArray[np.float64]:
    """The affine of a file that knows no more than spacings and where its axes start."""
    if "space" in header or "spaceorigin" in header:
        raise doubtful(path, "it names a space but gives no space directions")
    spacing = _of_axes(header, "spacings", spatial, path) or (1.0, 1.0, 1.0)
    if min(spacing) <= 0:
        told = shown(header["spacings"])
        raise InputError(f"{path} has a voxel spacing of zero or less ({told}); repair its header.")
    origin = np.zeros(3)
    starts = _of_axes(header, "axismins", spatial, path)
    if starts is not None:
        # An axis of cells starts at the border of its first sample, one of nodes at its center.
        centers = header.get("centers", "").lower().split() or ["cell"] * (max(spatial) + 1)
        if len(centers) <= max(spatial):
            raise doubtful(path, f"its centers ({shown(header['centers'])}) are not those of its axes")
        is_node = np.array([centers[axis] == "node" for axis in spatial])
        origin = np.array(starts) + np.where(is_node, 0, np.array(spacing) / 2)
    return affine_of(np.diag(spacing), origin)


def _of_axes(header: Header, field: str, spatial: list[int], path: Path) -> tuple[float, ...] | None:
    """One number for each axis in space, None where the field is absent; other axes may have "nan"."""
    if field not in header:
        return None
    texts = header[field].split()
    if len(texts) <= max(spatial) or len(texts) > 16:
        raise doubtful(path, f"its {field} ({shown(header[field])}) are not those of its axes")
    return reals(path, field, " ".join(texts[axis] for axis in spatial), 3)


def _steps(header: Header, path: Path) -> list[str | None] | None:
    """The text of one step in space for each axis, None for an axis that has none; or None without space directions."""
    text = header.get("spacedirections")
    if text is None:
        return None
    if _VECTOR.sub("", text).strip():
        raise doubtful(path, f"its space directions ({shown(text)}) are not made of vectors")
    found: list[str | None] = []
    for match in _VECTOR.finditer(text):
        # Some writers put (nan,nan,nan) for "none".
        is_none = match[1] is None or {part.strip().lower() for part in match[1].split(",")} == {"nan"}
        found.append(None if is_none else match[1])
    return found


def _vector(text: str, field: str, path: Path) -> tuple[float, ...]:
    return reals(path, field, text.replace(",", " "), 3)
