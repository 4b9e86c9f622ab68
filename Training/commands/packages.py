"""`export` and `inflate`: packages out, and a 3D network from a 2D one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from Training.commands.shared import console


def export(
    runs: Annotated[list[Path], typer.Argument(help="Run folder; several become one package, their mean.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Package folder.")],
    results: Annotated[list[Path] | None, typer.Option(help="Folder of `evaluate` for the card; repeatable.")] = None,
    torch_file: Annotated[
        bool, typer.Option(help="Also write models/model.pt, for tools that cannot read safetensors; twice the size.")
    ] = True,
) -> None:
    """Write a run's best model as a package for LiverSeg and MONAI, or the mean of several runs."""
    from Training.packages.export import export as write

    write(runs, out, results=results or [], torch_file=torch_file)
    console.print(f"Package: {out}")


def inflate(
    source: Annotated[str, typer.Argument(help="2D UNet: package, built-in name or run folder.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Weights to write, .safetensors.")],
    recipe_out: Annotated[Path, typer.Option(help="Recipe to write, .yaml.")],
) -> None:
    """Turn a 2D U-Net into a 3D one that gives the same at first, to fine-tune with `train --init`."""
    from Training.packages.inflate import inflate as write

    write(source, out, recipe_out)
    console.print(f"Weights: {out}\nRecipe: {recipe_out}")


COMMANDS = (export, inflate)
