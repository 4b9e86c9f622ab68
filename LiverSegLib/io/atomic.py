"""Files that appear complete or not at all, one by one or a whole set at once."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from LiverSegLib.errors import OutputError
from LiverSegLib.io.leftovers import claim, hold, temporary_name
from LiverSegLib.stopping import shielded, temporary

Opener = Callable[[Path], AbstractContextManager[BinaryIO]]
"""Opens a file for binary writing that takes its place later: `atomic_file`, or what `atomic_files` yields."""

_FULL = "because the disk is full; free some space or choose another folder"
_FORBIDDEN = "(no permission); choose a folder that you may write to and close the program that has the file open"
_CAUSES = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EACCES: _FORBIDDEN,
    errno.EPERM: _FORBIDDEN,
    errno.EROFS: _FORBIDDEN,
    errno.EISDIR: "because a folder has that name; choose another name",
}


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path` that takes its place when the block ends without an error.

    The data are on the disk before the name changes, so that a full disk, a canceled job or a crash leaves
    whatever stood at `path` before. The temporary file is removed in every case.

    Args:
        path: the file to write or to replace; its folder must exist.

    Yields:
        The temporary file, open for binary writing.

    Raises:
        OutputError: the operating system refused to write; the sentence names `path` and the cause.
    """
    with told(path):
        # In the same folder, because only within one file system is the replacement a single step.
        with _temporary_file(path.parent) as (part, file):
            yield file
            _flush(file)
            if os.name == "nt":  # where open files cannot be renamed; elsewhere the lock is held to the end
                file.close()
            part.replace(path)
        _sync_folder(path.parent)


@contextmanager
def atomic_files(folder: Path) -> Iterator[Opener]:
    """Open any number of files of `folder` that appear all together when the block ends without an error.

    They are written into a temporary folder beside them and renamed at the end, in the order in which they were
    opened. Where one cannot be replaced, or the program is stopped, the earlier files stay, or are brought back. A
    file system has no step that renames several files: only a power cut or `kill -9` within the thousandth of a
    second of the renaming leaves some new and some earlier ones.

    Args:
        folder: an existing folder.

    Yields:
        What opens a file of the folder, as `atomic_file` does.

    Raises:
        OutputError: the operating system refused to write; the sentence names the file and the cause.
    """
    paths: list[Path] = []
    with told(folder), temporary_folder(folder) as stage:

        @contextmanager
        def open_file(path: Path) -> Iterator[BinaryIO]:
            with told(path):
                with (stage / path.name).open("xb") as file:
                    yield file
                    _flush(file)
                paths.append(path)

        yield open_file
        with shielded():
            _put_in_place(stage, paths)
    _sync_folder(folder)


def _put_in_place(stage: Path, paths: list[Path]) -> None:
    """Rename all the files, or none."""
    earlier = stage / "earlier"
    earlier.mkdir()
    replaced: list[Path] = []
    try:
        for path in paths:
            with told(path):
                _keep(path, earlier / path.name)
                (stage / path.name).replace(path)
                replaced.append(path)
    except BaseException:
        for path in replaced:
            kept = earlier / path.name
            with suppress(OSError):
                kept.replace(path) if os.path.lexists(kept) else path.unlink()
        raise


def _keep(path: Path, kept: Path) -> None:
    """Have the file at `path`, if there is one, at `kept` too."""
    if not os.path.lexists(path):
        return
    if path.is_dir() and not path.is_symlink():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    try:
        os.link(path, kept, follow_symlinks=False)
    except (OSError, NotImplementedError):  # a file system without links
        shutil.copy2(path, kept, follow_symlinks=False)


@contextmanager
def _temporary_file(folder: Path) -> Iterator[tuple[Path, BinaryIO]]:
    # Opened by hand rather than with tempfile, whose files nobody but the owner may read.
    while True:
        part = folder / temporary_name()
        with temporary(part), part.open("xb") as file:
            if claim(file.fileno(), part):
                yield part, file
                return


@contextmanager
def temporary_folder(folder: Path) -> Iterator[Path]:
    """A new folder in `folder` that is gone in the end; a later process removes it where this one is killed."""
    while True:
        stage = folder / temporary_name()
        with temporary(stage):
            stage.mkdir()
            held = hold(stage)
            if held is not None:
                try:
                    yield stage
                    return
                finally:
                    os.close(held)


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn what the operating system says into a sentence about `path`."""
    try:
        yield
    except OSError as error:
        cause = _CAUSES.get(error.errno or 0, f"({error.strerror or error}); choose another folder or name")
        if error.errno == errno.ENOENT:
            cause = f"because its folder does not exist; create {path.parent} first"
        raise OutputError(f"{path} could not be written {cause}.") from error


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make the new name survive a power cut, where the system can (Windows cannot open folders)."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
