"""What several commands share: the screen and the recipe arguments."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

console = Console()
RecipeArg = Annotated[str, typer.Argument(help="Recipe: a YAML file or a name in Training/configs.")]
Changes = Annotated[
    list[str] | None, typer.Option("--set", help="key=value, for example optimization.max_epochs=3; repeatable.")
]
