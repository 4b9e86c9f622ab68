"""`evaluate` and `compare`: the scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from Training.commands.shared import Changes, console

if TYPE_CHECKING:
    from Training.labelled import LabelledVolume, Unreadable
    from Training.scores import Scores

_MOST_ROWS = 40
_COLUMNS = ("dice", "nsd", "hd95_mm", "assd_mm", "volume_ml", "reference_ml")


def evaluate(
    cases: Annotated[Path, typer.Argument(help="Prepared folder, MSD folder, or YAML list of cases.")],
    model: Annotated[str | None, typer.Option(help="Package or built-in name.")] = None,
    data: Annotated[Path, typer.Option(help="Folder that a YAML list's paths are relative to.")] = Path(),
    split: Annotated[str, typer.Option(help="Of a prepared folder: val, test, train or all.")] = "val",
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Folder for scores, report and pictures.")] = None,
    alter: Annotated[bool, typer.Option(help="Also every alteration of the tail test.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    tolerance: Annotated[float, typer.Option(min=0, help="Of the normalised surface Dice, in mm.")] = 2.0,
    pictures_below: Annotated[float, typer.Option(help="Pictures only of cases with a Dice up to this.")] = 1.0,
    set_: Changes = None,
) -> None:
    """Segment labelled images with the engine that users run, and score them."""
    from LiverSegLib.engine.segmenter import Segmenter
    from Training.evaluate import evaluate as run
    from Training.labelled import load_cases

    segmenter = Segmenter(model, device)
    listed: Iterable[LabelledVolume | Unreadable] = load_cases(cases, data, split, set_)
    if alter:
        listed = _altered(listed)
    prepared = (cases / "index.json").is_file()
    title = f"{cases.stem}{f', {split}' if prepared else ''}{', altered' if alter else ''}"
    command = f"python -m Training evaluate {cases}"
    command += f" --split {split}" if prepared else " --data DATA" if cases.is_file() else ""
    command += "".join(f" --set {change}" for change in set_ or [])
    command += f"{f' --model {model}' if model else ''}{' --alter' if alter else ''}"
    shown = track(listed, "Evaluating", console=console)
    scores = run(shown, segmenter, out, title, command, pictures_below, tolerance)
    _show(scores)
    if out:
        console.print(f"Report: {escape(str(out / 'report.html'))}", soft_wrap=True)
    failed = [case for case in scores.cases if case.error]
    for case in failed:
        console.print(f"[red]Failed:[/red] {escape(case.case)}: {escape(case.error)}", soft_wrap=True, highlight=False)
    if failed:
        raise typer.Exit(1)


def _altered(cases: Iterable[LabelledVolume | Unreadable]) -> Iterator[LabelledVolume | Unreadable]:
    from Training.alter import altered
    from Training.labelled import Unreadable

    for case in cases:
        if isinstance(case, Unreadable):
            yield case
        elif case.reference is not None:
            yield from altered(case)


def _show(scores: Scores) -> None:
    from Training.scores import METRICS, SHOWN, rows_worst_first, shown, with_interval

    rows = list(rows_worst_first(scores))
    title = "Cases, worst first" + (f" ({_MOST_ROWS} of {len(rows)})" if len(rows) > _MOST_ROWS else "")
    table = Table(box=box.SIMPLE, title=title)
    table.add_column("case", overflow="fold", min_width=18)
    for name in ("label", *(METRICS[key].title for key in _COLUMNS), "seconds"):
        table.add_column(name)
    for case, row in rows[:_MOST_ROWS]:
        numbers = (shown(getattr(row, key), key) for key in _COLUMNS)
        table.add_row(escape(case.case), escape(row.label), *numbers, f"{case.seconds:.1f}")
    console.print(table)
    summary = Table("label", "metric", "mean (95 % CI)", "median", "min", "max", "n", box=box.SIMPLE, title="Summary")
    for one in scores.statistics:
        values = one.values
        ends = (shown(number, one.metric) for number in (values.median, values.minimum, values.maximum))
        mean = escape(with_interval(values, one.metric))
        summary.add_row(escape(one.label), SHOWN[one.metric].title, mean, *ends, str(values.n))
    if scores.statistics:
        console.print(summary)


def compare(
    folders: Annotated[list[Path], typer.Argument(help="Folders that evaluate wrote, of the same cases.")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Folder for table, plot and page.")] = None,
) -> None:
    """Put several evaluations side by side, with confidence intervals and paired tests."""
    from Training.compare import compare as run
    from Training.compare import write_comparison
    from Training.comparison_report import means_table, notes, tests_table

    comparison = run(folders)
    for title, (header, rows) in (("Means", means_table(comparison)), ("Differences", tests_table(comparison))):
        table = Table(*(escape(text) for text in header), box=box.SIMPLE, title=title)
        for cells in rows:
            table.add_row(*(escape(cell) for cell in cells))
        console.print(table)
    for note in notes(comparison):
        console.print(escape(note), soft_wrap=True, highlight=False)
    if out:
        write_comparison(out, comparison)
        console.print(f"Report: {escape(str(out / 'comparison.html'))}", soft_wrap=True)


def register(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    for command in (evaluate, compare):
        app.command()(command)
