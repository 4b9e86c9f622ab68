"""`liverseg models`: what there is, fetching, adding, checking and removing it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from LiverSegLib import stopping
from LiverSegLib.cli import screen
from LiverSegLib.cli.request_options import at_home
from LiverSegLib.cli.screen import plain, show_note
from LiverSegLib.errors import LicenseNotAcceptedError

if TYPE_CHECKING:
    from LiverSegLib.models.catalogue import Entry
    from LiverSegLib.models.installed import Listed, ModelStore
    from LiverSegLib.models.transfer import Transfer, TransferCallback

app = typer.Typer(no_args_is_help=True, help="Models of others and our own: see, fetch, add, check and remove them.")

Name = Annotated[str, typer.Argument(metavar="ID", help="As `liverseg models list` has it.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]
Accept = Annotated[bool, typer.Option(help="I have read the license and accept it; for scripts.")]


def _store() -> ModelStore:
    from LiverSegLib.models.installed import ModelStore

    return ModelStore()


@app.command("list")
def list_models(
    as_json: AsJson = False,
    markdown: Annotated[bool, typer.Option(help="As a table for a page; the catalogue alone.")] = False,
) -> None:
    """Tell which models there are, and which of them are installed."""
    from LiverSegLib.models.catalogue_table import markdown_table, metric_text, targets_text

    store = _store()
    listed, problems = store.entries(), store.catalogue().problems
    if as_json:
        typer.echo(json.dumps([_as_data(one) for one in listed], indent=2))
        return
    if markdown:
        typer.echo(markdown_table(one.entry for one in listed), nl=False)
        return
    table = Table()
    for title in ("Id", "What", "Images", "Segments", "Published result", "Size", "State"):
        table.add_column(title, overflow="fold")  # an id that is cut cannot be typed
    for one in listed:
        entry = one.entry
        cells = (entry.id, entry.title, entry.about.modality, targets_text(entry), metric_text(entry))
        table.add_row(*(plain(cell) for cell in (*cells, _size(one), one.state)))
    screen.console().print(table)
    for problem in problems:
        show_note(problem)


@app.command()
def show(name: Name, as_json: AsJson = False) -> None:
    """Tell all that is known of a model: its license, data, results and needs."""
    store = _store()
    listed = store.find(name)
    if as_json:
        typer.echo(json.dumps(_as_data(listed), indent=2))
        return
    table = Table(title=plain(listed.entry.title, style="table.title"), show_header=False)
    for key, value in _rows(store, listed):
        if value:
            table.add_row(key, plain(value))
    screen.console().print(table)


@app.command()
def get(
    name: Name,
    accept_license: Accept = False,
    changed: Annotated[bool, typer.Option(help="Take the file although it was replaced since the first time.")] = False,
) -> None:
    """Fetch a model, and those that it works with; nothing is run with it yet."""
    store = _store()
    entry = store.find(name).entry
    if store.find(name).path is not None:
        show_note(f"{entry.title} is installed already, in {store.path_of(name)}.")
        return
    for one in store.needed(entry):
        _ask(store, one, accept_license)
    with _shown() as progress:
        path = store.install(
            entry, accept_license=True, allow_change=changed, progress=progress, should_stop=stopping.requested
        )
    _say_installed(name, path)


@app.command()
def add(
    path: Annotated[Path, typer.Argument(help="A zip or a folder, as it was downloaded or trained.")],
    name: Annotated[
        str | None, typer.Option(metavar="ID", help="What it is called; an id of the catalogue, too.")
    ] = None,
    accept_license: Accept = False,
) -> None:
    """Install a model from a file, on machines without a network; or one of your own."""
    at_home(str(path))
    store = _store()

    def install(accepted: bool) -> Listed:
        with _shown() as progress:
            return store.add(
                path, name=name, accept_license=accepted, progress=progress, should_stop=stopping.requested
            )

    try:
        listed = install(accept_license)
    except LicenseNotAcceptedError as error:
        _ask(store, store.find(error.name).entry, accept_license)
        listed = install(True)
    assert listed.path is not None
    _say_installed(listed.entry.id, listed.path)


@app.command()
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="All that are here, if none is given.")
    ] = None,
) -> None:
    """Compare every file of a model with its checksum."""
    store = _store()
    for name in names or [one.entry.id for one in store.entries() if one.path is not None or one.state == "damaged"]:
        with _shown() as progress:
            store.verify(name, progress=progress, should_stop=stopping.requested)
        screen.console().print(plain(f"{name}: every file is as it was installed."))


@app.command()
def remove(name: Name) -> None:
    """Take an installed model off the disk."""
    _store().remove(name)
    screen.console().print(plain(f"{name} was removed."))


def _ask(store: ModelStore, entry: Entry, accepted: bool) -> None:
    """Show a license once and have it accepted; without a person to ask, an error says how."""
    if accepted or store.find(entry.id).accepted:
        return
    console = screen.console()
    console.print(plain(f"{entry.title} is under this license:"))
    for line in entry.license_text.splitlines():
        console.print(plain(f"  {line}"), soft_wrap=True)
    if entry.non_commercial:
        console.print(plain("  It may not be used commercially."))
    if not _is_person() or not typer.confirm("Do you accept it?"):
        raise LicenseNotAcceptedError.of(entry.id, entry.title, entry.about.license)


def _is_person() -> bool:
    """Whether somebody can answer a question."""
    return sys.stdin is not None and sys.stdin.isatty()


@contextmanager
def _shown() -> Iterator[TransferCallback]:
    """A bar on the screen; gives what moves it."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn())
    with Progress(*columns, console=screen.console(), transient=True) as bar:
        task = bar.add_task("", total=None)

        def tell(step: Transfer) -> None:
            bar.update(task, description=step.text, completed=step.done, total=step.total or None)

        yield tell


