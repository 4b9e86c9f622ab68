"""Opening files from outside: only regular ones, of a bounded size, in the folder where they belong."""

from __future__ import annotations

import os
import re
import stat
from io import BufferedReader
from pathlib import Path, PureWindowsPath

from LiverSegLib.errors import InputError

# A pipe must not be waited for, and a terminal not become ours. Windows knows neither.
_FLAGS = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY"))


class UnsafeFileError(OSError):
    """What stands at a path is no plain file that may be read; the text ends a sentence about the path."""


class TooLargeError(UnsafeFileError):
    """The file has more bytes than are read."""


def open_regular(path: Path, *, follow_links: bool = True) -> BufferedReader:
    """Open a regular file for reading, whatever lay there a moment ago.

    Raises:
        InputError: it is a pipe, a device, a socket or a folder.
        OSError: it cannot be opened, or is a link that may not be followed.
    """
    descriptor = os.open(path, _FLAGS | (0 if follow_links else getattr(os, "O_NOFOLLOW", 0)))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InputError(f"{path} is neither a file nor a folder; pass a regular file.")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def open_plain(path: Path, limit: int, within: Path | None = None) -> BufferedReader:
    """Open a plain file for reading, in binary.

    Args:
        path: the file; a link to one is followed.
        limit: most bytes that it may have.
        within: a folder that the file must lie in once all links are followed; None for anywhere.

    Raises:
        UnsafeFileError: it is a pipe, a device, a folder or a socket, or lies outside `within`.
        TooLargeError: it has more than `limit` bytes.
        OSError: as for every file: it is missing, may not be read, or its name cannot be one.
    """
    try:
        if within is not None and not path.resolve().is_relative_to(within.resolve()):
            raise UnsafeFileError("it is a link that leads out of its folder")
        file = open_regular(path)
    except IsADirectoryError as error:  # Windows says so when it is opened
        raise UnsafeFileError("it is a folder instead of a file") from error
    except InputError as error:
        raise UnsafeFileError("it is a folder, a pipe or a device instead of a file") from error
    except (ValueError, RuntimeError) as error:  # a NUL in the name; links that go round in a circle
        raise UnsafeFileError("no file can have this name") from error
    if os.fstat(file.fileno()).st_size > limit:
        file.close()
        raise TooLargeError(f"it is larger than {limit} bytes")
    return file


def open_beside(header: Path, name: str) -> BufferedReader:
    """Open the file of voxels that a header names.

    Args:
        header: the header's own path.
        name: what it names, relative to its folder.

    Returns:
        The open file.

    Raises:
        InputError: the file lies outside the header's folder, is missing, or is a link, a pipe or a device.
    """
    if not name or Path(name).is_absolute() or PureWindowsPath(name).anchor or ".." in re.split(r"[\\/]", name):
        raise InputError(f"{header} keeps its voxels outside its folder ({shown(name)}); bring all files together.")
    path = header.parent / name
    steps = [path, *path.parents][: len(Path(name).parts)]
    try:
        if any(step.is_symlink() for step in steps) or not path.resolve().is_relative_to(header.parent.resolve()):
            raise InputError(
                f"{header} keeps its voxels behind a symbolic link ({shown(name)}); put the file itself there."
            )
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"{header} keeps its voxels in no regular file ({shown(name)}); bring all files together.")
        return open_regular(path, follow_links=False)
    # A name may also be too long, or hold a character that the file system refuses.
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "no such name"
        raise InputError(
            f"{header} keeps its voxels in {shown(name)}, which cannot be read ({why}); bring all files together."
        ) from error


def shown(text: str) -> str:
    """What a stranger's file says, as part of a sentence: one short line of printable characters."""
    plain = "".join(c if c.isprintable() else "?" for c in text)
    return plain if len(plain) <= 80 else f"{plain[:77]}..."
