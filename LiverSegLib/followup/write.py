"""A comparison as a table, as JSON and as a page with pictures; all appear together."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from LiverSegLib import __version__
from LiverSegLib.errors import OutputError
from LiverSegLib.followup.changes import Change, Comparison
from LiverSegLib.followup.files import NUMBERS, PAGE, TABLE
from LiverSegLib.followup.page import page_text
from LiverSegLib.followup.parts import TimePoint
from LiverSegLib.followup.pictures import pair_of
from LiverSegLib.io.atomic import atomic_files, told

_COLUMNS = (
    *("status", "baseline", "followup", "note", "baseline_ml", "followup_ml", "volume_percent"),
    *("baseline_mm", "followup_mm", "diameter_percent"),
    *("baseline_r_mm", "baseline_a_mm", "baseline_s_mm", "followup_r_mm", "followup_a_mm", "followup_s_mm"),
)
_SOFTWARE = f"LiverSeg {__version__}"
_MARK = f'<meta name="generator" content="{_SOFTWARE}">'


def write_comparison(out: Path, comparison: Comparison, baseline: TimePoint, followup: TimePoint) -> list[Path]:
    """Write `followup.csv`, `followup.json`, `followup.html` and its pictures into a folder, all or none.

    Args:
        out: the folder, made if need be.
        comparison: of the two time points.
        baseline, followup: pictures are drawn where both have an image.

    Returns:
        The files.

    Raises:
        OutputError: the folder cannot be written to, or holds files of these names that LiverSeg did not write.
    """
    with told(out):
        out.mkdir(parents=True, exist_ok=True)
    pictures: list[tuple[str, bytes]] = []
    for number, change in enumerate(comparison.changes, start=1):
        picture = pair_of(change, comparison.registration, baseline, followup)
        if picture is not None:
            pictures.append((f"followup_{number:03d}.jpg", picture))
    texts = {TABLE: table_text(comparison), NUMBERS: json_text(comparison, baseline, followup)}
    texts[PAGE] = page_text(comparison, baseline.name, followup.name, [name for name, _ in pictures], _MARK)
    contents = {name: text.encode("utf-8", "backslashreplace") for name, text in texts.items()} | dict(pictures)
    _check_replaceable(out)
    with atomic_files(out) as opener:
        for name, content in contents.items():
            with opener(out / name) as file:
                file.write(content)
    return [out / name for name in contents]


def table_text(comparison: Comparison) -> str:
    """The table: a row for each change; lesions are numbers from 1, several with "+" between them."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for change in comparison.changes:
        writer.writerow(row_of(change))
    return text.getvalue()


def row_of(change: Change) -> dict[str, Any]:
    """The cells of a change by the names of their columns."""
    row: dict[str, Any] = {"status": change.status, "note": change.note}
    row |= {"baseline": "+".join(map(str, change.baseline)), "followup": "+".join(map(str, change.followup))}
    numbers = ("baseline_ml", "followup_ml", "volume_percent", "baseline_mm", "followup_mm", "diameter_percent")
    for name in numbers:
        value = getattr(change, name)
        row[name] = "" if value is None else round(value, 2)
    for scan, center in (("baseline", change.center_ras), ("followup", change.followup_center_ras)):
        row |= {f"{scan}_{axis}_mm": round(x, 1) for axis, x in zip("ras", center, strict=True)}
    return row


def json_text(comparison: Comparison, baseline: TimePoint, followup: TimePoint) -> str:
    """All of it for programs."""
    registration = comparison.registration
    content = {
        "software": _SOFTWARE,
        "baseline": baseline.name,
        "followup": followup.name,
        "registration": {
            "kind": registration.kind,
            "liver_dice": registration.dice,
            "baseline_to_followup_ras": registration.matrix.tolist(),
        },
        "liver_ml": [comparison.baseline_liver_ml, comparison.followup_liver_ml],
        "sum_of_diameters_mm": [comparison.baseline_sum_mm, comparison.followup_sum_mm],
        "lesions": [row_of(change) for change in comparison.changes],
        "warnings": list(comparison.warnings),
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def _check_replaceable(out: Path) -> None:
    """Refuse to replace files of these names that are of others."""
    marks = {TABLE: ",".join(_COLUMNS[:4]), NUMBERS: '"software": "LiverSeg', PAGE: 'content="LiverSeg'}
    for name, mark in marks.items():
        path = out / name
        if path.is_dir():
            raise OutputError(f"{path} is a folder; choose another folder with -o.")
        if path.exists() and mark not in path.read_text(encoding="utf-8", errors="replace")[:4096]:
            raise OutputError(f"{path} was not written by LiverSeg; choose another folder with -o, or move it away.")
