"""The series of a folder: which files are the images of each, and how a person tells them apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from LiverSegLib.io.dicom.headers import ImageFile, read_header

_SERIES_SHOWN = 10


@dataclass(frozen=True)
class Series:
    """The image files of one series, at least one, in no particular order."""

    files: list[ImageFile]

    def text(self, keyword: str) -> str:
        """A field of the first file's header, "" where it is absent."""
        return self.files[0].text(keyword)

    @property
    def slices(self) -> int:
        """Images in all files."""
        return sum(file.frame_count for file in self.files)

    @property
    def remark(self) -> str:
        """What a person should know before choosing it, "" for an ordinary series."""
        first = self.files[0]
        if first.is_localizer:
            return "scout"
        if first.is_xray:
            return "X-ray"
        return "derived" if first.is_derived else ""

    @property
    def described(self) -> str:
        """For example "2: portal venous, 120 slices"."""
        return (
            f"{self.text('SeriesNumber') or '?'}: {self.text('SeriesDescription') or 'no description'}, "
            f"{self.slices} slices"
        )


def list_series(path: Path) -> list[Series]:
    """All image series of a folder, scouts among them, by number.

    Args:
        path: a folder; its direct subfolders are searched too.

    Raises:
        InputError: a damaged file.
    """
    return grouped([file for member in image_candidates(path) if (file := read_header(member))])


def image_candidates(folder: Path) -> Iterator[Path]:
    """Files of the folder and of its direct subfolders."""
    for entry in sorted(folder.iterdir()):
        members = sorted(entry.iterdir()) if entry.is_dir() else [entry]
        yield from (member for member in members if member.is_file())


def grouped(files: list[ImageFile]) -> list[Series]:
    """Files by their series, in rising order of series number."""
    found: dict[str, Series] = {}
    for file in files:
        # The scouts of a series are told apart from it: they are no part of its volume.
        key = file.text("SeriesInstanceUID") + ("/scout" if file.is_localizer else "")
        found.setdefault(key, Series([])).files.append(file)
    return sorted(found.values(), key=lambda series: _number(series.text("SeriesNumber")))


def _number(text: str) -> float:
    return int(text) if text.isdecimal() else float("inf")


def listed(found: list[Series]) -> str:
    """Series in one line, the first ten of them."""
    described = [series.described for series in found[:_SERIES_SHOWN]]
    if len(found) > _SERIES_SHOWN:
        described.append(f"and {len(found) - _SERIES_SHOWN} more")
    return "; ".join(described)
