"""A region of interest from a file that 3D Slicer saved: the box of a `.mrk.json`.

Format: the JSON schema of Slicer's markups, modules/Markups/Resources/Schema/markups-schema-v1.0.3.json.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from LiverSegLib.errors import InputError
from LiverSegLib.io.regular_file import TooLargeError, open_plain
from LiverSegLib.io.space import LPS_TO_RAS
from LiverSegLib.request import Point, RasBox

ENDING = ".mrk.json"
_MAX_BYTES = 1 << 20
_TO_RAS = {"LPS": LPS_TO_RAS[:3, :3], "RAS": np.eye(3)}
_TOLERANCE = 1e-3


def read_roi(path: Path) -> RasBox:
    """The box of a markups ROI file, in RAS mm whatever the file counts in.

    Raises:
        InputError: it cannot be read, holds another number of markups than one, or another than a ROI box.
    """
    markup = _only_markup(path)
    if markup.get("type") != "ROI" or markup.get("roiType", "Box") not in ("Box", "BoundingBox"):
        kind = str(markup.get("roiType" if markup.get("type") == "ROI" else "type"))[:40]
        raise InputError(f"{path} holds a markup of the type {kind}; save a ROI box from Slicer.")
    to_ras = _TO_RAS.get(str(markup.get("coordinateSystem", "LPS")))
    if to_ras is None:
        raise InputError(f"{path} counts in {str(markup['coordinateSystem'])[:40]}; save the ROI in LPS or RAS.")
    if markup.get("coordinateUnits", "mm") not in ("mm", ["mm", "mm", "mm"]):
        raise InputError(f"{path} counts in other units than mm; save the ROI from Slicer again.")
    center, size = _numbers(markup, "center", 3, path), _numbers(markup, "size", 3, path)
    # The matrix of the file has a side's direction in each column, written row by row.
    axes = (to_ras @ _numbers(markup, "orientation", 9, path).reshape(3, 3)).T
    if not np.allclose(axes @ axes.T, np.eye(3), atol=_TOLERANCE):
        raise InputError(f"{path} has an orientation that is no rotation; save the ROI from Slicer again.")
    try:
        return RasBox(center=_point(to_ras @ center), size=_point(size), axes=(*map(_point, axes),))  # type: ignore[arg-type]
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _only_markup(path: Path) -> dict[str, Any]:
    try:
        with open_plain(path, _MAX_BYTES) as file:
            content = json.load(file)
    except TooLargeError as error:
        raise InputError(f"{path} is larger than any ROI file; give the {ENDING} of one ROI.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}); check the path.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON; give the {ENDING} of a ROI that Slicer saved.") from error
    markups = content.get("markups") if isinstance(content, dict) else None
    if not isinstance(markups, list) or not all(isinstance(markup, dict) for markup in markups):
        raise InputError(f"{path} holds no markups; give the {ENDING} of a ROI that Slicer saved.")
    if len(markups) != 1:
        raise InputError(f"{path} holds {len(markups)} markups; save the ROI that is meant into a file of its own.")
    return markups[0]


def _numbers(markup: dict[str, Any], key: str, count: int, path: Path) -> npt.NDArray[np.float64]:
    values = markup.get(key)
    if (
        not isinstance(values, list)
        or len(values) != count
        or not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    ):
        raise InputError(f"{path} has no {key} of {count} numbers; save the ROI from Slicer again.")
    try:
        return np.array(values, dtype=np.float64)
    except OverflowError as error:
        raise InputError(f"{path} has a {key} that is too large; save the ROI from Slicer again.") from error


def _point(values: npt.NDArray[np.float64]) -> Point:
    x, y, z = (float(value) for value in values)
    return x, y, z
