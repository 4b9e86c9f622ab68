"""The table of a benchmark, which later runs add to: `benchmark.csv` for programs, `benchmark.md` for people."""

from __future__ import annotations

import csv
import datetime
from pathlib import Path

from Testing.benchmarks.compare import Comparison

_SHOWN = ("case", "side", "cold s", "warm s", "ratio cold", "ratio warm", "peak GB", "Dice", "equal", "stages")
_COLUMNS = (*_SHOWN, "measured")
Row = dict[str, str]


def rows_of(found: Comparison) -> list[Row]:
    """A line for each side; ratios are those of the other side to ours."""
    ours, measured = found.measured["ours"], f"{datetime.date.today().isoformat()}, {_machine()}"
    rows = []
    for side, one in found.measured.items():
        is_ours = side == "ours"
        rows.append(
            {
                "case": found.case,
                "side": side,
                "cold s": f"{one.cold:.2f}",
                "warm s": f"{one.warm:.2f}",
                "ratio cold": "" if is_ours else f"{one.cold / ours.cold:.1f}",
                "ratio warm": "" if is_ours else f"{one.warm / ours.warm:.1f}",
                "peak GB": f"{one.peak / 1e9:.2f}",
                "Dice": "" if is_ours or found.dice is None else f"{found.dice:.5f}",
                "equal": "" if is_ours or found.equal is None else f"{found.equal:.5f}",
                "stages": ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in one.stages.items()),
                "measured": measured,
            }
        )
    return rows


def text_of(row: Row) -> str:
    """A row on the screen."""
    return " | ".join(row[key] for key in _SHOWN)


def add(folder: Path, rows: list[Row]) -> None:
    """Write rows of one case into both tables in `folder`; what was there of that case goes, all else stays.

    Raises:
        SystemExit: the table that is there is of another form.
    """
    cases = {row["case"] for row in rows}
    kept = [row for row in _there(folder / "benchmark.csv") if row["case"] not in cases]
    with (folder / "benchmark.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _COLUMNS)
        writer.writeheader()
        writer.writerows(kept + rows)
    (folder / "benchmark.md").write_text(_pages(kept + rows), encoding="utf-8")


def _there(path: Path) -> list[Row]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != _COLUMNS:
            raise SystemExit(
                f"{path} has other columns than this benchmark writes; move it away or name another --out."
            )
        return list(reader)


def _pages(rows: list[Row]) -> str:
    """A table for each day and machine: seconds of different ones must not stand side by side."""
    head = ["| " + " | ".join(_SHOWN) + " |", "| " + " | ".join("---" for _ in _SHOWN) + " |"]
    lines = []
    for measured in dict.fromkeys(row["measured"] for row in rows):
        here = ["| " + " | ".join(row[key] for key in _SHOWN) + " |" for row in rows if row["measured"] == measured]
        lines += [f"{measured}.", "", *head, *here, ""]
    return "\n".join(lines)


def _machine() -> str:
    """The machine, for people."""
    import torch

    from LiverSegLib.engine.devices import has_bf16_matrix_unit
    from LiverSegLib.system import cpu_name

    unit = "with" if has_bf16_matrix_unit() else "without"
    return f"{cpu_name()}, {torch.get_num_threads()} threads, {unit} a matrix unit, torch {torch.__version__}"
