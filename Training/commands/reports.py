"""`predict`, `report` and `system`: pictures and pages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from LiverSegLib.errors import LiverSegError
from Training.commands.shared import Changes, bar, console


def predict(
    model: Annotated[str, typer.Argument(help="Package folder, zip or built-in name.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for label maps, pictures and summary.csv.")],
    inputs: Annotated[list[Path] | None, typer.Argument(help="Images, DICOM series, or folders of them.")] = None,
    channel: Annotated[
        list[Path] | None,
        typer.Option(help="For a model of several images: the next channel of the one input, on its grid; repeatable."),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Instead of images: a prepared folder.")] = None,
    split: Annotated[str, typer.Option(help="Of the prepared folder: val, test, train or all.")] = "val",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    within: Annotated[str | None, typer.Option(help="Package of an organ; what lies outside it is removed.")] = None,
    margin: Annotated[float, typer.Option(min=0, help="Millimeters around the organ that still count.")] = 0.0,
    slices: Annotated[bool, typer.Option("--slices", help="Each DICOM file is a picture of its own.")] = False,
    animate: Annotated[bool, typer.Option("--animate", help="Also a GIF through each volume.")] = False,
    set_: Changes = None,
) -> None:
    """Segment images of any kind, or a part of a prepared folder; single slices become pictures with their segments in
    color."""
    from LiverSegLib.engine.segmenter import Segmenter
    from Training.evaluation.predict import SUMMARY
    from Training.evaluation.predict import predict as run
    from Training.evaluation.predict_split import predict_split

    _check_predicted(inputs, data, within, channel, slices=slices)
    with console.status("Loading the model"):
        segmenter = Segmenter(model, device)
        organ = None if within is None else Segmenter(within, device)
    with bar("Segmenting") as show:
        if data is not None:
            done = predict_split(segmenter, data, split, out, changes=set_, animate=animate, progress=show)
        else:
            done = run(
                segmenter,
                inputs or [],
                out,
                within=organ,
                margin_mm=margin,
                slices=slices,
                further=channel or [],
                animate=animate,
                progress=show,
            )
    failed = [one for one in done if one.result is None]
    for one in failed:
        reason = f"{one.case.name}: {one.error}"
        console.print(f"[red]failed[/red] {escape(reason)}", highlight=False, soft_wrap=True)
    console.print(f"{len(done) - len(failed)} of {len(done)} segmented: {out / SUMMARY}", highlight=False)
    if failed:
        raise LiverSegError(f"{len(failed)} of {len(done)} inputs could not be segmented; see the messages above.")


def _check_predicted(
    inputs: list[Path] | None, data: Path | None, within: str | None, channel: list[Path] | None, *, slices: bool
) -> None:
    if bool(inputs) == (data is not None):
        raise typer.BadParameter("name images or folders, or a prepared folder with --data")
    if data is not None and (within is not None or slices):
        raise typer.BadParameter("--within and --slices are for images, not for --data")
    if channel and (data is not None or len(inputs or []) > 1):
        raise typer.BadParameter("--channel belongs to one input; give one at a time")


def report(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The .html file, or a folder for report.html.")],
    results: Annotated[list[Path] | None, typer.Option(help="Folder of `evaluate`; repeatable.")] = None,
    data: Annotated[Path | None, typer.Option(help="Prepared folder, for its data report.")] = None,
) -> None:
    """Write one page about a run: curves, results, data, recipe, network, machine."""
    from Training.reports.run_report import report as write

    console.print(f"Report: {write(run, out, results=results or [], data=data)}", highlight=False)


def system() -> None:
    """Tell what this machine offers for training: processor, memory, GPUs, versions."""
    from Training.fit.system import system_report, system_rows

    table = Table(show_header=False)
    for name, value in system_rows(system_report()):
        table.add_row(escape(name), escape(value))
    console.print(table)


COMMANDS = (predict, report, system)
