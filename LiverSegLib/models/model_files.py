"""The files of a model's folder as a whole: listed, copied, and compared with their checksums."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from LiverSegLib.errors import ModelError
from LiverSegLib.io.atomic import told
from LiverSegLib.models import checksums
from LiverSegLib.models.archive import is_folder
from LiverSegLib.models.checksums import digest, parse
from LiverSegLib.models.transfer import Watch


def files_of(folder: Path) -> list[str]:
    """Every file below a folder, relative to it, with forward slashes."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def sizes_of(folder: Path) -> dict[str, int]:
    """The bytes of every file below a folder, by its relative name."""
    return {name: (folder / name).stat().st_size for name in files_of(folder)}


def has_sizes(folder: Path, sizes: Mapping[str, int]) -> bool:
    """Whether all files are there in their sizes; a look, no check."""
    try:
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except OSError:
        return False


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder.

    Raises:
        ModelError: there is neither.
    """
    try:
        return sum(sizes_of(path).values()) if is_folder(path) else path.stat().st_size
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror or error}); check the path.") from error


def copy_files(source: Path, target: Path, watch: Watch) -> None:
    """Copy a folder of plain files; one with links is refused.

    Raises:
        ModelError: it holds a link.
        OutputError: the copy cannot be written.
    """
    link = next((path for path in source.rglob("*") if path.is_symlink()), None)
    if link is not None:
        raise ModelError(f"{link} is a link; a model is made of plain files.")
    sizes, done = sizes_of(source), 0
    for name, size in sizes.items():
        with told(target / name):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, target / name)
        done += size
        watch.report("unpack", done, sum(sizes.values()))


def check_files(folder: Path, name: str, watch: Watch) -> None:
    """Compare every file of the installed model `name` with its checksum.

    Raises:
        ModelError: one is missing, changed or was added; the sentence names it.
    """
    again = f"remove the model and install it again (liverseg models remove {name})"
    listed = _listed(folder)
    if not listed:
        raise ModelError(f"The model {name} has no list of checksums in {folder}; {again}.")
    sizes = sizes_of(folder)
    count = watch.counting("check", sum(sizes.values()))
    for relative, wanted in listed.items():
        if relative not in sizes:
            raise ModelError(f"{folder / relative} is missing; {again}.")
        with (folder / relative).open("rb") as file:
            found = digest(file, count)
        if found != wanted:
            raise ModelError(f"{folder / relative} has a wrong checksum: it is damaged or was changed; {again}.")
    extra = next((one for one in sizes if one not in listed and one != checksums.FILE), None)
    if extra is not None:
        raise ModelError(f"{folder / extra} was added after the installation; {again}.")


def _listed(folder: Path) -> dict[str, str]:
    try:
        return parse((folder / checksums.FILE).read_bytes(), folder / checksums.FILE)
    except OSError:
        return {}
