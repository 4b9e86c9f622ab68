"""What each request does, in the thread that computes."""

from __future__ import annotations

import logging
import sys
import traceback
from pathlib import Path

from LiverSegLib.engine.progress import Progress, ProgressCallback, StopCallback
from LiverSegLib.errors import LiverSegError, SegmentationCancelled
from LiverSegLib.system import find_devices
from LiverSegLib.worker import messages
from LiverSegLib.worker.arrays import done_from, volume_from
from LiverSegLib.worker.codec import kind_of
from LiverSegLib.worker.warm import WarmModel

log = logging.getLogger(__name__)


def work(
    request: messages.Request, models: WarmModel, folder: Path, report: ProgressCallback, should_stop: StopCallback
) -> messages.Message:
    """Do what the request asks and give its answer; every failure is an answer too."""
    try:
        if should_stop():
            return messages.Cancelled(request.id)
        if isinstance(request, messages.ListDevices):
            return messages.Devices(request.id, find_devices())
        return _segment(request, models, folder, report, should_stop)
    except SegmentationCancelled:
        return messages.Cancelled(request.id)
    except LiverSegError as error:
        log.warning("Request %d: %s", request.id, error, exc_info=error.__cause__)
        return messages.Failure(id=request.id, kind=kind_of(error), sentence=str(error))
    except Exception as error:
        log.exception("Request %d failed", request.id)
        models.release()  # its state is unknown
        kind, sentence = explain(error)
        return messages.Failure(id=request.id, kind=kind, sentence=sentence, details=traceback.format_exc())


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


def _segment(
    message: messages.Segment, models: WarmModel, folder: Path, report: ProgressCallback, should_stop: StopCallback
) -> messages.Message:
    if "torch" not in sys.modules:
        report(Progress("start", 0, 1))
    if not models:
        report(Progress("load", 0, 1))
    segmenter, warm = models.get(message.request.model, message.request.device)
    if should_stop():
        return messages.Cancelled(message.id)
    result = segmenter.segment(volume_from(message, folder), report, should_stop, request=message.request)
    return done_from(result, message.id, folder, warm=warm)
