"""From the journals of all parts to one table, one list of failures and one set of pages."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from LiverSegLib.batch import page
from LiverSegLib.batch.folder import BatchFolder
from LiverSegLib.batch.history import History, histories
from LiverSegLib.batch.locks import RunLock
from LiverSegLib.batch.records import DONE
from LiverSegLib.errors import OutputError
from LiverSegLib.io.atomic import atomic_file, told
from LiverSegLib.io.leftovers import remove_leftovers
from LiverSegLib.printable import csv_text

_FIRST = ("name", "input", "status", "seconds", "tries", "expected_dice", "expected_low", "agreement")
_LAST = ("lesions", "longest_mm", "burden_percent", "model", "device", "bytes", "peak_mib", "message")
_STATUS = {"failed": 0, "open": 1, "done": 2}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One case as table and page show it; `rank` is lower the more a person should look at it."""

    name: str
    status: str
    history: History
    rank: tuple[float, ...]


def collect(folder: BatchFolder) -> list[Row]:
    """Write `table.csv`, `failed.jsonl` and the pages anew, each complete or not at all.

    While another process does so this waits.

    Returns:
        The rows, the worst first: failures, what is still open, the lowest expected Dice, the lowest agreement of two
        looks, results without any segment, those with warnings.

    Raises:
        OutputError: there is no batch in the folder, or it cannot be written to.
    """
    if not folder.journals():
        raise OutputError(f"{folder.path} holds no batch; name the folder that was given with -o.")
    with told(folder.path), RunLock(folder.path / "parts" / "collect.lock") as lock:
        lock.take(wait=True)
        remove_leftovers(folder.path)
        remove_leftovers(folder.path / "pages")
        past = histories(folder.records())
        rows = sorted((_row(history) for history in past.values()), key=lambda row: (row.rank, row.name))
        _write_table(folder, rows)
        failed = [row for row in rows if row.status == "failed"]
        with atomic_file(folder.failed) as file:
            file.write(b"".join(_failure(row) for row in failed))
        page.write_pages(folder, [shown(row) for row in rows])
    return rows


def _row(history: History) -> Row:
    last = history.last
    status = "failed" if history.has_failed else "done" if last.event == DONE else "open"
    found = last.found
    rank: tuple[float, ...] = (_STATUS[status],)
    if found is not None:
        is_empty = not any(found.volumes_ml.values())
        dice = 2.0 if found.expected_dice is None else found.expected_dice
        agreement = 2.0 if found.agreement is None else found.agreement
        rank = (_STATUS[status], -float(is_empty), dice, agreement, -len(found.warnings))
    return Row(name=last.name, status=status, history=history, rank=rank)


def _failure(row: Row) -> bytes:
    last = row.history.last
    told_of = {"name": row.name, "input": last.input, "tries": row.history.tries, "sentence": row.history.sentence}
    return json.dumps(told_of).encode("ascii") + b"\n"


def _write_table(folder: BatchFolder, rows: Sequence[Row]) -> None:
    names = sorted({name for row in rows if row.history.last.found for name in row.history.last.found.volumes_ml})
    text = io.StringIO()
    writer = csv.DictWriter(text, [*_FIRST, *(f"{csv_text(name)}_ml" for name in names), *_LAST], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(_cells(row))
    with atomic_file(folder.table) as file:
        file.write(text.getvalue().encode("utf-8", "backslashreplace"))


def _cells(row: Row) -> dict[str, Any]:
    last, found = row.history.last, row.history.last.found
    tries = row.history.tries + (row.status == "done")
    cells: dict[str, Any] = {"name": csv_text(row.name), "input": csv_text(last.input), "status": row.status}
    cells |= {"seconds": last.seconds, "tries": tries, "message": csv_text(row.history.sentence)}
    if found is None:
        return cells
    cells |= {f"{csv_text(name)}_ml": round(volume, 3) for name, volume in found.volumes_ml.items()}
    numbers = {
        "expected_dice": found.expected_dice,
        "expected_low": found.low,
        "agreement": found.agreement,
        "longest_mm": found.longest_mm,
        "burden_percent": found.burden_percent,
    }
    cells |= {name: "" if number is None else round(number, 4) for name, number in numbers.items()}
    cells |= {"lesions": "" if found.lesions is None else found.lesions, "bytes": sum(found.files.values())}
    cells |= {"model": csv_text(found.model), "device": csv_text(found.device)}
    cells |= {"peak_mib": "" if found.peak_bytes is None else found.peak_bytes // 2**20}
    return cells | {"message": csv_text(" ".join(found.warnings))}


def shown(row: Row) -> page.Shown:
    """The row as the page shows it."""
    last, found = row.history.last, row.history.last.found
    facts: list[str] = []
    if found is not None:
        if found.expected_dice is not None:
            low = f" (from {found.low:.2f})" if found.low is not None else ""
            facts.append(f"expected Dice {found.expected_dice:.2f}{low}")
        elif found.agreement is not None:
            facts.append(f"agreement {found.agreement:.2f}")
        facts += [f"{name} {volume:.1f} mL" for name, volume in found.volumes_ml.items() if volume]
        if found.lesions:
            longest = f", longest {found.longest_mm:.0f} mm" if found.longest_mm else ""
            facts.append(f"{found.lesions} lesion{'s' * (found.lesions != 1)}{longest}")
    warnings = (row.history.sentence,) if found is None else found.warnings
    files = () if found is None else tuple(found.files)
    return page.Shown(
        name=row.name,
        input=last.input,
        status=row.status,
        seconds=last.seconds,
        facts=tuple(facts),
        notes=tuple(note for note in warnings if note),
        files=files,
    )
