"""A batch as a function: what the command does, and what a cluster's job does with its part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from LiverSegLib.batch.collect import Row, collect
from LiverSegLib.batch.crew import default_workers, environments
from LiverSegLib.batch.fingerprint import key_of, work_key
from LiverSegLib.batch.folder import BatchFolder, Part
from LiverSegLib.batch.history import histories, left_to_do
from LiverSegLib.batch.inputs import find_cases, of_part
from LiverSegLib.batch.run import Count, Crew, Run
from LiverSegLib.batch.wire import Setup
from LiverSegLib.cli.batch_worker import batch_worker_command
from LiverSegLib.cli.handover import Handover
from LiverSegLib.cli.outputs import check_writable
from LiverSegLib.cli.way import choose
from LiverSegLib.errors import OutputError
from LiverSegLib.request import SegmentationRequest

TIMEOUT_S = 1800.0


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A batch that is asked for.

    Args:
        source: a folder of images, or a list of them.
        out: the folder of the results.
        request, within, margin_mm: how each is segmented, as in `liverseg segment`.
        pattern: which image files of a folder.
        overlay: draw the large picture of each case, too.
        dicom, report: as in `liverseg segment`; inputs that are no DICOM get no DICOM.
        workers: processes; None: as many as the machine bears.
        timeout_s: for one case.
        retry_failed: try again what failed in an earlier run.
    """

    source: Path
    out: Path
    request: SegmentationRequest = field(default_factory=SegmentationRequest)
    within: str | None = None
    margin_mm: float = 0.0
    pattern: str = "*"
    overlay: bool = False
    dicom: bool = False
    report: bool = False
    workers: int | None = None
    timeout_s: float = TIMEOUT_S
    retry_failed: bool = False


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What became of a run.

    Args:
        cases: in its part.
        skipped: how many of them were finished before.
        count: what became of the others.
        rows: of the table, which covers all parts; None while other parts are at work, the last of which writes it.
    """

    cases: int
    skipped: int
    count: Count
    rows: list[Row] | None


def run_part(
    batch: Batch,
    part: Part | None = None,
    *,
    planned: Callable[[int, int, int], None] = lambda *_: None,
    progress: Callable[[Count], None] = lambda _: None,
) -> Ended:
    """Do one part of a batch, or all of it; what is finished and unchanged is not done again.

    Any number of parts may run at once, on machines that share the folder. The last one joins the tables.

    Args:
        batch: what is asked for.
        part: which part; None: all.
        planned: told the cases of the part, those that are finished, and the number of processes.
        progress: called several times a second.

    Raises:
        InputError, ModelError, OutputError: something is wrong with what was asked for.
        WorkerError: processes cannot work at all.
    """
    part, folder = part or Part(), BatchFolder(batch.out)
    Handover(dicom=batch.dicom, report=batch.report).check([], batch.out)
    chosen = choose(batch.request, batch.within)
    more = [f"{batch.margin_mm:g}", f"overlay {batch.overlay}"]
    more += [name for name, wanted in (("dicom", batch.dicom), ("report", batch.report)) if wanted]
    if chosen.mask is not None:
        more.append(key_of(chosen.mask, f"within {chosen.segment}".rstrip()))
    work = work_key(batch.request, chosen.folders, more)
    cases = of_part(find_cases(batch.source, pattern=batch.pattern, out=batch.out), part)
    _check_out(batch.out)
    with folder.held(part):
        keys = {case.name: key_of(case.path, work) for case in cases}
        past = histories(folder.records(part))
        left = left_to_do(cases, keys, past, folder, retry_failed=batch.retry_failed)
        crew = _crew(batch, len(left))
        planned(len(cases), len(cases) - len(left), len(crew.environments))
        count = Run(left, keys, folder, part, crew, progress).work()
    rows = collect(folder) if folder.is_idle() else None
    return Ended(cases=len(cases), skipped=len(cases) - len(left), count=count, rows=rows)


def _check_out(out: Path) -> None:
    """Refuse a folder in which something else lies: a batch writes files of common names there."""
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file; name a folder with -o.")
    if out.is_dir() and not (out / "parts").is_dir() and any(out.iterdir()):
        raise OutputError(f"{out} holds other files and no batch; choose an empty or a new folder with -o.")
    check_writable(out)


def _crew(batch: Batch, left: int) -> Crew:
    """The processes for so many cases."""
    limit, wanted = batch.request.memory_limit, batch.workers
    wanted = default_workers(batch.request.device, limit) if wanted is None else wanted
    count = max(1, min(wanted, left))
    each, threads = environments(count, batch.request.device)
    part = None if limit is None else max(1, limit // count)  # each of the processes has a part of the memory
    setup = Setup(
        out=str(batch.out.resolve()),
        request=replace(batch.request, memory_limit=part),
        within=batch.within,
        margin_mm=batch.margin_mm,
        overlay=batch.overlay,
        dicom=batch.dicom,
        report=batch.report,
        threads=threads,
    )
    command = batch_worker_command()
    return Crew(command=command, setup=setup, environments=each, timeout_s=batch.timeout_s)
