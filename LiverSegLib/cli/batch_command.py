"""`liverseg batch`: thousands of scans, on one machine or as a part of a cluster's work."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from LiverSegLib import stopping
from LiverSegLib.cli import screen
from LiverSegLib.cli.request_options import request_from, with_means
from LiverSegLib.cli.screen import plain
from LiverSegLib.errors import LiverSegError

if TYPE_CHECKING:
    from LiverSegLib.batch.collect import Row
    from LiverSegLib.batch.run import Count
    from LiverSegLib.cli.batch_run import Batch

_LINE_EVERY_S = 30.0
Source = Annotated[
    Path | None,
    typer.Argument(metavar="LIST_OR_FOLDER", help="Folder of images and DICOM series, or a list: .csv, .json, .jsonl."),
]
Parts = Annotated[int, typer.Option(min=1, help="In how many parts the work is divided, for clusters.")]
Out = Annotated[Path | None, typer.Option("-o", "--out", help="Folder of the results; a run goes on there.")]
Model = Annotated[str | None, typer.Option(help="Package folder, zip, or id of a model.")]
Device = Annotated[str, typer.Option(help="auto (all GPUs, else the processor), cpu, cuda:N or mps.")]
Roi = Annotated[str | None, typer.Option(metavar="BOX", help="Only this box, as in liverseg segment.")]
Targets = Annotated[str | None, typer.Option(help="Only these labels of the model, for example liver.")]
Within = Annotated[str | None, typer.Option(help="Package of an organ, as in liverseg segment.")]
Margin = Annotated[float, typer.Option(min=0, help="Millimeters around the organ that still count.")]
Postprocess = Annotated[bool, typer.Option(help="Largest part, holes, lesions only inside their organ.")]
Pattern = Annotated[str, typer.Option(help="Which image files of a folder, for example '*_ct.nii.gz'.")]
Overlay = Annotated[bool, typer.Option(help="Draw a large picture of each case, too.")]
Dicom = Annotated[bool, typer.Option("--dicom", help="Also a DICOM SEG and SR, of the inputs that are DICOM.")]
Report = Annotated[bool, typer.Option("--report", help="Also a page of each case to read and to print.")]
FindFirst = Annotated[bool, typer.Option("--find-first", help="Look only where the liver is, as in liverseg segment.")]
MemoryLimit = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="Main memory of all processes together, as 16GB. [default: what is free]"),
]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes. [default: by GPUs, cores and memory]")]
Timeout = Annotated[float, typer.Option(min=1, help="Seconds after which a case is given up.")]
PartNumber = Annotated[int, typer.Option(min=1, help="Which part of --parts this run does, from 1.")]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Try again what failed before.")]
Collect = Annotated[Path | None, typer.Option(metavar="OUT", help="Only join the tables of a batch.")]


def batch(
    source: Source = None,
    out: Out = None,
    model: Model = None,
    device: Device = "auto",
    roi: Roi = None,
    targets: Targets = None,
    within: Within = None,
    margin: Margin = 0.0,
    postprocess: Postprocess = True,
    pattern: Pattern = "*",
    overlay: Overlay = False,
    dicom: Dicom = False,
    report: Report = False,
    find_first: FindFirst = False,
    memory_limit: MemoryLimit = None,
    workers: Workers = None,
    timeout: Timeout = 1800.0,
    part: PartNumber = 1,
    parts: Parts = 1,
    retry_failed: RetryFailed = False,
    collect: Collect = None,
) -> None:
    """Segment thousands of scans; go on where an earlier run ended. Gives one table and one page of all."""
    if collect is not None:
        _join(collect)
        return
    if source is None or out is None:
        raise typer.BadParameter("give a list or a folder, and -o OUT; or --collect OUT alone")
    if part > parts:
        raise typer.BadParameter(f"part {part} of {parts} does not exist; parts count from 1")
    stopping.say("Stopped; the same command goes on from here.")
    from LiverSegLib.cli.batch_run import Batch

    wanted = request_from(model=model, device=device, roi=roi, targets=targets, postprocess=postprocess)
    asked = Batch(
        source=source,
        out=out,
        request=with_means(wanted, find_first=find_first, memory_limit=memory_limit),
        within=within,
        margin_mm=margin,
        pattern=pattern,
        overlay=overlay,
        dicom=dicom,
        report=report,
        workers=workers,
        timeout_s=timeout,
        retry_failed=retry_failed,
    )
    _run(asked, part, parts)


def _run(asked: Batch, part: int, parts: int) -> None:
    """Do a part, show how it goes, and tell what came out."""
    from LiverSegLib.batch.folder import Part
    from LiverSegLib.cli.batch_run import run_part

    with _Screen() as shown:
        ended = run_part(asked, Part(part, parts), planned=shown.plan, progress=shown.show)
    if ended.rows is None:
        screen.console().print(plain("Other parts are at work; the last of them writes the table."), soft_wrap=True)
    else:
        _tell(asked.out, ended.rows)
    if ended.count.failed:
        listed = asked.out / "failed.jsonl"
        raise LiverSegError(f"{ended.count.failed} cases could not be segmented; {listed} tells why.")


def _join(out: Path) -> None:
    """Write the table of what the parts have done so far."""
    from LiverSegLib.batch.collect import collect
    from LiverSegLib.batch.folder import BatchFolder

    _tell(out, collect(BatchFolder(out)))


def _tell(out: Path, rows: list[Row]) -> None:
    counts = {status: sum(row.status == status for row in rows) for status in ("done", "failed", "open")}
    told = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    screen.console().print(plain(f"{len(rows)} cases: {told}"), soft_wrap=True)
    for name in ("index.html", "table.csv", "failed.jsonl"):
        screen.console().print(plain(f"  {out / name}"), soft_wrap=True)


class _Screen:
    """Shows how far a run is: a bar for a person, a line from time to time for a log."""

    def __init__(self) -> None:
        self._console = screen.console()
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
        self._bar = Progress(*columns, console=self._console, transient=True, disable=not self._console.is_terminal)
        self._task: TaskID | None = None
        self._started = self._told = time.monotonic()

    def __enter__(self) -> _Screen:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def plan(self, cases: int, skipped: int, workers: int) -> None:
        """Tell what is going to be done."""
        self._started = self._told = time.monotonic()
        left = cases - skipped
        with_how_many = f" with {workers} process{'es' * (workers != 1)}" if left else ""
        self._console.print(plain(f"{cases} cases, {skipped} of them finished; {left} to do{with_how_many}."))
        if left:
            self._task = self._bar.add_task("Loading the model", total=left)

    def show(self, count: Count) -> None:
        """Show how far the run is."""
        ended = count.done + count.failed
        text = progress_text(ended, count.total, count.failed, time.monotonic() - self._started)
        if self._task is not None:
            self._bar.update(self._task, description=text, completed=ended)
        if not self._console.is_terminal and time.monotonic() - self._told >= _LINE_EVERY_S:
            self._told = time.monotonic()
            self._console.print(plain(f"{ended} of {count.total}: {text}"))


def progress_text(ended: int, total: int, failed: int, seconds: float) -> str:
    """Failures, seconds a case and the time that is left, for example "2 failed, 3.1 s a case, 2 h 5 min left"."""
    if not ended:
        return "Loading the model"
    each = seconds / ended
    told = [f"{failed} failed"] if failed else []
    return ", ".join([*told, f"{each:.1f} s a case", f"{duration(each * (total - ended))} left"])


def duration(seconds: float) -> str:
    """A time for people: "40 s", "12 min", "3 h 20 min", "2 d 4 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
