"""`liverseg segment | info | doctor`."""

from __future__ import annotations

import logging
import logging.handlers
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from LiverSegLib.errors import LiverSegError, SegmentationCancelled

if TYPE_CHECKING:
    from LiverSegLib.engine.progress import Progress as Step
    from LiverSegLib.engine.segmenter import Segmenter
    from LiverSegLib.volume import Result, Volume

app = typer.Typer(
    help="Liver segmentation of CT volumes. Research software, not for clinical use.",
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
)  # fmt: skip
console = Console()
log = logging.getLogger("LiverSegLib")


@app.command()
def segment(
    inputs: Annotated[list[Path], typer.Argument(help="NIfTI, NRRD or MHA files, DICOM series folders, or pictures.")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder, or one .nii.gz or .seg.nrrd file. [default: a folder "
                                  "of the input's name here]")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Package folder, zip or built-in name.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    overlay: Annotated[bool, typer.Option(help="Draw a picture of each case.")] = True,
    postprocess: Annotated[bool, typer.Option(help="Largest part, holes, lesions only inside the liver.")] = True,
    within: Annotated[
        str | None, typer.Option(help="Package of an organ, or a label map on the input's grid; what --model finds "
                                 "outside it is removed.")
    ] = None,
    margin: Annotated[float, typer.Option(min=0, help="Millimetres around the organ that still count.")] = 0.0,
) -> None:  # fmt: skip
    """Segment volumes; write label map, Slicer segmentation, measurements and a picture of each."""
    from LiverSegLib.outputs import case_name, check_writable, is_single_file, write_outputs

    if len(inputs) > 1 and out is not None and is_single_file(out):
        raise typer.BadParameter(f"{out} is one file but {len(inputs)} inputs were given; name a folder.")
    with console.status("Loading the model"):
        segmenter = _segmenter(model, device, postprocess)
        organ = _organ(within, device, postprocess)
        run = partial(_run, segmenter, organ, margin)
    failed = 0
    for path in inputs:
        target = Path(case_name(path)) if out is None else out
        try:
            check_writable(target)
            volume, result = _segment_one(run, path)
            with console.status("Writing results"):
                files = write_outputs(target, case_name(path), volume, result, overlay)
        except SegmentationCancelled:
            raise
        except LiverSegError as error:
            if len(inputs) == 1:
                raise
            _show_error(error)  # one bad case does not end a batch
            failed += 1
            continue
        console.print(_table(path.name, result))
        _show_warnings(result)
        for file in files:
            console.print(f"  {file}", highlight=False)
    if failed:
        raise LiverSegError(f"{failed} of {len(inputs)} inputs could not be segmented; see the messages above.")


def _segmenter(model: str | None, device: str, clean: bool) -> Segmenter:
    from LiverSegLib.engine.segmenter import Segmenter, Settings

    settings = Settings(largest_component=clean, fill_holes=clean, lesions_inside=clean)
    return Segmenter(model, device, settings)


def _organ(within: str | None, device: str, clean: bool) -> Segmenter | Path | None:
    """A segmenter of the organ, or the file of its label map."""
    if within is None:
        return None
    path = Path(within).expanduser()
    is_label_map = path.is_file() and path.suffix.lower() != ".zip"
    return path if is_label_map else _segmenter(within, device, clean)


def _run(
    segmenter: Segmenter, organ: Segmenter | Path | None, margin: float,
    volume: Volume, progress: Callable[[Step], None], stop: Callable[[], bool],
) -> Result:  # fmt: skip
    if organ is None:
        return segmenter.segment(volume, progress, stop)
    from LiverSegLib.engine.two_step import read_mask, segment_within, segment_within_mask

    if isinstance(organ, Path):
        mask = read_mask(organ, volume)
        return segment_within_mask(mask, segmenter, volume, margin_mm=margin, progress=progress, should_stop=stop)
    return segment_within(organ, segmenter, volume, margin_mm=margin, progress=progress, should_stop=stop)


def _segment_one(
    run: Callable[[Volume, Callable[[Step], None], Callable[[], bool]], Result], path: Path
) -> tuple[Volume, Result]:
    from LiverSegLib.io import read_volume

    with console.status(f"Reading {escape(path.name)}"):
        volume = read_volume(path)
    log.info("segmenting %s %s", path.name, volume.array.shape)
    with _progress_bar() as show, _interruptible() as stop:
        result = run(volume, show, stop)
    return volume, result


@contextmanager
def _progress_bar() -> Iterator[Callable[[Step], None]]:
    with Progress(TextColumn("{task.description}"), BarColumn(), console=console, transient=True) as bar:
        task = bar.add_task("Preparing", total=1)
        yield lambda step: bar.update(task, description=step.text, completed=step.done, total=step.total)


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Ctrl-C asks the engine to stop between two layers instead of tearing it apart."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop.is_set
        return

    def ask(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    earlier = signal.signal(signal.SIGINT, ask)
    try:
        yield stop.is_set
    finally:
        signal.signal(signal.SIGINT, earlier)


def _table(name: str, result: Result) -> Table:
    seconds = sum(result.timings.values())
    table = Table(title=f"{escape(name)}: {escape(result.model)} on {result.device}, {seconds:.1f} s")
    table.add_column("Segment")
    table.add_column("Volume (mL)", justify="right")
    table.add_column("Longest diameter (mm)", justify="right")
    for found in result.measurements.segments:
        table.add_row(found.name, f"{found.volume_ml:.1f}", "")
    for number, lesion in enumerate(result.measurements.lesions, start=1):
        table.add_row(f"  lesion {number}", f"{lesion.volume_ml:.2f}", f"{lesion.longest_diameter_mm:.1f}")
    if result.measurements.tumor_burden_percent is not None:
        table.add_row("tumour burden", f"{result.measurements.tumor_burden_percent:.1f} %", "")
    return table


def _show_warnings(result: Result) -> None:
    for warning in result.warnings:
        console.print(f"[yellow]Note:[/yellow] {escape(warning)}", highlight=False)


@app.command()
def info(
    model: Annotated[str | None, typer.Argument(help="Package folder, zip or built-in name.")] = None,
) -> None:
    """Tell what a model segments, what it was trained on, and its licence."""
    from LiverSegLib.models import find_package, read_package
    from LiverSegLib.models.package import grid_text

    package = read_package(find_package(model))
    table = Table(title=escape(package.title), show_header=False)
    rows = {
        "Segments": ", ".join(label.name for label in package.labels),
        "Modality": package.modality or "not stated",
        "Network": f"{package.network}, {package.spatial_dims}D",
        "Grid": f"{package.axcodes}, {grid_text(package.pixdim, package.size)}",
        "Training data": package.data_source,
        "Licence": package.license,
        "Intended use": package.intended_use,
        "Evaluation": ", ".join(f"{k} {v:g}" for k, v in package.metadata.get("eval_metrics", {}).items())
        or "not stated",
        "Folder": str(package.path),
    }
    for key, value in rows.items():
        table.add_row(key, escape(value))
    console.print(table)


@app.command()
def doctor() -> None:
    """Tell versions, devices, memory and arithmetic of this machine, and where models are kept."""
    from LiverSegLib import doctor as checks

    table = Table(title="LiverSeg on this machine")
    for column in ("What", "Found", "Advice"):
        table.add_column(column)
    for row in checks.report():
        table.add_row(*(escape(cell) for cell in row))
    console.print(table)


def log_file() -> Path:
    """Where the full story of errors is kept."""
    from LiverSegLib.models.archive import cache_folder

    return cache_folder() / "logs" / "liverseg.log"


def _start_log() -> None:
    handler: logging.Handler
    try:
        log_file().parent.mkdir(parents=True, exist_ok=True)
        handler = logging.handlers.RotatingFileHandler(log_file(), maxBytes=1_000_000, backupCount=1)
    except OSError:  # a read-only home must not stop a segmentation
        handler = logging.NullHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def _show_error(error: Exception) -> None:
    log.error("%s", error, exc_info=error)
    Console(stderr=True).print(f"[red]Error:[/red] {escape(str(error))}", highlight=False, soft_wrap=True)


def main() -> None:
    """Entry point: errors are one sentence on the screen and a traceback in the log."""
    _start_log()
    log.info("started at %s: %s", time.ctime(), sys.argv[1:])
    try:
        app()
    except SegmentationCancelled as error:
        _show_error(error)
        sys.exit(130)
    except LiverSegError as error:
        _show_error(error)
        sys.exit(1)
    except Exception as error:
        log.exception("unexpected error")
        _show_error(LiverSegError(f"Something went wrong ({type(error).__name__}); details are in {log_file()}."))
        sys.exit(2)


if __name__ == "__main__":
    main()
