"""Folders and small files of results; a file is written complete or not at all."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from LiverSegLib.errors import OutputError
from LiverSegLib.io.atomic import atomic_file


def new_folder(folder: Path) -> Path:
    """Make `folder` where it is missing.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder {folder} cannot be made ({error.strerror}); choose another.") from error
    return folder


def write_text(path: Path, text: str) -> None:
    """A text in UTF-8.

    Raises:
        OutputError: the file cannot be written; what stood there before is unchanged.
    """
    with atomic_file(path) as file:
        file.write(text.encode("utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Plain data as JSON; raises as `write_text`."""
    write_text(path, json.dumps(content, indent=1))


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """A table; a cell that a row lacks is empty, one of no column is left out. Raises as `write_text`."""
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, columns, extrasaction="ignore")
    table.writeheader()
    table.writerows(rows)
    write_text(path, text.getvalue())
