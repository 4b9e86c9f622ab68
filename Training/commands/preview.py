"""`preview`: a look at the samples before any training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from Training.commands.shared import Changes, RecipeArg, console, note


def preview(
    recipe: RecipeArg,
    data: Annotated[Path, typer.Option(help="Prepared folder.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the pictures and the film.")],
    batches: Annotated[int, typer.Option(min=1, max=100, help="How many batches are drawn.")] = 2,
    case: Annotated[
        str, typer.Option(help="Case of the film, as index.json has it; else the one of most labels.")
    ] = "",
    mp4: Annotated[bool, typer.Option("--mp4", help="An MP4 instead of a GIF; needs ffmpeg.")] = False,
    workers: Annotated[int, typer.Option(min=0, help="Loader processes.")] = 2,
    set_: Changes = None,
) -> None:
    """Draw what training would see: augmented batches, samples before and after, a film through a case."""
    from Training.recipe import load_recipe

    loaded = load_recipe(recipe, set_)
    # After the recipe: Lightning takes seconds to import, which a wrong key need not wait for.
    from Training.fit.look import look

    with console.status("Drawing"):
        ending = ".mp4" if mp4 else ".gif"
        found = look(loaded, data, out, batches=batches, case=case, ending=ending, workers=workers)
    for path in found.files:
        note(str(path))
    if found.why_no_film:
        note(found.why_no_film)


COMMANDS = (preview,)
