"""`python -m Training phantom | prepare | train | evaluate | export`."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from LiverSegLib.errors import LiverSegError

app = typer.Typer(
    help="Train liver models, evaluate them, and export them as packages.",
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
)  # fmt: skip
console = Console()
log = logging.getLogger("Training")

RecipeArg = Annotated[str, typer.Argument(help="Recipe: a YAML file or a name in Training/configs.")]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", help="key=value, for example optimization.max_epochs=3; repeatable."),
]


@app.command()
def phantom(
    folder: Annotated[Path, typer.Argument(help="Where to; an MSD-style data set is written.")],
    count: Annotated[int, typer.Option(min=1, help="Number of abdomens.")] = 10,
    seed: Annotated[int, typer.Option(help="Same seed, same abdomens.")] = 0,
) -> None:
    """Write a data set of procedural abdomens: imagesTr, labelsTr, dataset.json."""
    from rich.progress import Progress

    from Training.phantom import write_dataset

    with Progress(console=console) as bar:
        task = bar.add_task("Making phantoms", total=count)
        written = write_dataset(folder, count, seed, progress=lambda done, _: bar.update(task, completed=done))
    console.print(f"{count} phantoms: {written}")


@app.command()
def prepare(
    recipe: RecipeArg,
    out: Annotated[Path, typer.Option("-o", "--out", help="Prepared folder.")],
    data: Annotated[Path, typer.Option(help="Folder that the recipe's paths are relative to.")] = Path(),
    set_: Changes = None,
) -> None:
    """Check raw data, bring it onto the model's grid, split it by patient."""
    from Training.prepare import prepare as run
    from Training.recipe import load_recipe

    loaded = load_recipe(recipe, set_)
    with console.status("Preparing") as status:
        cases = run(loaded, data, out, lambda name, count: status.update(f"{name}: {count} cases"))
    table = Table("source", "split", "cases", "patients", "without label")
    for source in loaded.sources:
        for split in ("train", "val"):
            mine = [c for c in cases if c.source == source.name and c.split == split]
            empty = sum(c.foreground == 0 for c in mine)
            table.add_row(source.name, split, str(len(mine)), str(len({c.patient for c in mine})), str(empty))
    console.print(table)


@app.command()
def train(
    recipe: RecipeArg,
    data: Annotated[Path, typer.Option(help="Prepared folder.")],
    run: Annotated[Path, typer.Option(help="Run folder: checkpoints, logs, recipe.")],
    resume: Annotated[bool, typer.Option(help="Go on from the run's last checkpoint.")] = False,
    init: Annotated[Path | None, typer.Option(help="Checkpoint whose weights to start from (fine-tuning).")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Loader processes.")] = 2,
    accelerator: Annotated[str, typer.Option(help="auto, cpu, gpu or mps.")] = "auto",
    set_: Changes = None,
) -> None:
    """Train; the best checkpoint is the one of the highest validation Dice."""
    from Training.recipe import load_recipe
    from Training.train import train as start

    loaded = load_recipe(recipe, set_)
    best = start(loaded, data, run, resume=resume, init=init, workers=workers, accelerator=accelerator)
    console.print(f"Best checkpoint: {best}")


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Package folder.")],
    results: Annotated[list[Path] | None, typer.Option(help="Folder of `evaluate` for the card; repeatable.")] = None,
) -> None:
    """Write a run's best model as a package for LiverSeg and MONAI."""
    from Training.export import export as write

    write(run, out, results=results or [])
    console.print(f"Package: {out}")


@app.command()
def evaluate(
    cases: Annotated[Path, typer.Argument(help="YAML list of cases, or an MSD folder.")],
    model: Annotated[str | None, typer.Option(help="Package or built-in name.")] = None,
    data: Annotated[Path, typer.Option(help="Folder that the list's paths are relative to.")] = Path(),
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Folder for scores and pictures.")] = None,
    alter: Annotated[bool, typer.Option(help="Also every alteration of the tail test.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    pictures_below: Annotated[float, typer.Option(help="Pictures only of cases with a Dice up to this.")] = 1.0,
) -> None:
    """Segment labelled volumes with the engine that users run, and score them."""
    from LiverSegLib.engine.segmenter import Segmenter
    from Training import evaluate as ev
    from Training.alter import altered

    segmenter = Segmenter(model, device)
    listed = ev.load_cases(cases, data)
    if alter:
        listed = (other for case in listed if case.reference is not None for other in altered(case))
    title = f"{cases.stem}{', altered' if alter else ''}"
    command = f"python -m Training evaluate {cases}{' --alter' if alter else ''} --data DATA"
    shown = track(listed, "Evaluating", console=console)
    scores = ev.evaluate(shown, segmenter, out, title, command, pictures_below)
    table = Table("case", "Dice", "volume (mL)", "reference (mL)", "seconds")
    for s in scores:
        numbers = ("-" if v is None else f"{v:.4f}" for v in (s.dice,))
        reference = "-" if s.reference_ml is None else f"{s.reference_ml:.0f}"
        table.add_row(escape(s.case), *numbers, f"{s.volume_ml:.0f}", reference, f"{s.seconds:.1f}")
    console.print(table)
    console.print(", ".join(f"{key} {value:.4g}" for key, value in ev.summary(scores).items()))


def main() -> None:
    """Entry point: errors that a person can mend are one sentence."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        app()
    except LiverSegError as error:
        Console(stderr=True).print(f"[red]Error:[/red] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
