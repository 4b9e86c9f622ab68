"""Which files of a folder are the images of its one series."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from LiverSegLib.errors import InputError
from LiverSegLib.io.dicom.headers import ImageFile, read_header

_SERIES_SHOWN = 10


def find_series(path: Path) -> list[ImageFile]:
    """The image files of the only series in a folder, or of the series that one file belongs to.

    Args:
        path: a folder or a DICOM file.

    Returns:
        At least one file, localizers left out, in no particular order.

    Raises:
        InputError: no images, several series, or a damaged file.
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
    _check_one_series(files, path)
    if len(files) > 1 and files[0].is_xray:
        raise InputError(f"{path} holds {len(files)} X-ray pictures; pass one of the files.")
    return files


def _candidates(folder: Path) -> Iterator[Path]:
    """Files of the folder and of its direct subfolders."""
    for entry in sorted(folder.iterdir()):
        members = sorted(entry.iterdir()) if entry.is_dir() else [entry]
        yield from (member for member in members if member.is_file())


def _check_one_series(files: list[ImageFile], path: Path) -> None:
    series: dict[str, list[ImageFile]] = {}
    for file in files:
        series.setdefault(file.text("SeriesInstanceUID"), []).append(file)
    if len(series) == 1:
        return
    described = [_description(members) for members in series.values()]
    if len(described) > _SERIES_SHOWN:
        described[_SERIES_SHOWN:] = [f"and {len(described) - _SERIES_SHOWN} more"]
    raise InputError(
        f"{path} holds {len(series)} series ({'; '.join(described)}); "
        "pass a folder with one series, or one file of the series that you mean."
    )


def _description(members: list[ImageFile]) -> str:
    """For example "2: portal venous, 120 slices"."""
    number = members[0].text("SeriesNumber") or "?"
    slices = sum(member.frame_count for member in members)
    return f"{number}: {members[0].text('SeriesDescription') or 'no description'}, {slices} slices"
