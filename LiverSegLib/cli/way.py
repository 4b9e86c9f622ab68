"""How a volume is segmented, from what was typed: by the model alone, or within the organ of another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from LiverSegLib.cli.request_options import at_home
from LiverSegLib.models import ModelPackage, find_package, find_partner, read_package
from LiverSegLib.models.store import LOCATOR
from LiverSegLib.request import SegmentationRequest
from LiverSegLib.volume import Result, Volume

Run = Callable[..., Result]
"""Called with a volume, `progress` and `should_stop`."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What the names that were typed lead to.

    Args:
        package: the model.
        locator: the model that finds the liver for it, or None.
        organ: the model of the organ in which it looks, or None.
        mask: the label map of that organ, or None.
        segment: the segment of the mask that counts, "" for all that it holds.
    """

    package: ModelPackage
    locator: ModelPackage | None = None
    organ: ModelPackage | None = None
    mask: Path | None = None
    segment: str = ""

    @property
    def folders(self) -> list[Path]:
        """The folders of all models that take part."""
        found: dict[Path, None] = {}
        for package in (self.package, self.locator, self.organ):
            if package is not None:
                _add_chain(package, found)
        return list(found)


def choose(request: SegmentationRequest, within: str | None) -> Chosen:
    """Find and read what was named; what is wrong with it is found before torch is imported, which takes seconds.

    Raises:
        ModelError: a package cannot be used.
        InputError: a target is none of the model's.
    """
    from LiverSegLib.engine.region import check_targets

    package = read_package(find_package(request.model))
    locator = read_package(find_package(LOCATOR)) if request.find_first else None
    if within is None:
        check_targets(request.targets, package.labels, package.title, package.default_targets)
        return Chosen(package=package, locator=locator)
    path, segment = mask_and_segment(within)
    if path.is_file() and path.suffix.lower() != ".zip":
        return Chosen(package=package, locator=locator, mask=path, segment=segment)
    return Chosen(package=package, locator=locator, organ=read_package(find_package(within)))


def mask_and_segment(within: str) -> tuple[Path, str]:
    """The path in what was typed, and the name of one segment behind a "#", as in "seg.dcm#liver"; "" without one."""
    path = at_home(within)
    before, mark, name = within.rpartition("#")
    if mark and name and not path.exists() and at_home(before).is_file():
        return at_home(before), name
    return path, ""


def way_of(request: SegmentationRequest, within: str | None, margin: float) -> Run:
    """How a volume is segmented: by the model alone, or within the organ of another model or of a label map.

    Args:
        request: as typed.
        within: a package, or a label map on the input's grid; behind a "#" the name of one segment of a DICOM SEG.
        margin: mm around the organ.

    Raises:
        ModelError, InputError: as `choose`.
        DeviceError: the device is not there.
    """
    chosen = choose(request, within)
    from LiverSegLib.engine.segmenter import Segmenter
    from LiverSegLib.engine.two_step import read_mask, segment_within, segment_within_mask

    segmenter = Segmenter(chosen.package, request.device, request.settings)
    if chosen.organ is not None:
        first = Segmenter(chosen.organ, request.device, request.settings)
        return partial(segment_within, first, segmenter, margin_mm=margin, request=request)
    path, segment = chosen.mask, chosen.segment
    if path is None:
        return partial(segmenter.segment, request=request)

    def run(volume: Volume, **how: Any) -> Result:
        mask = read_mask(path, volume, segment)
        return segment_within_mask(mask, segmenter, volume, margin_mm=margin, request=request, **how)

    return run


def _add_chain(package: ModelPackage, found: dict[Path, None]) -> None:
    """Add the folder of a model and of those that it names as its helpers."""
    if package.path in found:
        return
    found[package.path] = None
    names = [package.divides, None if package.guide is None else package.guide.model, *package.voters]
    for name in names:
        if name:
            _add_chain(read_package(find_partner(name, package)), found)
