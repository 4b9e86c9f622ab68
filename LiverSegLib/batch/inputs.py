"""The cases of a batch: from a tree of files, or from a list."""

from __future__ import annotations

import csv
import fnmatch
import hashlib
import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from LiverSegLib.batch.folder import Part
from LiverSegLib.batch.records import IMAGES, BatchCase
from LiverSegLib.errors import InputError, LiverSegError
from LiverSegLib.io.dicom import has_dicom_mark
from LiverSegLib.io.dicom.headers import read_header

_RESULTS = (".seg.nrrd", "_labels.nii.gz")
_LONGEST_NAME = 80
_PATH_KEYS = ("input", "path", "image", "file")
_Entry = tuple[Path, str]
"""A path and the name that it would like to have."""


def find_cases(source: Path, *, pattern: str = "*", out: Path | None = None) -> list[BatchCase]:
    """The cases of a folder or of a list.

    Args:
        source: a folder, which is searched for images and DICOM series; or a list: CSV with a column `input` and
            perhaps `name`, JSON with paths or objects of `input` and `name`, or JSON Lines of such objects. Relative
            paths in a list begin at its folder.
        pattern: of a folder, only image files whose path in it matches, for example "*_ct.nii.gz".
        out: a folder that is not searched.

    Returns:
        The cases in the order of their names, which are unique whatever the case of letters.

    Raises:
        InputError: it is neither, holds nothing, or a row makes no sense.
    """
    if source.is_dir():
        entries = list(_in_tree(source, pattern, out))
        if not entries:
            raise InputError(f"{source} holds no images that match {pattern}; check the folder and --pattern.")
    elif source.is_file():
        entries = list(_in_list(source))
        if not entries:
            raise InputError(f"The list {source} names no inputs; add some.")
    else:
        raise InputError(f"{source} does not exist; pass a folder of images, or a list of them (.csv, .json, .jsonl).")
    return sorted(_named(entries), key=lambda case: case.name)


def of_part(cases: Iterable[BatchCase], part: Part) -> list[BatchCase]:
    """The cases of a part: by their names alone, so that a case stays where it is when others come or go."""
    return [case for case in cases if zlib.crc32(os.fsencode(case.name)) % part.count == part.number - 1]


def _in_tree(root: Path, pattern: str, out: Path | None) -> Iterator[_Entry]:
    kept_out = None if out is None else out.resolve()
    for folder, folders, files in os.walk(root):
        place = Path(folder)
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and (place / name).resolve() != kept_out
        )
        others = []
        for name in sorted(files):
            path = place / name
            lower = name.lower()
            if name.startswith("."):
                continue
            if not lower.endswith(IMAGES):
                others.append(path)
            elif not lower.endswith(_RESULTS):
                inside = path.relative_to(root).as_posix()
                if fnmatch.fnmatch(inside, pattern) or fnmatch.fnmatch(name, pattern):
                    yield path, inside
        yield from _series_in(place, others, root)


def _series_in(folder: Path, files: Sequence[Path], root: Path) -> Iterator[_Entry]:
    """The DICOM series of a folder, each by one of its files; localizers are none."""
    series: dict[str, list[Path]] = {}
    for path in files:
        if path.suffix.lower() != ".dcm" and not _has_mark(path):
            continue
        try:
            header = read_header(path)
        except LiverSegError:
            series.setdefault("", []).append(path)  # told of when it is read
            continue
        if header is not None and not header.is_localizer:
            series.setdefault(header.text("SeriesInstanceUID"), []).append(path)
    if len(series) > 1:
        series.pop("", None)
    inside = folder.relative_to(root).as_posix() if folder != root else folder.resolve().name
    for uid, members in sorted(series.items()):
        yield members[0], inside if len(series) == 1 else f"{inside}_{uid.rpartition('.')[2]}"


def _has_mark(path: Path) -> bool:
    try:
        return has_dicom_mark(path)
    except (OSError, LiverSegError):
        return False


def _in_list(source: Path) -> Iterator[_Entry]:
    try:
        text = source.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The list {source} cannot be read as text ({error}); save it as UTF-8.") from error
    readers = {".csv": _csv_rows, ".json": _json_rows, ".jsonl": _jsonl_rows}
    reader = readers.get(source.suffix.lower())
    if reader is None:
        raise InputError(f"{source} is no list of inputs (.csv, .json, .jsonl); use liverseg segment for one image.")
    try:
        rows = reader(text)
    except (ValueError, csv.Error, RecursionError) as error:
        raise InputError(f"The list {source} cannot be read ({error}); repair it.") from error
    for number, row in enumerate(rows, start=1):
        row = {"input": row} if isinstance(row, str) else row
        given = next((row[key] for key in _PATH_KEYS if row.get(key)), None) if isinstance(row, dict) else None
        if not isinstance(given, str):
            raise InputError(f"Entry {number} of {source} has no {' or '.join(_PATH_KEYS[:2])}; add it.")
        path = source.parent / given
        name = row.get("name")
        yield path, name if isinstance(name, str) and name else _own_name(path)


def _csv_rows(text: str) -> list[Any]:
    return list(csv.DictReader(text.splitlines()))


def _json_rows(text: str) -> list[Any]:
    rows = json.loads(text)
    if not isinstance(rows, list):
        raise ValueError("it holds no list")
    return rows


def _jsonl_rows(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def _own_name(path: Path) -> str:
    """The last two parts of a path: files of many patients are often called the same."""
    return "/".join(path.parts[-2:]).lstrip("/")


def _named(entries: Sequence[_Entry]) -> Iterator[BatchCase]:
    """Cases with names that are safe in every file system; where two would be one, the path decides."""
    unique = list({os.path.abspath(path): (path, name) for path, name in entries}.values())  # noqa: PTH100
    names = [_safe(name) for _, name in unique]
    seen: dict[str, int] = {}
    for name in names:
        seen[name.casefold()] = seen.get(name.casefold(), 0) + 1
    for (path, wish), name in zip(unique, names, strict=True):
        if seen[name.casefold()] > 1:
            name = f"{name}-{_mark(f'{wish}|{os.path.abspath(path)}')}"  # noqa: PTH100
        yield BatchCase(name=name, path=path)


def _safe(wish: str) -> str:
    plain = next((wish[: -len(end)] for end in (*IMAGES, ".dcm") if wish.lower().endswith(end)), wish)
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", plain).strip("._")
    if len(name) > _LONGEST_NAME or not name or name != plain.replace("/", "_").strip("._"):
        return f"{name[:_LONGEST_NAME]}-{_mark(wish)}".lstrip("-")
    return name


def _mark(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]
