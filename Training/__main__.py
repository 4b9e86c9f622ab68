"""`python -m Training`: from data to a model package."""

from __future__ import annotations

import logging
import sys

import typer

from LiverSegLib import freed_memory
from LiverSegLib.cli.screen import show_error
from LiverSegLib.errors import LiverSegError
from LiverSegLib.log import log_file, start_log
from Training.commands import corrections, data, evaluation, folds, packages, planning, preview, reports, training

log = logging.getLogger("Training")
app = typer.Typer(
    help="Train segmentation models, evaluate them, and export them as packages.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for part in (data, planning, preview, training, folds, corrections, evaluation, reports, packages):
    for command in part.COMMANDS:
        app.command()(command)


def main() -> None:
    """Entry point: an error is one sentence on the screen and a traceback in the log.

    Exit status: 0, 1 (an error with a sentence, or Ctrl-C), 2 (wrong arguments, or a defect).
    """
    start_log()
    freed_memory.keep()
    try:
        app()
    except LiverSegError as error:
        log.error("%s", error, exc_info=error)
        show_error(error)
        sys.exit(1)
    except Exception as error:
        log.exception("unexpected error")
        show_error(f"Something went wrong ({type(error).__name__}: {error}); details are in {log_file()}.")
        sys.exit(2)


if __name__ == "__main__":
    main()
