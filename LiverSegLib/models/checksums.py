"""SHA-256 of every file of a package, in `checksums.sha256` (the format of `sha256sum`)."""

from __future__ import annotations

import hashlib
from pathlib import Path

from LiverSegLib.errors import ModelError

FILE = "checksums.sha256"


def digest(path: Path) -> str:
    """SHA-256 of a file as hexadecimal text."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def write_checksums(folder: Path) -> None:
    """List every file below `folder`."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != FILE)
    lines = [f"{digest(p)}  {p.relative_to(folder).as_posix()}\n" for p in files]
    (folder / FILE).write_text("".join(lines), encoding="utf-8")


def verify(folder: Path, path: Path) -> None:
    """Compare one file with the package's list; a package without a list, or file, passes.

    Raises:
        ModelError: the file is not the one that was listed.
    """
    listing = folder / FILE
    if not listing.is_file():
        return
    wanted: dict[str, str] = {}
    for line in listing.read_text(encoding="utf-8", errors="replace").splitlines():
        value, _, name = line.partition("  ")
        wanted[name.strip()] = value
    expected = wanted.get(path.relative_to(folder).as_posix())
    if expected is not None and digest(path) != expected:
        raise ModelError(f"{path} has a wrong checksum: it is damaged or was changed; get the package again.")
