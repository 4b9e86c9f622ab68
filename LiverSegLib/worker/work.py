"""What each request does, in the thread that computes, with the one model that is kept ready."""

from __future__ import annotations

import contextlib
import gc
import logging
import stat
import sys
import time
import traceback
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from LiverSegLib.engine.progress import Progress, ProgressCallback, StopCallback
from LiverSegLib.errors import LiverSegError, SegmentationCancelled
from LiverSegLib.models.folder import PACKAGE_FILES
from LiverSegLib.system import allowed_cpus, find_devices
from LiverSegLib.worker import messages
from LiverSegLib.worker.arrays import done_from, volume_from
from LiverSegLib.worker.background import in_background

if TYPE_CHECKING:
    from LiverSegLib.engine.segmenter import Segmenter

log = logging.getLogger(__name__)


class WarmModel:
    """A `Segmenter` and what it was made from; another model or device replaces it."""

    def __init__(self) -> None:
        self._segmenter: Segmenter | None = None
        self._key: tuple[object, ...] = ()
        self._files: list[Path] = []
        self._seen: list[list[tuple[str, int, int]]] = []

    def __bool__(self) -> bool:
        return self._segmenter is not None

    def get(self, model: str | None, device: str) -> tuple[Segmenter, bool]:
        """The segmenter for a model on a device, and whether it was ready.

        A package that changed on disk since it was loaded counts as another, also where it helps the one asked for.

        Raises:
            ModelError, DeviceError: as `Segmenter` does.
            ImportError: torch or MONAI is not installed.
        """
        import_torch()
        from LiverSegLib.engine.devices import choose_device
        from LiverSegLib.engine.segmenter import Segmenter
        from LiverSegLib.models import find_package

        path = find_package(model)
        key = (path.resolve(), str(choose_device(device)))
        if self._segmenter is not None and key == self._key and self._seen == [_stamps(file) for file in self._files]:
            return self._segmenter, True
        self.release()  # first, so that two models never share the memory
        start, seen = time.perf_counter(), _stamps(path)
        loaded = Segmenter(path, device)
        helpers = [package.path for package in loaded.packages[1:]]
        self._files, self._seen = [path, *helpers], [seen, *(_stamps(file) for file in helpers)]
        self._segmenter, self._key = loaded, key
        log.info("Loaded %s on %s in %.2f s", path, key[1], time.perf_counter() - start)
        return loaded, False

    def release(self) -> None:
        """Free the model's memory, also that of the GPU."""
        self._segmenter = None
        gc.collect()
        if "torch" in sys.modules:
            sys.modules["torch"].cuda.empty_cache()  # does nothing where CUDA was never used


def _stamps(path: Path) -> list[tuple[str, int, int]]:
    """Name, time of change and size of the files of a package that matter.

    Only these are looked at: the path may be a folder with half the disk in it, or no package at all.
    """
    found = []
    for name in ("", *PACKAGE_FILES):
        with contextlib.suppress(OSError, ValueError):
            status = (path / name).stat()
            if not stat.S_ISDIR(status.st_mode):
                found.append((name, status.st_mtime_ns, status.st_size))
    return found


def import_torch() -> None:
    """Import torch, once, and let it use as many threads as this process may have."""
    if "torch" not in sys.modules:
        import torch

        torch.set_num_threads(max(1, min(torch.get_num_threads(), allowed_cpus())))


def work(
    request: messages.Request, models: WarmModel, folder: Path, report: ProgressCallback, should_stop: StopCallback
) -> messages.Message:
    """Do what the request asks and give its answer; every failure is an answer too."""
    try:
        if should_stop():
            return messages.Cancelled(request.id)
        if isinstance(request, messages.ListDevices):
            return messages.Devices(request.id, find_devices())
        if isinstance(request, messages.WarmUp):
            return in_background(partial(_warm_up, request, models, should_stop))
        return _segment(request, models, folder, report, should_stop)
    except SegmentationCancelled:
        return messages.Cancelled(request.id)
    except LiverSegError as error:
        log.warning("Request %d: %s", request.id, error, exc_info=error.__cause__)
        return messages.Failure.of(error, request.id)
    except Exception as error:
        log.exception("Request %d failed", request.id)
        models.release()  # its state is unknown
        kind, sentence = _explain(error)
        return messages.Failure(id=request.id, kind=kind, sentence=sentence, details=traceback.format_exc())


def _explain(error: Exception) -> tuple[str, str]:
    """Kind and sentence for an exception that is none of ours."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        return "WorkerError", f"The Python package {error.name.partition('.')[0]} is not installed; install it first."
    if isinstance(error, ImportError):
        return "WorkerError", "A Python package cannot be loaded; install torch and MONAI again, or see the log."
    # torch's own class is OutOfMemoryError, and torch may not be imported here
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "DeviceError", "Memory ran out; close other programs, use the CPU, or segment a smaller region."
    return "WorkerError", f"The segmentation failed unexpectedly ({type(error).__name__}); details are in the log."


def _warm_up(message: messages.WarmUp, models: WarmModel, should_stop: StopCallback) -> messages.Message:
    """Load what the first segmentation would have to; a stop is obeyed between the steps."""
    import_torch()
    if should_stop():
        return messages.Cancelled(message.id)
    models.get(message.model, message.device)
    return messages.Warmed(message.id)


def _segment(
    message: messages.Segment, models: WarmModel, folder: Path, report: ProgressCallback, should_stop: StopCallback
) -> messages.Message:
    if "torch" not in sys.modules:
        report(Progress("start", 0, 1))
    if not models:
        report(Progress("load", 0, 1))
    segmenter, warm = models.get(message.request.model, message.request.device)
    result = segmenter.segment(volume_from(message, folder), report, should_stop, request=message.request)
    return done_from(result, message.id, folder, warm=warm)
