"""What several commands share: the screen, the bar and the recipe arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

console = Console()
RecipeArg = Annotated[str, typer.Argument(help="Recipe: a YAML file or a name in Training/configs.")]
Changes = Annotated[
    list[str] | None, typer.Option("--set", help="key=value, for example optimization.max_epochs=3; repeatable.")
]
Show = Callable[[float, int | None, str], None]


@contextmanager
def bar(what: str) -> Iterator[Show]:
    """A bar that goes away: give it how many are done, how many there are (None: not known), and what goes on."""
    columns = BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}")
    with Progress(TextColumn(what), *columns, console=console, transient=True) as shown:
        task = shown.add_task("", total=None)
        yield lambda done, total, now: shown.update(task, completed=done, total=total, description=escape(now))


def note(text: str) -> None:
    """A line as it is: no markup, no colors, no line breaks of ours."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
