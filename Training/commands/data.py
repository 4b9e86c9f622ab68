"""`phantom` and `prepare`: the data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from Training.commands.shared import Changes, RecipeArg, console

if TYPE_CHECKING:
    from Training.reports.data_report import Report

_SHOWN = 20


def phantom(
    folder: Annotated[Path, typer.Argument(help="Where to; an MSD-style data set is written.")],
    count: Annotated[int, typer.Option(min=1, help="Number of abdomens.")] = 10,
    seed: Annotated[int, typer.Option(help="Same seed, same abdomens.")] = 0,
    easy: Annotated[bool, typer.Option("--easy", help="Plain scans with lesions of 20 to 60 mm.")] = False,
) -> None:
    """Write a data set of procedural abdomens: imagesTr, labelsTr, dataset.json."""
    from Training.data.phantoms import write_dataset

    with Progress(console=console) as bar:
        task = bar.add_task("Making phantoms", total=count)
        written = write_dataset(
            folder, count, seed, easy=easy, progress=lambda done, _: bar.update(task, completed=done)
        )
    console.print(f"{count} phantoms: {written}")


def prepare(
    recipe: RecipeArg,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Prepared folder.")] = None,
    data: Annotated[Path, typer.Option(help="Folder that the recipe's paths are relative to.")] = Path(),
    check_only: Annotated[bool, typer.Option("--check-only", help="Report what is found and write nothing.")] = False,
    set_: Changes = None,
) -> None:
    """Check raw data, bring it onto the model's grid, split it by patient."""
    from Training.data.partial import partial_folder
    from Training.data.prepare import BadDataError, check
    from Training.data.prepare import prepare_and_report as run
    from Training.recipe import load_recipe

    if out is None and not check_only:
        raise typer.BadParameter("give the prepared folder with --out, or --check-only")
    loaded = load_recipe(recipe, set_)
    with Progress(
        TextColumn("Checking" if check_only else "Preparing"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
        console=console,
        transient=True,
    ) as bar:
        task = bar.add_task("", total=None)

        def progress(done: int, total: int, name: str) -> None:
            bar.update(task, completed=done, total=total, description=escape(name))

        try:
            report = check(loaded, data, progress) if check_only or not out else run(loaded, data, out, progress)[1]
        except BadDataError as error:
            report = error.report
    _show(report)
    if report.errors:
        if out and partial_folder(out).is_dir():
            console.print(
                f"What was converted waits in {partial_folder(out)}: once the data are mended, the same command goes "
                "on from there. Delete it to free the disk.",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
        raise typer.Exit(1)
    if out and not check_only:
        console.print(f"Prepared: {out} (report.md holds all of this)", highlight=False)


def _show(report: Report) -> None:
    """Counts, then what was found, errors first."""
    table = Table("source", "split", "patients", "images", "cases", "without label")
    for row in report.counts():
        table.add_row(*(escape(str(cell)) for cell in row.values()))
    if report.cases:
        console.print(table)
    colors = {"error": "red", "warning": "yellow", "note": "blue"}
    for level, color in colors.items():
        found = [finding for finding in report.findings if finding.level == level]
        for finding in found[:_SHOWN]:
            where = finding.file or finding.case
            place = f"{escape(where)}: " if where and where not in finding.message else ""
            console.print(
                f"[{color}]{level}[/{color}] {place}{escape(finding.message)}", highlight=False, soft_wrap=True
            )
        if len(found) > _SHOWN:
            console.print(f"[{color}]{level}[/{color}] and {len(found) - _SHOWN} more", highlight=False)
    for source, names in report.excluded.items():
        console.print(f"Left out of {source} by the recipe: {', '.join(names)}", markup=False, highlight=False)


def register(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    for command in (phantom, prepare):
        app.command()(command)
