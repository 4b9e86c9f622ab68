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
# Windows knows no locks for folders; but a file that is open cannot be deleted there, which is lock enough.
_OPEN_FILE = ".lock"


def temporary_name() -> str:
    """A name that nobody else uses, by which a later process knows what we left behind."""
    return f".liverseg-{secrets.token_hex(6)}.tmp"


def claim(descriptor: int, path: Path) -> bool:
    """Lock an open temporary file or folder for as long as the descriptor is open.

    Returns:
        False if a process that was cleaning up has removed it in the moment since it was made: make another.
    """
    return _lock(descriptor) is not False and path.exists()


def hold(folder: Path) -> int | None:
    """Claim a new temporary folder of ours for as long as the descriptor that this gives is open.

    Close it before the folder is removed.

    Returns:
        The descriptor; None if a process that was cleaning up has removed the folder: make another.

    Raises:
        OSError: the folder cannot be opened.
    """
    if os.name == "nt":
        return os.open(folder / _OPEN_FILE, os.O_CREAT | os.O_RDWR)
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return None
    if claim(descriptor, folder):
        return descriptor
    os.close(descriptor)
    return None


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files and folders in `folder` that no living process writes; other files never."""
    with suppress(OSError):
        for path in folder.iterdir():
            if _NAME.fullmatch(path.name) and not path.is_symlink():
                _remove_abandoned(path)


def _remove_abandoned(path: Path) -> None:
    with suppress(OSError):
        if os.name == "nt" and path.is_dir():
            _remove_abandoned_on_windows(path)
            return
        descriptor = os.open(path, os.O_RDONLY)
        try:
            locked = _lock(descriptor)
            if locked is None:
                locked = time.time() - path.stat().st_mtime > _STALE_S
            if locked:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        finally:
            os.close(descriptor)


def _remove_abandoned_on_windows(folder: Path) -> None:
    held = folder / _OPEN_FILE
    if held.exists():
        held.unlink()  # fails while its owner lives
    elif time.time() - folder.stat().st_mtime <= _STALE_S:  # its owner may be about to make it
        return
    shutil.rmtree(folder)


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
