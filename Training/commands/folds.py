"""`folds`: cross-validation in one command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from Training.commands.shared import Changes, RecipeArg, bar, console

if TYPE_CHECKING:
    from Training.evaluation.cases import LabeledVolume, Unreadable
    from Training.evaluation.scores import Scores
    from Training.folds.cross_validation import Fold


def folds(
    recipe: RecipeArg,
    data: Annotated[Path, typer.Option(help="Prepared folder.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the folds' runs, packages and scores.")],
    folds: Annotated[
        int | None, typer.Option(min=2, help="How many. [default: the recipe's split.folds, or else 5]")
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Loader processes.")] = 2,
    accelerator: Annotated[str, typer.Option(help="To train on: auto, cpu, gpu or mps.")] = "auto",
    device: Annotated[str, typer.Option(help="To evaluate on: auto, cpu, cuda, cuda:N or mps.")] = "auto",
    tolerance: Annotated[float, typer.Option(min=0, help="Of the normalized surface Dice, in mm.")] = 2.0,
    set_: Changes = None,
) -> None:
    """Train every fold, score each on its own validation cases, and sum all patients up; what is done is kept."""
    from Training.commands.score_screen import show_scores
    from Training.fit.callbacks import StoppedError
    from Training.fit.train import Hardware, train
    from Training.folds.cross_validation import folds_of, run_folds, write_summary
    from Training.reports.evaluation_report import REPORT
    from Training.reports.folds_report import write_folds_report

    planned = folds_of(recipe, set_ or [], data, out, folds)
    hardware = Hardware(accelerator=accelerator, devices="1")
    try:
        scores = run_folds(
            planned,
            lambda fold, resume: train(
                fold.recipe, data, fold.place, resume=resume, workers=workers, hardware=hardware
            ),
            lambda fold: _score(fold, data, device, tolerance),
            lambda fold: console.print(f"[bold]Fold {fold.number} of {len(planned)}[/bold]", highlight=False),
        )
    except StoppedError as stopped:
        console.print("[yellow]Stopped; the same command goes on.[/yellow]")
        raise typer.Exit(130) from stopped
    changes = "".join(f" --set {change}" for change in set_ or [])
    command = f"python -m Training folds {recipe} --data {data} -o {out} --folds {len(planned)}{changes}"
    folder, whole = write_summary(out, planned, scores, command)
    write_folds_report(folder, whole, scores)
    show_scores(console, whole)
    console.print(f"Report: {escape(str(folder / REPORT))}", soft_wrap=True)


def _score(fold: Fold, data: Path, device: str, tolerance: float) -> Scores:
    """Pack a fold's best checkpoint, and evaluate it on the cases that chose it."""
    from LiverSegLib.engine.segmenter import Segmenter
    from Training.evaluation.cases import count_cases, load_cases
    from Training.evaluation.evaluate import evaluate
    from Training.folds.cross_validation import split_of
    from Training.packages.export import export
    from Training.reports.evaluation_report import write_report

    export(fold.place, fold.package)
    split = split_of(fold.recipe, fold.recipe.split.folds or 1, fold.number)
    changes = [split, f"seed={fold.recipe.seed}"]
    total = count_cases(data, "val", changes)
    with bar(f"Scoring fold {fold.number}") as show:

        def tracked() -> Iterator[LabeledVolume | Unreadable]:
            for done, case in enumerate(load_cases(data, split="val", changes=changes)):
                show(done, total, case.name)
                yield case

        return evaluate(
            tracked(),
            Segmenter(fold.package, device),
            fold.scores,
            title=f"Fold {fold.number}, its validation cases",
            command=f"python -m Training evaluate {data} --model {fold.package} --set '{split}' --set {changes[1]}",
            tolerance_mm=tolerance,
            report=write_report,
        )


COMMANDS = (folds,)
