"""Scores on the screen: tables that fit 80 columns, a line a row."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from Training.evaluation.calibrate import Fitted
from Training.evaluation.compare import Comparison
from Training.evaluation.scores import SHOWN, Scores, with_interval
from Training.reports import comparison_report, score_tables

_MOST_ROWS = 40
_COLUMNS = {
    "dice": "Dice",
    "nsd": "NSD",
    "hd95_mm": "HD95",
    "assd_mm": "ASSD",
    "volume_ml": "mL",
    "reference_ml": "drawn mL",
}


def show_scores(console: Console, scores: Scores) -> None:
    """What `evaluate` found: cases, summary, lesions, and in words what the means do not tell."""
    _cases(console, scores)
    if scores.statistics:
        _summary(console, scores)
    if classes := score_tables.class_rows(scores):
        _print(console, "Classes, all voxels of all cases", score_tables.CLASS_HEADER, classes)
    if lesions := score_tables.lesion_rows(scores):
        _print(console, "Lesions", score_tables.LESION_HEADER, lesions)
    for text in [*score_tables.sentences(scores), *([score_tables.MISSING] if scores.statistics else [])]:
        console.print(escape(text), highlight=False)


def _cases(console: Console, scores: Scores) -> None:
    rows = score_tables.case_rows(scores.worst_first, _COLUMNS)
    some = f" ({_MOST_ROWS} of {len(rows)})" if len(rows) > _MOST_ROWS else ""
    header = ["case", "label", *_COLUMNS.values(), "s"]
    _print(console, f"Cases, worst first{some}; HD95 and ASSD in mm", header, rows[:_MOST_ROWS], text_columns=2)


def _summary(console: Console, scores: Scores) -> None:
    rows: list[list[str]] = []
    label = ""
    for one in scores.statistics:
        if one.label != label:
            rows.append([label := one.label])
        title, *cells = score_tables.summary_cells(one, one.values.median, score_tables.worst(one))
        rows.append([f"  {title}", *cells])
    _print(console, "Summary", ["", "mean [95 % CI]", "median", "worst", "n", "missing"], rows)


def show_comparison(console: Console, comparison: Comparison) -> None:
    """What `compare` found: means of each run, differences of each pair, and how they were made."""
    rows: list[list[str]] = []
    for row in comparison.rows:
        rows.append([f"{row.label}: {SHOWN[row.metric].title}"])
        for name, run in zip(comparison.runs, row.runs, strict=True):
            rows.append([f"  {name}", with_interval(run, row.metric), comparison_report.cases(run)])
    for label, title, *cells in comparison_report.pooled_rows(comparison):
        rows.append([f"{label}: {title}"])
        rows += [[f"  {name}", cell, ""] for name, cell in zip(comparison.runs, cells, strict=True)]
    _print(console, "Means", ["", "mean [95 % CI]", "cases"], rows)
    rows = []
    for pair in dict.fromkeys((d.second, d.first) for d in comparison.differences):
        rows.append([" - ".join(pair)])
        for one in comparison.differences:
            if (one.second, one.first) == pair:
                rows.append([f"  {one.label}: {SHOWN[one.metric].title}", *comparison_report.difference_cells(one)])
    _print(console, "Differences", ["", "difference [95 % CI]", "p", "p (Holm)", "n", "miss."], rows)
    for note in comparison_report.notes(comparison):
        console.print(escape(note), highlight=False)


def _print(
    console: Console, title: str, header: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int = 1
) -> None:
    """A table; a row of a single cell is a heading over those that follow, and is never cut."""
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", padding=(0, 1, 0, 0), pad_edge=False)
    for number, name in enumerate(header):
        table.add_column(
            name, justify="left" if number < text_columns else "right", no_wrap=number > 0, overflow="fold"
        )
    for cells in rows:
        bold = len(cells) == 1
        table.add_row(*(f"[bold]{escape(cell)}[/bold]" if bold else escape(cell) for cell in cells))
    console.print(table)


def show_trust(console: Console, fitted: Fitted) -> None:
    """How far what is expected of results can be trusted, and what it goes by."""
    header = ["left out", "cases", "failures", "AUC", "Dice error", "inside"]
    rows = []
    for title, trust in (("patients", fitted.new_patients), ("alterations", fitted.new_alterations)):
        if trust is not None:
            auc = "-" if trust.auc is None else f"{trust.auc:.3f}"
            counts = [str(trust.cases), str(trust.failures)]
            rows.append([title, *counts, auc, f"{trust.error:.3f}", f"{100 * trust.covered:.0f} %"])
    _print(
        console,
        "Expected Dice of what it was not fitted to; AUC for a Dice below 0.9; inside the interval of 90 %",
        header,
        rows,
    )
    weights = ", ".join(f"{name} {weight:g}" for name, weight in fitted.calibration.weights.items())
    console.print(f"Goes by: {weights}.", highlight=False)
