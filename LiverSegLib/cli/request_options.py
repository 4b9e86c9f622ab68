"""From what was typed to a `SegmentationRequest`."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

from LiverSegLib.errors import InputError, ModelError
from LiverSegLib.io.roi_file import ENDING, read_roi
from LiverSegLib.log import hide
from LiverSegLib.request import RasBox, SegmentationRequest, Settings

_BYTES = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?([kmgt])(i?)b?", re.IGNORECASE)


def request_from(
    *, model: str | None, device: str, roi: str | None, targets: str | None, postprocess: bool
) -> SegmentationRequest:
    """The request of a command line.

    Args:
        model, device: as typed.
        roi: six numbers or the path of a markups file, see `parse_roi`.
        targets: names with commas between them.
        postprocess: whether results are cleaned.

    Raises:
        InputError: the region cannot be understood.
        ModelError: the model's path begins with an unknown user's home.
    """
    if model is not None:
        at_home(model)
    return SegmentationRequest(
        model=model,
        device=device,
        region=None if roi is None else parse_roi(roi),
        targets=None if targets is None else tuple(name.strip() for name in targets.split(",") if name.strip()),
        settings=Settings(largest_component=postprocess, fill_holes=postprocess, lesions_inside=postprocess),
    )


def with_means(request: SegmentationRequest, *, find_first: bool, memory_limit: str | None) -> SegmentationRequest:
    """The same request, by other means.

    Args:
        request: what is asked for.
        find_first: as of `SegmentationRequest`.
        memory_limit: see `parse_bytes`; None for no limit.

    Raises:
        InputError: the limit cannot be understood.
    """
    limit = None if memory_limit is None else parse_bytes(memory_limit)
    return replace(request, find_first=find_first, memory_limit=limit)


def parse_bytes(text: str) -> int:
    """An amount of memory: "4GB", "1.5 GiB", "800MB".

    Raises:
        InputError: it is none.
    """
    found = _BYTES.fullmatch(text.strip())
    if found is None or float(found[1]) <= 0:
        raise InputError(f"The memory limit {text} is not understood; give for example 4GB, 1.5GiB or 800MB.")
    thousand = 1024 if found[3] else 1000
    return int(float(found[1]) * thousand ** ("kmgt".index(found[2].lower()) + 1))


def parse_roi(text: str) -> RasBox:
    """A region of interest: "xmin,xmax,ymin,ymax,zmin,zmax" in RAS mm, or a markups file that Slicer saved.

    Raises:
        InputError: it is neither, or the box is empty.
    """
    if text.lower().endswith(".json"):
        path = at_home(text)
        hide(path, "region")
        return read_roi(path)
    try:
        ends = [float(part) for part in text.split(",")]
    except ValueError:
        ends = []
    if len(ends) != 6 or not all(map(math.isfinite, ends)):
        raise InputError(
            f"The region {text} is not understood; give xmin,xmax,ymin,ymax,zmin,zmax in RAS mm, or a {ENDING} file."
        )
    low, high = ends[::2], ends[1::2]
    for axis, start, stop in zip("xyz", low, high, strict=True):
        if start >= stop:
            raise InputError(f"The region {text} ends at {axis} = {stop:g} and starts at {start:g}; exchange the two.")
    x, y, z = ((start + stop) / 2 for start, stop in zip(low, high, strict=True))
    width, depth, height = (stop - start for start, stop in zip(low, high, strict=True))
    return RasBox(center=(x, y, z), size=(width, depth, height))


def at_home(path: str) -> Path:
    """The path with "~" or "~name" replaced; a shell leaves that to us where there is no such user.

    Raises:
        ModelError: there is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ModelError(f"{path} begins with the home of a user who is not known here; check the path.") from error
