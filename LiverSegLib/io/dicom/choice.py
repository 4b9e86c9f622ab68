"""Which series of a folder is meant: its only one, or the one that a person chooses."""

from __future__ import annotations

from pathlib import Path

from LiverSegLib.errors import InputError
from LiverSegLib.io.dicom.best import best_series
from LiverSegLib.io.dicom.headers import ImageFile, read_header
from LiverSegLib.io.dicom.series import Series, grouped, image_candidates, listed

BEST = "best"
"""The choice that leaves it to `best_series`."""


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
        files = [file for member in image_candidates(path) if (file := read_header(member))]
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
    found = grouped(files)
    files = (_only(found, path) if choice is None or not path.is_dir() else _chosen(found, choice, path)).files
    if len(files) > 1 and files[0].is_xray:
        raise InputError(f"{path} holds {len(files)} X-ray pictures; pass one of the files.")
    return files


def _only(found: list[Series], path: Path) -> Series:
    if len(found) == 1:
        return found[0]
    raise InputError(
        f"{path} holds {len(found)} series ({listed(found)}); "
        "pass a folder with one series, one file of the series that you mean, or choose it with --series NUMBER."
    )


def _chosen(found: list[Series], choice: str, path: Path) -> Series:
    """The series that a choice names; the first way in which any fits counts."""
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
