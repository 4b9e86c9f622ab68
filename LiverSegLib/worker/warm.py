"""The one model that the worker keeps ready. Imports torch where it is used."""

from __future__ import annotations

import gc
import importlib
import logging
import stat
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from LiverSegLib.models.folder import PACKAGE_FILES
from LiverSegLib.system import allowed_cpus

if TYPE_CHECKING:
    from LiverSegLib.engine.segmenter import Segmenter

log = logging.getLogger(__name__)
Key = tuple[str, tuple[tuple[str, int, int], ...], str]


class WarmModel:
    """A `Segmenter` and what it was made from; another model or device replaces it."""

    def __init__(self) -> None:
        self._segmenter: Segmenter | None = None
        self._key: Key | None = None

    def __bool__(self) -> bool:
        return self._segmenter is not None

    def get(self, model: str | None, device: str) -> tuple[Segmenter, bool]:
        """The segmenter for a model on a device, and whether it was ready.

        A package that changed on disk since it was loaded counts as another.

        Raises:
            ModelError, DeviceError: as `Segmenter` does.
            ImportError: torch or MONAI is not installed.
        """
        import_torch()
        from LiverSegLib.engine.devices import choose_device
        from LiverSegLib.engine.segmenter import Segmenter
        from LiverSegLib.models import find_package

        path = find_package(model)
        key = (str(path.resolve()), stamp(path), str(choose_device(device)))
        if self._segmenter is not None and key == self._key:
            return self._segmenter, True
        self.release()  # first, so that two models never share the memory
        start = time.perf_counter()
        self._segmenter, self._key = Segmenter(path, device), key
        log.info("Loaded %s on %s in %.2f s", path, key[2], time.perf_counter() - start)
        return self._segmenter, False

    def release(self) -> None:
        """Free the model's memory, also that of the GPU."""
        self._segmenter = self._key = None
        gc.collect()
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
            torch.cuda.empty_cache()


def stamp(path: Path) -> tuple[tuple[str, int, int], ...]:
    """Name, time of change and size of the files of a package that matter.

    Only these are looked at: the path may be a folder with half the disk in it, or no package at all.
    """
    found = []
    for name in ("", *PACKAGE_FILES):
        file = path / name
        try:
            status = file.stat()
        except (OSError, ValueError):
            continue
        if not stat.S_ISDIR(status.st_mode):
            found.append((str(file), status.st_mtime_ns, status.st_size))
    return tuple(found)


def import_torch() -> None:
    """Import torch, once, and let it use as many threads as this process may have."""
    if "torch" in sys.modules:
        return
    torch = importlib.import_module("torch")
    torch.set_num_threads(max(1, min(torch.get_num_threads(), allowed_cpus())))
