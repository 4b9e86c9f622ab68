"""`phantom` and `prepare`: the data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from Training.commands.shared import Changes, RecipeArg, bar, console, note

if TYPE_CHECKING:
    from Training.data.report import Report

_SHOWN = 20


def phantom(
    folder: Annotated[Path, typer.Argument(help="Where to; an MSD-style data set is written.")],
    count: Annotated[int, typer.Option(min=1, help="Number of abdomens.")] = 10,
    seed: Annotated[int, typer.Option(help="Same seed, same abdomens.")] = 0,
    easy: Annotated[bool, typer.Option("--easy", help="Plain scans with lesions of 20 to 60 mm.")] = False,
) -> None:
    """Write a data set of procedural abdomens: imagesTr, labelsTr, dataset.json."""
    from Training.data.phantoms import write_dataset

    with bar("Making phantoms") as show:
        show(0, count, "")
        written = write_dataset(folder, count, seed, easy=easy, progress=lambda done, total: show(done, total, ""))
    console.print(f"{count} phantoms: {written}")


def prepare(
    recipe: RecipeArg,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Prepared folder.")] = None,
    data: Annotated[Path, typer.Option(help="Folder that the recipe's paths are relative to.")] = Path(),
    check_only: Annotated[bool, typer.Option("--check-only", help="Report what is found and write nothing.")] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; left out, as many as processors and memory allow.")
    ] = None,
    set_: Changes = None,
) -> None:
    """Check raw data, bring it onto the model's grid, split it by patient."""
    from Training.recipe import load_recipe

    if out is None and not check_only:
        raise typer.BadParameter("give the prepared folder with --out, or --check-only")
    loaded = load_recipe(recipe, set_)
    # After the recipe: these import torch, which a wrong key need not wait for.
    from Training.data.partial import partial_folder
    from Training.data.prepare import BadDataError, check
    from Training.data.prepare import prepare as run

    with bar("Checking" if check_only else "Preparing") as show:
        try:
            if check_only or not out:
                report = check(loaded, data, show, workers=workers)
            else:
                report = run(loaded, data, out, show, workers=workers, tell=note)
        except BadDataError as error:
            report = error.report
    _show(report)
    if report.errors:
        if out and partial_folder(out).is_dir():
            note(
                f"What was converted waits in {partial_folder(out)}: once the data are mended, the same command goes "
                "on from there. Delete it to free the disk."
            )
        raise typer.Exit(1)
    if out and not check_only:
        console.print(f"Prepared: {out} (report.md holds all of this)", highlight=False)


def _show(report: Report) -> None:
    """Counts, then what was found, errors first."""
    from Training.data.report import COUNTS

    table = Table(*COUNTS)
    for row in report.counts():
        table.add_row(*(escape(str(cell)) for cell in row.values()))
    if report.cases:
        console.print(table)
    for level, color in {"error": "red", "warning": "yellow"}.items():
        found = [finding for finding in report.findings if finding.level == level]
        lines = [finding.sentence for finding in found[:_SHOWN]]
        lines += [f"and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
        for line in lines:
            console.print(f"[{color}]{level}[/{color}] {escape(line)}", highlight=False, soft_wrap=True)
    for source, names in report.excluded.items():
        console.print(f"Left out of {source} by the recipe: {', '.join(names)}", markup=False, highlight=False)


COMMANDS = (phantom, prepare)
