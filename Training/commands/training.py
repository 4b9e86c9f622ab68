"""`train`: the runs."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from Training.commands.shared import Changes, RecipeArg, console


def train(
    recipe: RecipeArg,
    data: Annotated[Path, typer.Option(help="Prepared folder.")],
    run: Annotated[Path, typer.Option(help="Run folder: checkpoints, history, logs, recipe.")],
    resume: Annotated[bool, typer.Option(help="Go on from the run's last state.")] = False,
    init: Annotated[
        Path | None, typer.Option(help="Weights to start from (fine-tuning): .ckpt, .safetensors or a package.")
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Loader processes.")] = 2,
    accelerator: Annotated[str, typer.Option(help="auto, cpu, gpu or mps.")] = "auto",
    devices: Annotated[str, typer.Option(help="How many devices on each node, or auto.")] = "auto",
    nodes: Annotated[int, typer.Option(min=1, help="Nodes, under torchrun or SLURM.")] = 1,
    strategy: Annotated[
        str, typer.Option(help="auto, ddp, or ddp_find_unused_parameters_true for networks with idle parts.")
    ] = "auto",
    code: Annotated[
        Path | None,
        typer.Option(help="A Python file of your own with a network, loss or transform. It is run: know what it does."),
    ] = None,
    logger: Annotated[
        list[str] | None, typer.Option(help="Where numbers go, too: mlflow, wandb or tensorboard; repeatable.")
    ] = None,
    set_: Changes = None,
) -> None:
    """Train; the best checkpoint is the one of the highest validation Dice. Ctrl-C saves the state."""
    from Training.recipe import load_recipe

    loaded = load_recipe(recipe, set_)
    # After the recipe: Lightning takes seconds to import, which a wrong key need not wait for.
    from Training.fit.callbacks import StoppedError
    from Training.fit.run_folder import RunFolder
    from Training.fit.train import Hardware, is_first_process
    from Training.fit.train import train as start

    hardware = Hardware(accelerator=accelerator, devices=devices, nodes=nodes, strategy=strategy)
    try:
        begin = partial(start, loaded, data, run, resume=resume, init=init, loggers=logger or (), code=code)
        best = begin(workers=workers, hardware=hardware)
    except StoppedError as stopped:
        if is_first_process():
            console.print(f"[yellow]{escape(str(stopped))}[/yellow]", soft_wrap=True)
        raise typer.Exit(130) from stopped
    if is_first_process():
        console.print(f"Best checkpoint: {escape(str(best))}", soft_wrap=True)
        epochs, seconds = RunFolder(run).time_taken()
        took = timedelta(seconds=round(seconds))
        console.print(f"Total time: {took} for {epochs} epochs, with their validations", highlight=False)


COMMANDS = (train,)
