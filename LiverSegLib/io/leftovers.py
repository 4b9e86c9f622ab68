"""Temporary files that a killed process left behind: known by their name and by a lock that died with it."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from contextlib import suppress
from pathlib import Path

_NAME = re.compile(r"\.liverseg-[0-9a-f]{12}\.tmp")
# Only for file systems without locks.
_STALE_S = 24 * 3600.0


def temporary_name() -> str:
    """A name that nobody else uses, by which a later process knows what we left behind."""
    return f".liverseg-{secrets.token_hex(6)}.tmp"


def claim(descriptor: int, path: Path) -> bool:
    """Lock an open temporary file or folder for as long as the descriptor is open.

    Returns:
        False if a process that was cleaning up has removed it in the moment since it was made: make another.
    """
    return _lock(descriptor) is not False and path.exists()


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files and folders in `folder` that no living process writes; other files never."""
    with suppress(OSError):
        for path in folder.iterdir():
            if _NAME.fullmatch(path.name) and not path.is_symlink():
                _remove_abandoned(path)


def _remove_abandoned(path: Path) -> None:
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            locked = _lock(descriptor)
            if locked is None:
                locked = time.time() - path.stat().st_mtime > _STALE_S
            if locked:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        finally:
            os.close(descriptor)


def _lock(descriptor: int) -> bool | None:
    """Whether the lock is now ours; None where there are no locks."""
    try:
        import fcntl
    except ImportError:  # Windows, which anyway does not remove a file that is open
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
