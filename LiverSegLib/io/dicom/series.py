"""Which files of a folder are the images of one series, and which of several series is meant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from LiverSegLib.errors import InputError
from LiverSegLib.io.dicom.headers import ImageFile, read_header

_SERIES_SHOWN = 10
BEST = "best"
"""The choice that leaves it to `best_series`."""


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
    return _grouped([file for member in _candidates(path) if (file := read_header(member))])


def find_series(path: Path, choice: str | None = None) -> list[ImageFile]:
    """The image files of one series in a folder, or of the series that one file belongs to.

    Args:
        path: a folder or a DICOM file.
        choice: which series of a folder: its number, its UID, its description or a part of it, or "best" (see
            `best_series`); None: it has to be the only one.

    Returns:
        At least one file, localizers left out, in no particular order.

    Raises:
        InputError: no images, several series, none or several of the choice, or a damaged file.
    """
    if path.is_dir():
        files = [file for member in _candidates(path) if (file := read_header(member))]
    else:
        chosen = read_header(path)
        if chosen is None:
            raise InputError(f"{path} is a DICOM file without an image; pass a slice of the CT or MR series.")
        if chosen.is_xray:  # the other files of its series are other pictures
            return [chosen]
        uid = chosen.text("SeriesInstanceUID")
        beside = (read_header(other) for other in sorted(path.parent.iterdir()) if other.is_file())
        files = [file for file in beside if file and file.text("SeriesInstanceUID") == uid]
    if not files:
        raise InputError(f"{path} holds no DICOM images; pass the folder of one CT or MR series.")
    files = [file for file in files if not file.is_localizer]
    if not files:
        raise InputError(f"{path} holds only localizer images; pass the folder of the CT or MR series itself.")
    found = _grouped(files)
    files = (_only(found, path) if choice is None or not path.is_dir() else _chosen(found, choice, path)).files
    if len(files) > 1 and files[0].is_xray:
        raise InputError(f"{path} holds {len(files)} X-ray pictures; pass one of the files.")
    return files


def _candidates(folder: Path) -> Iterator[Path]:
    """Files of the folder and of its direct subfolders."""
    for entry in sorted(folder.iterdir()):
        members = sorted(entry.iterdir()) if entry.is_dir() else [entry]
        yield from (member for member in members if member.is_file())


def _grouped(files: list[ImageFile]) -> list[Series]:
    """Files by their series, in rising order of series number."""
    found: dict[str, Series] = {}
    for file in files:
        # The scouts of a series are told apart from it: they are no part of its volume.
        key = file.text("SeriesInstanceUID") + ("/scout" if file.is_localizer else "")
        found.setdefault(key, Series([])).files.append(file)
    return sorted(found.values(), key=lambda series: _number(series.text("SeriesNumber")))


def _number(text: str) -> float:
    return int(text) if text.isdecimal() else float("inf")


def _only(found: list[Series], path: Path) -> Series:
    if len(found) == 1:
        return found[0]
    raise InputError(
        f"{path} holds {len(found)} series ({listed(found)}); "
        "pass a folder with one series, one file of the series that you mean, or choose it with --series NUMBER."
    )


def _chosen(found: list[Series], choice: str, path: Path) -> Series:
    """The series that a choice names; the first way in which any fits counts."""
    from LiverSegLib.io.dicom.best import best_series

    if choice == BEST:
        return best_series(found, path)
    words = choice.strip().casefold()
    ways = (
        [series for series in found if series.text("SeriesInstanceUID") == choice.strip()],
        [series for series in found if series.text("SeriesNumber") == choice.strip()],
        [series for series in found if series.text("SeriesDescription").casefold() == words],
        [series for series in found if words and words in series.text("SeriesDescription").casefold()],
    )
    fitting = next((way for way in ways if way), [])
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise InputError(f"{path} has no series {choice}; choose one of {listed(found)}.")
    raise InputError(f"{path} has {len(fitting)} series {choice} ({listed(fitting)}); choose one by its UID.")


def listed(found: list[Series]) -> str:
    """Series in one line, the first ten of them."""
    described = [series.described for series in found[:_SERIES_SHOWN]]
    if len(found) > _SERIES_SHOWN:
        described.append(f"and {len(found) - _SERIES_SHOWN} more")
    return "; ".join(described)
