"""The series of a DICOM folder as a table, so that one of them can be chosen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.table import Table

from LiverSegLib.cli.screen import plain
from LiverSegLib.errors import InputError
from LiverSegLib.io.dicom.best import best_series
from LiverSegLib.io.dicom.headers import check_pydicom, has_dicom_mark
from LiverSegLib.io.dicom.series import Series, image_candidates, list_series


def is_dicom_folder(path: Path) -> bool:
    """Whether any file of a folder, or of its direct subfolders, calls itself DICOM."""
    with _in_a_sentence(path):
        return path.is_dir() and any(has_dicom_mark(file) for file in image_candidates(path))


def series_table(path: Path) -> Table:
    """Number, description, modality, slices and size of each series, and which of them `--series best` takes.

    Raises:
        InputError: a file is damaged, there is no image, or pydicom is missing.
    """
    check_pydicom(path)
    with _in_a_sentence(path):
        found = list_series(path)
    if not found:
        raise InputError(f"{path} holds no DICOM images; pass the folder of CT or MR series.")
    best = _best(found, path)
    table = Table(title=plain(str(path), "table.title"))
    for title in ("Number", "Description", "Modality", "Slices", "Size", "Remark"):
        table.add_column(title, justify="right" if title in ("Number", "Slices") else "left")
    for series in found:
        rows, columns = series.files[0].size
        remark = "best" if series is best else series.remark
        cells = (series.text("SeriesNumber"), series.text("SeriesDescription"), series.text("Modality"))
        table.add_row(*(plain(cell or "-") for cell in cells), str(series.slices), f"{columns} x {rows}", remark)
    return table


@contextmanager
def _in_a_sentence(path: Path) -> Iterator[None]:
    """Turn what the operating system says into a sentence about `path`."""
    try:
        yield
    except OSError as error:
        place = error.filename or path
        raise InputError(f"{place} cannot be read ({error.strerror or error}); ask for access or copy it.") from error


def _best(found: list[Series], path: Path) -> Series | None:
    try:
        return best_series([series for series in found if not series.files[0].is_localizer], path)
    except InputError:
        return None
