"""The process of a batch that segments: loads the model once, then does case after case until nobody wants more."""

from __future__ import annotations

import faulthandler
import logging
import os
import queue
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

import LiverSegLib
from LiverSegLib.batch.folder import THUMBNAIL, BatchFolder
from LiverSegLib.batch.records import Found
from LiverSegLib.batch.wire import DONE, FAILED, READY, UNUSABLE, Answer, Job, Setup, line_of, read_line
from LiverSegLib.cli.handover import Handover
from LiverSegLib.cli.way import Run, way_of
from LiverSegLib.errors import InputError, LiverSegError
from LiverSegLib.networks import monai_import
from LiverSegLib.volume import Result

# The package's folder comes first only while it is imported, as for the worker of the module.
_BOOTSTRAP = (
    "import sys; sys.path[:] = [{root}] + [p for p in sys.path if p]; "
    "from LiverSegLib.cli.batch_worker import main; main()"
)
log = logging.getLogger(__name__)


def batch_worker_command() -> list[str]:
    """Program and arguments that start a process of a batch with this Python and this LiverSegLib."""
    root = Path(LiverSegLib.__file__).resolve().parents[1]
    return [sys.executable, "-c", _BOOTSTRAP.format(root=ascii(str(root)))]


def main() -> None:
    """Take the setup and the cases from standard input, answer on standard output; end with the input."""
    monai_import.shorten()
    out = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints must not break a line
    sys.stdout = sys.stderr
    faulthandler.enable()
    for number in (signal.SIGINT, getattr(signal, "SIGTERM", signal.SIGINT)):
        signal.signal(number, signal.SIG_IGN)  # the run that started us decides; it closes our input
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.captureWarnings(True)
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(lines,), name="read", daemon=True).start()
    setup = read_line(Setup, lines.get())
    run = _load(setup, out)
    _say(out, Answer(kind=READY))
    while True:
        job = read_line(Job, lines.get())
        _say(out, answer(job, setup, run))


def answer(job: Job, setup: Setup, run: Run) -> Answer:
    """Do one case; whatever goes wrong with it is an answer."""
    started = time.perf_counter()
    sentence, final = "", False
    try:
        found = _segment(job, setup, run)
        return Answer(kind=DONE, name=job.name, seconds=time.perf_counter() - started, found=found)
    except LiverSegError as error:
        # An input is as bad at the next try; a disk may have room again, and a device memory.
        sentence, final = str(error), isinstance(error, InputError)
    except MemoryError:
        sentence = f"{job.path} could not be segmented: memory ran out; use fewer --workers."
    except Exception as error:
        log.error("%s", traceback.format_exc())
        sentence = f"{job.path} could not be segmented ({type(error).__name__}: {error})."
    seconds = time.perf_counter() - started
    return Answer(kind=FAILED, name=job.name, seconds=seconds, sentence=sentence, final=final)


def _segment(job: Job, setup: Setup, run: Run) -> Found:
    from LiverSegLib.batch.thumbnail import save_thumbnail
    from LiverSegLib.cli.outputs import write_outputs
    from LiverSegLib.io import read_volume

    folder = BatchFolder(Path(setup.out))
    place = folder.case(job.name)
    volume = read_volume(Path(job.path))
    more = _handover(setup, Path(job.path)).of(Path(job.path))
    result = run(volume)
    # The name of the case, not its path: a tree of images may move.
    files = write_outputs(place, job.name, volume, result, setup.overlay, f"batch case {job.name}", more)
    save_thumbnail(place / THUMBNAIL, volume, result)
    return found_of(result, folder, [*files, place / THUMBNAIL])


def _handover(setup: Setup, path: Path) -> Handover:
    """What a case gets beside its usual files; only a DICOM image can be referred to in DICOM."""
    from LiverSegLib.io.read import is_dicom_file
    from LiverSegLib.models import find_package, read_package

    dicom = setup.dicom and (path.is_dir() or is_dicom_file(path))
    model = read_package(find_package(setup.request.model)) if dicom or setup.report else None
    return Handover(dicom=dicom, report=setup.report, model=model)


def found_of(result: Result, folder: BatchFolder, files: list[Path]) -> Found:
    """What the table tells of a result."""
    measured, quality = result.measurements, result.quality
    return Found(
        model=result.model,
        device=result.device,
        volumes_ml={part.name: part.volume_ml for part in (*measured.segments, *measured.organs)},
        lesions=len(measured.lesions) if any(label.is_lesion for label in result.labels) else None,
        longest_mm=max((lesion.longest_diameter_mm for lesion in measured.lesions), default=None),
        burden_percent=measured.tumor_burden_percent,
        expected_dice=None if quality is None else quality.expected_dice,
        low=None if quality is None else quality.low,
        agreement=None if quality is None else quality.evidence.get("agreement"),
        warnings=result.warnings,
        files={path.relative_to(folder.path).as_posix(): path.stat().st_size for path in files},
        peak_bytes=_peak_bytes(),
    )


def _peak_bytes() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _load(setup: Setup, out: int) -> Run:
    try:
        import torch

        torch.set_num_threads(setup.threads)
        return way_of(setup.request, setup.within, setup.margin_mm)
    except LiverSegError as error:
        _say(out, Answer(kind=UNUSABLE, sentence=str(error)))
    except ImportError as error:
        _say(out, Answer(kind=UNUSABLE, sentence=f"A Python package cannot be loaded ({error}); install it again."))
    time.sleep(60)  # until the run, which has heard it, ends us
    os._exit(1)


def _say(out: int, message: Answer) -> None:
    line = line_of(message)
    while line:
        line = line[os.write(out, line) :]


def _read(lines: queue.SimpleQueue[bytes]) -> None:
    """Lines of standard input; its end is that of the process, whatever it computes."""
    try:
        for line in sys.stdin.buffer:
            lines.put(line)
    finally:
        os._exit(0)
