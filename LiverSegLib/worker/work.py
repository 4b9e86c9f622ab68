"""What each request does, in the thread that computes."""

from __future__ import annotations

import logging
import sys
import time
import traceback
from dataclasses import asdict
from pathlib import Path

from LiverSegLib.engine.progress import Progress
from LiverSegLib.errors import LiverSegError, OutputError, SegmentationCancelled
from LiverSegLib.system import find_devices
from LiverSegLib.volume import Result
from LiverSegLib.worker import messages, region
from LiverSegLib.worker.convert import message_from, volume_from
from LiverSegLib.worker.errors import kind_of
from LiverSegLib.worker.folder import path_in
from LiverSegLib.worker.job import Job
from LiverSegLib.worker.warm import WarmModel, import_torch, warm_up

log = logging.getLogger(__name__)


def work(job: Job, models: WarmModel, folder: Path) -> messages.Message:
    """Do what the request asks and give its answer; every failure is an answer too."""
    request = job.message
    try:
        job.check()
        if isinstance(request, messages.Segment):
            return _segment(job, request, models, folder)
        if isinstance(request, messages.Load):
            return _load(job, request, models)
        import_torch()
        return messages.Devices(request.id, find_devices())
    except SegmentationCancelled:
        return messages.Cancelled(request.id)
    except LiverSegError as error:
        log.warning("Request %d: %s", request.id, error, exc_info=error.__cause__)
        return messages.Failure(request.id, kind_of(error), str(error))
    except Exception as error:
        log.exception("Request %d failed", request.id)
        models.release()  # its state is unknown
        kind, sentence = explain(error)
        return messages.Failure(request.id, kind, sentence, traceback.format_exc())


def explain(error: Exception) -> tuple[str, str]:
    """Kind and sentence for an exception that is none of ours."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        return "WorkerError", f"The Python package {error.name.partition('.')[0]} is not installed; install it first."
    if isinstance(error, ImportError):
        return "WorkerError", "A Python package cannot be loaded; install torch and MONAI again, or see the log."
    # torch's own class is OutOfMemoryError, and torch may not be imported here
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "DeviceError", "Memory ran out; close other programs, use the CPU, or segment a smaller region."
    return "WorkerError", f"The segmentation failed unexpectedly ({type(error).__name__}); details are in the log."


def _segment(job: Job, request: messages.Segment, models: WarmModel, folder: Path) -> messages.Message:
    path_in(folder, request.volume)  # refused before seconds are spent on the model
    if "torch" not in sys.modules:
        job.report(Progress("start", 0, 1))
    if not models:
        job.report(Progress("load", 0, 1))
    segmenter, warm = models.get(request.model, request.device)
    from LiverSegLib.engine.segmenter import Settings

    job.check()
    package = segmenter.package
    wanted = None
    if request.targets is not None:
        wanted = region.check_targets(request.targets, package.labels, package.title)
    volume = volume_from(request, folder)
    segmenter.settings = Settings(**asdict(request.settings))
    roi = None if request.roi is None else region.clip_roi(request.roi, volume.array.shape, volume.name)
    part = volume if roi is None else region.crop(volume, roi)
    result = segmenter.segment(part, job.report, job.stop.is_set)
    if wanted is not None:
        result = region.keep(result, wanted)
    if roi is not None:
        result = region.paste(result, roi, volume)
    job.check()
    return _write(result, request.id, folder, warm)


def _write(result: Result, request_id: int, folder: Path, warm: bool) -> messages.Done:
    try:
        return message_from(result, request_id, folder, warm)
    except OSError as error:
        raise OutputError(f"The result cannot be written to {folder}: {error.strerror}; free space.") from error


def _load(job: Job, request: messages.Load, models: WarmModel) -> messages.Loaded:
    start = time.perf_counter()
    segmenter, warm = models.get(request.model, request.device)
    if not warm:
        warm_up(segmenter, request.device, job.stop.is_set)
    job.check()
    from LiverSegLib.engine.devices import choose_device

    device = str(choose_device(request.device))
    return messages.Loaded(request.id, segmenter.package.title, device, warm, time.perf_counter() - start)


def discard(answer: messages.Message, folder: Path) -> None:
    """Remove the file of an answer that nobody waits for any more."""
    if isinstance(answer, messages.Done):
        path_in(folder, answer.labelmap).unlink(missing_ok=True)
