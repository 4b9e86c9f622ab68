"""Packages in a zip, unpacked with every path, link and size checked."""

from __future__ import annotations

import os
import stat
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from LiverSegLib.errors import LiverSegError, ModelError
from LiverSegLib.io.atomic import told
from LiverSegLib.io.regular_file import UnsafeFileError, open_plain
from LiverSegLib.models.checksums import digest
from LiverSegLib.models.text import one_line

MAX_BYTES = 4 * 1024**3
MAX_FILES = 2000
MAX_RATIO = 200
"""Weights compress at most by a few times; only a bomb exceeds this."""
_MAX_NAME = 200


def cache_folder() -> Path:
    """Where unpacked packages are kept: $LIVERSEG_CACHE, else the user's cache folder."""
    chosen = os.environ.get("LIVERSEG_CACHE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(base) if base else Path.home() / ".cache") / "liverseg"


def is_folder(path: Path) -> bool:
    """Whether a folder is there; a name that cannot be one is told when it is opened."""
    return os.path.isdir(path)  # noqa: PTH112 (Path.is_dir raises for such names)


def extracted(path: Path) -> Path:
    """The package folder at `path`, unpacking a zip into the cache first.

    Raises:
        ModelError: nothing is there, or the zip is damaged or unsafe.
    """
    if is_folder(path):
        return path
    with _opened(path) as file:
        # A long name, with the checksum behind it, might be too long for a folder.
        target = cache_folder() / "packages" / f"{path.stem[:100]}-{digest(file)[:16]}"
        if not target.is_dir():
            _unpack(file, path, target)
    return _package_root(target, path)


def read_member(path: Path, name: str, limit: int) -> bytes:
    """The file `name`, of at most `limit` bytes, of a package in a zip, which is not unpacked.

    Raises:
        ModelError: nothing is there, or the zip is damaged or lacks the file.
    """
    with _opened(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                names = [n for n in archive.namelist() if f"/{n}".endswith(f"/{name}")]
                content = archive.open(min(names, key=len)).read(limit + 1) if names else None
        except Exception as error:
            raise _damaged(path, error) from error
    if content is None:
        raise ModelError(f"{path} holds no {name}; it is not a model package.")
    if len(content) > limit:
        raise ModelError(f"{name} of {path} is larger than any package configuration; it is not read.")
    return content


def has_member(path: Path, name: str) -> bool:
    """Whether a package in a zip, which is not unpacked, holds the file `name`.

    Raises:
        ModelError: nothing is there, or the zip is damaged.
    """
    with _opened(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                return any(f"/{n}".endswith(f"/{name}") for n in archive.namelist())
        except Exception as error:
            raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> ModelError:
    return ModelError(f"{path} is a damaged zip ({one_line(error, 200)}); get the package again.")


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The zip at `path`, open; what is wrong with the file is told as a ModelError."""
    try:
        with open_plain(path, MAX_BYTES) as file:
            if not zipfile.is_zipfile(file):
                raise ModelError(f"{path} is neither a package folder nor a zip; get the package again.")
            file.seek(0)
            yield file
    except (FileNotFoundError, ValueError) as error:
        raise ModelError(f"There is no model package at {one_line(path, 300)}; check the path.") from error
    except UnsafeFileError as error:
        raise ModelError(f"{path} cannot be a model package: {error}.") from error
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror or error}); get the package again.") from error


def _package_root(folder: Path, path: Path) -> Path:
    """The folder of the package: the archive's top or its only sub-folder with configs/, or that of another family."""
    from LiverSegLib.models.family import family_of, model_folder  # which ask what a folder is

    for candidate in (folder, *sorted(p for p in folder.iterdir() if p.is_dir())):
        if (candidate / "configs").is_dir():
            return candidate
    root = model_folder(folder, path)
    if family_of(root) is None:
        raise ModelError(f"{path} holds no configs folder; it is not a model package.")
    return root


def _unpack(file: BinaryIO, path: Path, target: Path) -> None:
    """Unpack the open zip `file`, which errors call `path`, into the folder `target`."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = tempfile.TemporaryDirectory(dir=target.parent, prefix=".unpacking-", ignore_cleanup_errors=True)
        with beside as partial, zipfile.ZipFile(file) as archive:
            _extract_all(archive, path, Path(partial))
            _package_root(Path(partial), path)
            # Unpacked beside its place and moved: a broken run never leaves half a package behind.
            Path(partial).rename(target)
    except ModelError:
        raise
    except OSError as error:
        if not target.is_dir():  # else another process was first with the same content
            raise ModelError(f"{path} cannot be unpacked into {target.parent}: {error}.") from error
    except Exception as error:  # zipfile, zlib, lzma and struct have a class each for damaged data
        raise _damaged(path, error) from error


def unpack(path: Path, folder: Path, progress: Callable[[int, int], None] | None = None) -> None:
    """Unpack the zip at `path` into the empty folder `folder`, every path, link and size checked.

    Args:
        path: the zip.
        folder: where to; the caller removes what lies there after an error.
        progress: called with the bytes that are unpacked and those of all; what it raises ends the work.

    Raises:
        ModelError: nothing is there, or the zip is damaged or unsafe.
        OutputError: the folder cannot be written to.
    """
    with _opened(path) as file:
        try:
            with told(folder), zipfile.ZipFile(file) as archive:
                _extract_all(archive, path, folder, progress)
        except LiverSegError:
            raise
        except Exception as error:  # zipfile, zlib, lzma and struct have a class each for damaged data
            raise _damaged(path, error) from error


def _extract_all(
    archive: zipfile.ZipFile, path: Path, folder: Path, progress: Callable[[int, int], None] | None = None
) -> None:
    members = archive.infolist()
    _check(members, path)
    total, done = sum(member.file_size for member in members), 0
    for member in members:
        for count in _extract(archive, member, folder, path):
            done += count
            if progress is not None:
                progress(done, total)


def _check(members: list[zipfile.ZipInfo], path: Path) -> None:
    """Refuse the whole archive before the first byte is written."""
    if len(members) > MAX_FILES:
        raise ModelError(f"{path} holds {len(members)} files, too many for a model package; it is not unpacked.")
    for member in members:
        parts = PurePosixPath(member.filename.replace("\\", "/"))
        kind = stat.S_IFMT(member.external_attr >> 16)
        if not member.filename.isprintable() or len(member.filename) > _MAX_NAME:
            raise ModelError(f"{path} holds the name {ascii(member.filename)[:60]}, which is odd; it is not unpacked.")
        if parts.is_absolute() or ".." in parts.parts or ":" in member.filename:
            raise ModelError(f"{path} holds the path {member.filename!r}, which leads outside; it is not unpacked.")
        if kind == stat.S_IFLNK:
            raise ModelError(f"{path} holds the link {member.filename!r}; it is not unpacked.")
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ModelError(f"{path} holds {member.filename!r}, which is no file; it is not unpacked.")
    total = sum(member.file_size for member in members)
    packed = path.stat().st_size  # the sizes that the members declare may be lies
    if total > MAX_BYTES or total / packed > MAX_RATIO:
        raise ModelError(f"{path} would unpack to {total / 1e9:.1f} GB from {packed / 1e6:.1f} MB; it is not unpacked.")


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path, path: Path) -> Iterator[int]:
    """Unpack one file; gives the size of each block once it is written."""
    target = folder / member.filename.replace("\\", "/")
    if member.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    left = member.file_size  # a header may lie about the size: count what really comes out
    with archive.open(member) as source, target.open("wb") as sink:
        while block := source.read(1 << 20):
            left -= len(block)
            if left < 0:
                break
            sink.write(block)
            yield len(block)
    if left:
        raise ModelError(f"{path}: {member.filename} does not have the size that it declares; it is not unpacked.")
