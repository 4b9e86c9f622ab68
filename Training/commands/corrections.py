"""`finetune`: a package learns from corrected cases."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from Training.commands.shared import Changes, bar, console, note

if TYPE_CHECKING:
    from Training.corrections.finetune import Learned


def finetune(
    cases: Annotated[Path, typer.Option(help="Corrected cases: imagesTr, labelsTr, dataset.json.")],
    run: Annotated[Path, typer.Option(help="Run folder; where it was interrupted, the same command goes on.")],
    from_: Annotated[
        str | None, typer.Option("--from", help="Package or built-in name to start from. [default: the built-in model]")
    ] = None,
    replay: Annotated[
        Path | None, typer.Option(help="Prepared folder of older data, shown again so that it is not forgotten.")
    ] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Package folder to write.")] = None,
    looks: Annotated[int, typer.Option(min=1, help="Looks at the held-back cases, at most.")] = 12,
    may_lose: Annotated[
        float, typer.Option(min=0, max=1, help="Dice that held-back cases may lose against the start.")
    ] = 0.0,
    share: Annotated[float, typer.Option(min=0.05, max=0.95, help="Of corrected samples, beside replayed ones.")] = 0.5,
    workers: Annotated[int, typer.Option(min=0, help="Loader processes.")] = 2,
    accelerator: Annotated[str, typer.Option(help="auto, cpu, gpu or mps.")] = "auto",
    set_: Changes = None,
) -> None:
    """Teach a package with corrected cases; held-back cases decide what is kept, and when it ends."""
    from Training.corrections.finetune import Lesson
    from Training.corrections.finetune import finetune as start
    from Training.corrections.looks import Rule
    from Training.corrections.package import lost_partners
    from Training.fit.callbacks import StoppedError
    from Training.fit.train import Hardware

    lesson = Lesson(
        start=from_,
        cases=cases,
        run=run,
        replay=replay,
        looks=looks,
        share=share,
        rule=Rule(may_lose=may_lose),
        changes=tuple(set_ or ()),
    )
    hardware = Hardware(accelerator=accelerator, devices="1")
    try:
        with bar("Preparing") as show:
            learned = start(lesson, out, workers=workers, hardware=hardware, progress=show)
    except StoppedError as stopped:
        console.print("[yellow]Stopped; the same command goes on.[/yellow]")
        raise typer.Exit(130) from stopped
    _show(learned)
    if out is not None:
        console.print(f"Package: {escape(str(out))}", soft_wrap=True)
        for name in lost_partners(out):
            note(f"It works with {name}, which was not found from there; put that package's folder beside it.")


def _show(learned: Learned) -> None:
    """A row a look: the mean Dice of each label of each group, and what is kept."""
    start = learned.looks[0]
    columns = [(group, label) for group, labels in start.dice.items() for label in labels]
    table = Table("look", *(f"{group}: {label}" for group, label in columns), "")
    for look in learned.looks:
        cells = [_cell(look.dice[group].get(label)) for group, label in columns]
        mark = "start" if look is start else ""
        table.add_row(str(look.number), *cells, "kept" if look.number == learned.kept.number else mark)
    console.print(table)
    if learned.kept.number == 0:
        console.print("No look was better on the held-back cases without harm; the start is kept.")
    else:
        console.print(f"Kept: look {learned.kept.number} of {learned.looks[-1].number}.")


def _cell(dice: float | None) -> str:
    return "-" if dice is None else f"{dice:.3f}"


COMMANDS = (finetune,)
