"""The commands of `liverseg`: `segment`, `info` and `doctor`; `models` has a file of its own."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from LiverSegLib import __version__, stopping
from LiverSegLib.cli import batch_command, compare_command, models, screen
from LiverSegLib.cli.request_options import at_home, request_from
from LiverSegLib.cli.screen import plain, show_error, show_note
from LiverSegLib.errors import LiverSegError
from LiverSegLib.log import hide

if TYPE_CHECKING:
    from LiverSegLib.cli.output_plan import Case
    from LiverSegLib.cli.way import Run
    from LiverSegLib.engine.progress import Progress as Step
    from LiverSegLib.volume import Result

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(models.app, name="models")
app.command()(batch_command.batch)
app.command()(compare_command.compare)
log = logging.getLogger("LiverSegLib")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"LiverSeg {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Tell the version.")
    ] = False,
) -> None:
    """Liver segmentation of CT volumes. Research software, not for clinical use."""


Inputs = Annotated[list[Path], typer.Argument(help="NIfTI, NRRD or MHA files, DICOM series folders, or pictures.")]
Out = Annotated[
    Path | None,
    typer.Option(
        "-o", "--out", help="Folder, or one .nii.gz or .seg.nrrd file. [default: a folder of the input's name here]"
    ),
]
Model = Annotated[str | None, typer.Option(help="Package folder, zip, or id of a model.")]
Roi = Annotated[
    str | None,
    typer.Option(
        metavar="BOX",
        help="Only this box: xmin,xmax,ymin,ymax,zmin,zmax in RAS mm, or a ROI that Slicer saved (.mrk.json).",
    ),
]
Targets = Annotated[
    str | None,
    typer.Option(help="Only these labels of the model, for example liver,tumor; all for every label that it has."),
]
Within = Annotated[
    str | None,
    typer.Option(
        help="Package of an organ, or a label map on the input's grid; what --model finds outside it is removed."
    ),
]


@app.command()
def segment(
    inputs: Inputs,
    out: Out = None,
    model: Model = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    roi: Roi = None,
    targets: Targets = None,
    overlay: Annotated[bool, typer.Option(help="Draw a picture of each case.")] = True,
    postprocess: Annotated[bool, typer.Option(help="Largest part, holes, lesions only inside their organ.")] = True,
    within: Within = None,
    margin: Annotated[float, typer.Option(min=0, help="Millimeters around the organ that still count.")] = 0.0,
) -> None:
    """Segment volumes; write label map, Slicer segmentation, measurements and a picture of each."""
    from LiverSegLib.cli.batch import run_batch
    from LiverSegLib.cli.outputs import is_single_file
    from LiverSegLib.cli.way import way_of

    if len(inputs) > 1 and out is not None and is_single_file(out):
        raise typer.BadParameter(f"{out} is one file but {len(inputs)} inputs were given; name a folder.")
    # A signal that comes while the files are put in place is obeyed when they are.
    stopping.say("Stopped; inputs that were finished have all their results, the others none.")
    cases = _planned(inputs, out, [file for file in (model, within, roi) if file is not None], overlay)
    request = request_from(model=model, device=device, roi=roi, targets=targets, postprocess=postprocess)
    with screen.console().status(plain("Loading the model")):
        run = way_of(request, within, margin)
    failed = 0
    for outcome in run_batch(cases, partial(_segment_one, run=run, overlay=overlay)):
        if outcome.result is not None:
            screen.console().print(result_table(outcome.case.path.name, outcome.result))
            for warning in outcome.result.warnings:
                show_note(warning)
            for file in outcome.files:
                screen.console().print(plain(f"  {file}"), soft_wrap=True)
            continue
        if outcome.cause is not None and len(cases) == 1:
            raise outcome.cause
        log.error("%s", outcome.error, exc_info=outcome.cause)
        show_error(outcome.error)
        failed += 1
    if failed:
        raise LiverSegError(f"{failed} of {len(cases)} inputs could not be segmented; see the messages above.")


def _planned(inputs: list[Path], out: Path | None, read: list[str], overlay: bool) -> list[Case]:
    """The cases, with what the log must not tell hidden from it; files that are `read` as well are not replaced."""
    from LiverSegLib.cli.output_plan import plan_cases

    if out is not None:
        hide(out, "output")
    for number, path in enumerate(inputs, start=1):
        hide(path, f"input {number}")
    keep = [Path(given) for given in read if Path(given).is_file()]
    cases = plan_cases(inputs, out, picture=overlay, keep=keep)
    for number, case in enumerate(cases, start=1):
        hide(Path(case.name), f"input {number}")
    log.info("segmenting %d inputs", len(cases))
    if len(cases) < len(inputs):
        show_note("an input that is given twice is segmented once.")
    return cases


def _segment_one(case: Case, run: Run, overlay: bool) -> tuple[Result, list[Path]]:
    """Read, segment and write one input."""
    from LiverSegLib.cli.outputs import write_outputs
    from LiverSegLib.io import read_volume

    console = screen.console()
    with console.status(plain(f"Reading {case.path.name}")):
        volume = read_volume(case.path)
    log.info("segmenting %s %s", case.path.name, volume.array.shape)
    columns = (TextColumn("{task.description}", markup=False), BarColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("Preparing", total=1)

        def show(step: Step) -> None:
            bar.update(task, description=step.text, completed=step.done, total=step.total)

        result = run(volume, progress=show, should_stop=stopping.requested)
    with console.status(plain("Writing results")):
        return result, write_outputs(case.out, case.name, volume, result, overlay, case.source_id)


def result_table(name: str, result: Result) -> Table:
    """What was found in one input, for people."""
    seconds = sum(result.timings.values())
    table = Table("Segment", title=plain(f"{name}: {result.model} on {result.device}, {seconds:.1f} s", "table.title"))
    if result.quality is not None and result.quality.text:
        table.caption = plain(result.quality.text)
    measured = result.measurements
    for title in ("Volume (mL)", "Longest diameter (mm)"):
        table.add_column(title, justify="right")
    if measured.shared_organ is not None:
        table.add_column(plain(f"% of {measured.shared_organ}"), justify="right")
    for found in (*measured.segments, *measured.organs):
        share = "" if found.organ_percent is None else f"{found.organ_percent:.1f}"
        table.add_row(plain(found.name), f"{found.volume_ml:.1f}", *(["", share] if measured.shared_organ else [""]))
    for number, lesion in enumerate(measured.lesions, start=1):
        table.add_row(f"  lesion {number}", f"{lesion.volume_ml:.2f}", f"{lesion.longest_diameter_mm:.1f}")
    for found in measured.segments:
        if found.burden_percent is not None:
            table.add_row(plain(f"{found.name} burden"), f"{found.burden_percent:.1f} %", "")
    return table


@app.command()
def info(model: Annotated[str | None, typer.Argument(help="Package folder, zip, or id of a model.")] = None) -> None:
    """Tell what a model segments, what it was trained on, and its license."""
    from LiverSegLib.models import find_package, read_package

    if model is not None:
        at_home(model)
    package = read_package(find_package(model))
    table = Table(title=plain(package.title, style="table.title"), show_header=False)
    rows = {
        "Segments": ", ".join(label.name for label in package.labels),
        "Modality": package.modality or "not stated",
        "Network": f"{package.network}, {package.spatial_dims}D",
        "Grid": f"{package.axcodes}, {package.grid_text}",
        "Training data": package.data_source,
        "License": package.license,
        "Intended use": package.intended_use,
        "Evaluation": metrics_text(package.metrics) or "not stated",
        "Folder": str(package.path),
    }
    for key, value in rows.items():
        table.add_row(key, plain(value))
    screen.console().print(table)


def metrics_text(found: object) -> str:
    """What a package tells of its evaluation, which may be anything."""
    if not isinstance(found, dict):
        return ""
    texts = {name: f"{value:g}" if isinstance(value, float) else value for name, value in found.items()}
    return ", ".join(f"{name} {value}" for name, value in texts.items())


@app.command()
def doctor() -> None:
    """Tell versions, devices, memory and arithmetic of this machine, and where models are kept."""
    from LiverSegLib.cli import doctor as checks

    table = Table("What", "Found", "Advice", title="LiverSeg on this machine")
    for row in checks.report():
        table.add_row(*(plain(cell) for cell in row))
    screen.console().print(table)
