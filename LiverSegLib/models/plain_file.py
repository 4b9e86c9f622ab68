"""Files of packages are opened only where they are plain files, of a bounded size, inside their folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from LiverSegLib.errors import InputError
from LiverSegLib.io.regular_file import open_regular


class UnsafeFileError(OSError):
    """What stands at a path is no plain file that may be read; the text ends a sentence about the path."""


class TooLargeError(UnsafeFileError):
    """The file has more bytes than are read."""


def open_plain(path: Path, limit: int, within: Path | None = None) -> BinaryIO:
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
