"""The commands of `liverseg`: `segment`, `info`, `doctor`, `tune`; the others have files of their own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from LiverSegLib import __version__, stopping
from LiverSegLib.cli import batch_command, compare_command, models, report_command, screen
from LiverSegLib.cli.request_options import at_home, request_from, with_means
from LiverSegLib.cli.screen import plain, show_error, show_note
from LiverSegLib.errors import LiverSegError
from LiverSegLib.log import hide

if TYPE_CHECKING:
    from LiverSegLib.cli.batch import Outcome
    from LiverSegLib.cli.handover import Handover
    from LiverSegLib.cli.output_plan import Case
    from LiverSegLib.cli.way import Run
    from LiverSegLib.engine.progress import Progress as Step
    from LiverSegLib.volume import Result, Volume

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(models.app, name="models")
app.command()(batch_command.batch)
app.command()(compare_command.compare)
app.command()(report_command.report)
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
Channels = Annotated[
    list[Path] | None,
    typer.Option(help="For a model of several images: the next channel of the one input, on its grid; repeatable."),
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
        help="Package of an organ, or a label map on the input's grid (of a DICOM SEG one segment: seg.dcm#liver); "
        "what --model finds outside it is removed."
    ),
]
FindFirst = Annotated[
    bool, typer.Option("--find-first", help="Look only where the liver is: faster, for whole-body models of others.")
]
MemoryLimit = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="Main memory that may be used, for example 4GB. [default: what is free]"),
]
Series = Annotated[
    str | None, typer.Option(metavar="WHICH", help="Of a DICOM folder with several: number, UID, description, or best.")
]


@app.command()
def segment(
    inputs: Inputs,
    channel: Channels = None,
    out: Out = None,
    model: Model = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    roi: Roi = None,
    targets: Targets = None,
    overlay: Annotated[bool, typer.Option(help="Draw a picture of each case.")] = True,
    postprocess: Annotated[bool, typer.Option(help="Largest part, holes, lesions only inside their organ.")] = True,
    within: Within = None,
    margin: Annotated[float, typer.Option(min=0, help="Millimeters around the organ that still count.")] = 0.0,
    find_first: FindFirst = False,
    memory_limit: MemoryLimit = None,
    series: Series = None,
    dicom: Annotated[bool, typer.Option("--dicom", help="Also a DICOM SEG and SR, of DICOM inputs.")] = False,
    report: Annotated[bool, typer.Option("--report", help="Also a page to read and to print.")] = False,
) -> None:
    """Segment volumes; write label map, Slicer segmentation, measurements and a picture of each."""
    from LiverSegLib.cli.batch import run_batch
    from LiverSegLib.cli.handover import Handover
    from LiverSegLib.cli.way import mask_and_segment, way_of
    from LiverSegLib.models import find_package, read_package

    _check_count(len(inputs), out, channel)
    # A signal that comes while the files are put in place is obeyed when they are.
    stopping.say("Stopped; inputs that were finished have all their results, the others none.")
    more = Handover(dicom=dicom, report=report, series=series)
    more.check(inputs, out)
    mask = None if within is None else str(mask_and_segment(within)[0])
    cases = _planned(inputs, out, [file for file in (model, mask, roi) if file is not None], overlay, more)
    request = request_from(model=model, device=device, roi=roi, targets=targets, postprocess=postprocess)
    request = with_means(request, find_first=find_first, memory_limit=memory_limit)
    with screen.console().status(plain("Loading the model")):
        package = read_package(find_package(model))
        run = way_of(request, within, margin)
    more = replace(more, model=package)
    read = partial(_read, channels=channel or [], wanted=len(package.inputs))
    failed = 0
    for outcome in run_batch(cases, partial(_segment_one, read=read, run=run, overlay=overlay, handover=more)):
        if outcome.result is not None:
            _show(outcome, outcome.result)
            continue
        if outcome.cause is not None and len(cases) == 1:
            raise outcome.cause
        log.error("%s", outcome.error, exc_info=outcome.cause)
        show_error(outcome.error)
        failed += 1
    if failed:
        raise LiverSegError(f"{failed} of {len(cases)} inputs could not be segmented; see the messages above.")


def _check_count(count: int, out: Path | None, channel: list[Path] | None) -> None:
    from LiverSegLib.cli.outputs import is_single_file

    if count > 1 and out is not None and is_single_file(out):
        raise typer.BadParameter(f"{out} is one file but {count} inputs were given; name a folder.")
    if count > 1 and channel:
        raise typer.BadParameter(f"--channel belongs to one input but {count} were given; give one at a time.")


def _show(outcome: Outcome, result: Result) -> None:
    screen.console().print(result_table(outcome.case.path.name, result))
    for warning in result.warnings:
        show_note(warning)
    for file in outcome.files:
        screen.console().print(plain(f"  {file}"), soft_wrap=True)


def _planned(inputs: list[Path], out: Path | None, read: list[str], overlay: bool, more: Handover) -> list[Case]:
    """The cases, with what the log must not tell hidden from it; files that are `read` as well are not replaced."""
    from LiverSegLib.cli.output_plan import plan_cases

    if out is not None:
        hide(out, "output")
    for number, path in enumerate(inputs, start=1):
        hide(path, f"input {number}")
    keep = [Path(given) for given in read if Path(given).is_file()]
    cases = plan_cases(inputs, out, picture=overlay, keep=keep, more=more.endings, series=more.series)
    for number, case in enumerate(cases, start=1):
        hide(Path(case.name), f"input {number}")
    log.info("segmenting %d inputs", len(cases))
    if len(cases) < len(inputs):
        show_note("an input that is given twice is segmented once.")
    return cases


def _read(case: Case, channels: Sequence[Path], wanted: int) -> Volume:
    """An input with its other channels."""
    from LiverSegLib.io.channels import read_channels

    return read_channels([case.path, *channels], wanted, series=case.series)


def _segment_one(
    case: Case, read: Callable[[Case], Volume], run: Run, overlay: bool, handover: Handover
) -> tuple[Result, list[Path]]:
    """Read, segment and write one input."""
    from LiverSegLib.cli.outputs import write_outputs

    console = screen.console()
    with console.status(plain(f"Reading {case.path.name}")):
        volume = read(case)
        more = handover.of(case.path)
    log.info("segmenting %s %s", case.path.name, volume.array.shape)
    columns = (TextColumn("{task.description}", markup=False), BarColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("Preparing", total=1)

        def show(step: Step) -> None:
            bar.update(task, description=step.text, completed=step.done, total=step.total)

        result = run(volume, progress=show, should_stop=stopping.requested)
    with console.status(plain("Writing results")):
        return result, write_outputs(case.out, case.name, volume, result, overlay, case.source_id, more)


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
def info(
    model: Annotated[
        str | None, typer.Argument(help="Package folder, zip, or id of a model; or a folder of DICOM series.")
    ] = None,
) -> None:
    """Tell what a model segments, what it was trained on, and its license; or which series a DICOM folder holds."""
    from LiverSegLib.cli.series_table import is_dicom_folder, series_table
    from LiverSegLib.models import find_package, read_package

    if model is not None and is_dicom_folder(at_home(model)):
        screen.console().print(series_table(at_home(model)))
        return
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


@app.command()
def tune(model: Model = None) -> None:
    """Try whether OpenVINO is faster than torch on this processor, and use what is; needs 'liverseg[openvino]'."""
    from LiverSegLib.cli.trials import tune as try_both
    from LiverSegLib.engine.segmenter import Segmenter

    stopping.say("Stopped; models that were tried are remembered.")
    table = Table("Model", "torch", "OpenVINO", "Equal labels", "Used from now on", title="Seconds of the network")
    for package in Segmenter(model, "cpu").packages:
        with screen.console().status(plain(f"Trying {package.title}; a minute or so on an idle machine")):
            found = try_both(package, stopping.requested)
        seconds = "-" if found.openvino_seconds is None else f"{found.openvino_seconds:.2f}"
        equal = found.problem or f"{found.equal:.2%}, Dice {found.dice:.4f}"
        used = "OpenVINO" if found.is_better else "torch"
        table.add_row(plain(package.title), f"{found.torch_seconds:.2f}", seconds, plain(equal), used)
    screen.console().print(table)
