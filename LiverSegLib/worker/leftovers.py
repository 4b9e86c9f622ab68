"""Private folders of programs that crashed: found by their lock, and removed, since they may hold a patient."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import time
from pathlib import Path

LOCK = ".lock"
_UNLOCKED_SECONDS = 3600.0


def hold(folder: Path) -> int:
    """Mark a folder as in use for as long as this process lives; gives the file descriptor that does so.

    Raises:
        OSError: the lock cannot be made.
    """
    # Renamed when it is locked: nobody ever sees it unlocked while its owner lives.
    new, final = folder / f"{LOCK}-new", folder / LOCK
    held = os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    if sys.platform == "win32":  # an open file cannot be deleted there, which is lock enough
        os.close(held)
        new.rename(final)
        return os.open(final, os.O_RDWR)
    import fcntl

    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    new.rename(final)
    return held


def remove_leftovers(base: Path, prefix: str) -> None:
    """Remove the folders `base/prefix*` of ours whose program is gone."""
    for folder in base.glob(f"{prefix}*"):
        try:
            found = folder.lstat()
            ours = sys.platform == "win32" or found.st_uid == os.getuid()
            if ours and stat.S_ISDIR(found.st_mode) and _abandoned(folder, found.st_mtime):
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue


def _abandoned(folder: Path, changed: float) -> bool:
    lock = folder / LOCK
    if not lock.exists():  # its owner may be about to make it
        return time.time() - changed > _UNLOCKED_SECONDS
    if sys.platform == "win32":
        try:
            lock.unlink()
        except OSError:
            return False
        return True
    import fcntl

    held = os.open(lock, os.O_RDWR)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(held)
    return True