def _say_installed(name: str, path: Path) -> None:
    screen.console().print(plain(f"{name} is installed in {path}; run it with: liverseg segment IMAGE --model {name}"))


def _size(listed: Listed) -> str:
    from LiverSegLib.models.transfer import size_text

    return size_text(listed.bytes) if listed.bytes else "not known"


def _rows(store: ModelStore, listed: Listed) -> Iterator[tuple[str, str]]:
    from LiverSegLib.models.family import FAMILIES

    entry, about = listed.entry, listed.entry.about
    needed = [one.title for one in store.needed(entry) if one is not entry]
    yield "Id", entry.id
    yield "State", f"{listed.state}, {_size(listed)}"
    yield "Segments", ", ".join(about.targets)
    yield "Images", about.modality
    yield "What matters", entry.note
    yield "Made with", FAMILIES[entry.family].title
    yield "Version", about.version
    yield "Resolution", entry.resolution
    yield "Published", "; ".join(f"{one.name} {one.value:g} ({one.source})" for one in entry.metrics) or "none found"
    yield "Measured", "; ".join(f"{one.device} {one.seconds:.0f} s ({one.source})" for one in entry.timings)
    yield "GPU memory", f"{entry.memory_gb:g} GB" if entry.memory_gb else ""
    yield "Training data", about.data_source
    yield "Intended use", about.intended_use
    yield "License", entry.license_text.replace("\n", "; ")
    yield "Looks inside", about.guide.model if about.guide else ""
    yield "Is fetched, too", ", ".join(needed)
    yield "Home page", entry.homepage
    yield "Address", entry.url
    yield "Checksum", entry.checksum
    yield "Folder", str(listed.path or "")


def _as_data(listed: Listed) -> dict[str, Any]:
    """A model for programs: what the catalogue has, with its state."""
    from LiverSegLib.models.sidecar import sidecar_entry

    rest = {key: value for key, value in asdict(listed.entry).items() if key != "about"}
    own = {"state": listed.state, "bytes": listed.bytes, "accepted": listed.accepted}
    return sidecar_entry(listed.entry.about) | rest | own | {"path": str(listed.path) if listed.path else None}
