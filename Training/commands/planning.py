"""`plan` and `sweep`: recipes made from recipes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from Training.commands.shared import Changes, RecipeArg, bar, console

if TYPE_CHECKING:
    from Training.planning.plan import Plan


def plan(
    recipe: RecipeArg,
    data: Annotated[Path, typer.Option(help="Prepared folder, or the folder that the recipe's paths are relative to.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Recipe file to write.")],
    memory_gb: Annotated[
        float | None, typer.Option(min=0.5, help="Memory for training. [default: this machine's GPU, or its free RAM]")
    ] = None,
    lowres: Annotated[
        bool,
        typer.Option(help="Also plan a coarse model that says where to look, if patches show less than a quarter."),
    ] = False,
    set_: Changes = None,
) -> None:
    """Fit voxel size, window, levels, patch and batch of a 3D recipe to the data and the memory (after nnU-Net)."""
    from Training.recipe import load_recipe
    from Training.recipe.yaml_text import write_recipe

    loaded = load_recipe(recipe, set_)
    # After the recipe: these import torch, which a wrong key need not wait for.
    from Training.planning.fingerprint import raw_cases
    from Training.planning.plan import make_plan, memory_at_hand

    precision = None
    if memory_gb is None:
        memory_gb, precision = memory_at_hand()
    with bar("Reading the cases") as show:
        cases = raw_cases(loaded, data, lambda done, total: show(done, total, ""))
        planned = make_plan(loaded, cases, memory_gb, precision, lowres=lowres)
    if planned.coarse is not None:
        write_coarse(planned, out)
    elif lowres:
        console.print("No coarse model is needed: a patch shows enough of the median case.")
    title = "Planned by `python -m Training plan` from the data's fingerprint; change what you know better."
    write_recipe(out, planned.recipe, title, planned.reasons)
    for section, reason in planned.reasons.items():
        console.print(f"[bold]{section}[/bold] {escape(reason)}", highlight=False)
    console.print(f"Recipe: {escape(str(out))}", highlight=False)


def write_coarse(planned: Plan, out: Path) -> None:
    """Write the coarse model's recipe beside the fine one's, which names its package as the guide."""
    from LiverSegLib.models.spec import MODEL_NAME
    from Training.recipe import RecipeError
    from Training.recipe.yaml_text import write_recipe

    assert planned.coarse is not None
    guide = f"{out.stem}_lowres"
    if not re.fullmatch(MODEL_NAME, guide):
        raise RecipeError(f"{guide} cannot be the name of a package; give -o a plain file name without spaces.")
    planned.recipe["inference"]["guide"] = {"model": guide}
    planned.reasons["inference"] += f" Its package and that of the coarse model, {guide}, lie beside each other."
    recipe = {**planned.coarse.recipe, "name": guide}
    title = f"The coarse model that says where {out.name} looks; export it as {guide}."
    write_recipe(out.with_name(f"{guide}.yaml"), recipe, title, planned.coarse.reasons)
    console.print(f"Recipe of the coarse model: {escape(str(out.with_name(f'{guide}.yaml')))}", highlight=False)


def sweep(
    recipe: RecipeArg,
    data: Annotated[Path, typer.Option(help="Prepared folder.")],
    run: Annotated[Path, typer.Option(help="Folder for all runs and the table.")],
    vary: Annotated[list[str], typer.Option(help="key=value,value,...; repeatable: every combination is run.")],
    workers: Annotated[int, typer.Option(min=0, help="Loader processes.")] = 2,
    accelerator: Annotated[str, typer.Option(help="auto, cpu, gpu or mps.")] = "auto",
    set_: Changes = None,
) -> None:
    """Train a recipe with several values of a key and compare; what is finished is not run again."""
    from Training.fit.callbacks import StoppedError
    from Training.fit.train import Hardware, train
    from Training.planning.sweep import Trial, run_sweep, trials

    planned = trials(recipe, vary, run, set_)
    hardware = Hardware(accelerator=accelerator, devices="1")

    def start(trial: Trial, resume: bool) -> None:
        console.print(f"[bold]{escape(trial.label)}[/bold]", highlight=False)
        train(trial.recipe, data, trial.run, resume=resume, workers=workers, hardware=hardware)

    try:
        outcomes = run_sweep(planned, run, start)
    except StoppedError as stopped:
        console.print("[yellow]Stopped; the same command goes on.[/yellow]")
        raise typer.Exit(130) from stopped
    table = Table("values", "best val. Dice", "at epoch", "train loss", "val. loss")
    for one in outcomes:
        numbers = (one.best_val_dice, one.best_epoch, one.train_loss, one.val_loss)
        table.add_row(escape(one.label), *("-" if n is None else f"{n:.4g}" for n in numbers))
    console.print(table)
    console.print(f"Table and curves: {escape(str(run))}/sweep.csv, sweep.png", highlight=False)


COMMANDS = (plan, sweep)
