"""Locks between runs on one folder: they end with their process, however it dies."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


class RunLock:
    """A lock on a file for as long as this object is open.

    Where the file system, or Windows, has no locks for it, everybody gets the lock.

    Args:
        path: the file, made if need be; it stays.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor: int | None = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)

    def take(self, *, shared: bool = False, wait: bool = False) -> bool:
        """Try to get the lock, beside others that share it or alone; False if somebody else has it."""
        if self._descriptor is None:
            return False
        try:
            import fcntl
        except ImportError:
            return self._take_on_windows() if not shared else True
        how = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
        try:
            fcntl.flock(self._descriptor, how)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks
            return True
        return True

    def close(self) -> None:
        """Give the lock back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _take_on_windows(self) -> bool:
        import importlib

        system: Any = importlib.import_module("msvcrt")
        try:
            system.locking(self._descriptor, system.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def __enter__(self) -> RunLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
