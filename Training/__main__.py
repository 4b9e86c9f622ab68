"""`python -m Training`: from data to a model package."""

from __future__ import annotations

import logging
import sys

import typer
from rich.console import Console
from rich.markup import escape

from LiverSegLib.errors import LiverSegError
from Training.commands import data, evaluation, packages, planning, reports, training

app = typer.Typer(
    help="Train segmentation models, evaluate them, and export them as packages.",
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
)  # fmt: skip
for part in (data, planning, training, evaluation, reports, packages):
    part.register(app)


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
