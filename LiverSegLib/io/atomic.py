"""Files that appear complete or not at all."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from LiverSegLib.errors import OutputError


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path` that takes its place when the block ends without an error.

    The data are on the disk before the name changes, so that a full disk, a cancelled job or a crash leaves
    whatever stood at `path` before. The temporary file is removed in every case.

    Args:
        path: the file to write or to replace; its folder must exist.

    Yields:
        The temporary file, open for binary writing.

    Raises:
        OutputError: the operating system refused to write; the sentence names `path` and the cause.
    """
    # In the same folder, because only within one file system is the replacement a single step. Opened by hand
    # rather than with tempfile, whose files nobody but the owner may read.
    temporary = path.with_name(f".liverseg-{secrets.token_hex(6)}.tmp")
    try:
        try:
            with temporary.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            _sync_folder(path.parent)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(_sentence(path, error)) from error


def _sync_folder(folder: Path) -> None:
    """Make the new name survive a power cut, where the system can (Windows cannot open folders)."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _sentence(path: Path, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{path} could not be written because the disk is full; free some space or choose another folder."
    if error.errno == errno.ENOENT:
        return f"{path} could not be written because its folder does not exist; create {path.parent} first."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return (
            f"{path} could not be written (no permission); choose a folder that you may write to "
            "and close the program that has the file open."
        )
    if error.errno == errno.EISDIR:
        return f"{path} could not be written because a folder has that name; choose another name."
    return f"{path} could not be written ({error.strerror or error}); choose another folder or name."
