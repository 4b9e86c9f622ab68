"""SHA-256 of every file of a package, in `checksums.sha256` (the format of `sha256sum`)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from LiverSegLib.errors import ModelError

FILE = "checksums.sha256"
MAX_BYTES = 1_000_000
_LINE = re.compile(r"(?P<digest>[0-9a-fA-F]{64}) [ *](?P<name>.+)")


def digest(file: BinaryIO, each: Callable[[int], None] | None = None) -> str:
    """SHA-256 of what is left of an open file, as hexadecimal text.

    Args:
        file: the file.
        each: called with the bytes of each block; what it raises ends the work.
    """
    found = hashlib.sha256()
    while block := file.read(1 << 20):
        found.update(block)
        if each is not None:
            each(len(block))
    return found.hexdigest()


def write_checksums(folder: Path, each: Callable[[int], None] | None = None) -> None:
    """List every file below `folder`; `each` is called as in `digest`."""
    lines = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != FILE):
        with path.open("rb") as file:
            lines.append(f"{digest(file, each)}  {path.relative_to(folder).as_posix()}\n")
    (folder / FILE).write_text("".join(lines), encoding="utf-8")


def parse(content: bytes, path: Path) -> dict[str, str]:
    """Checksum by relative path, from the content of the list at `path`.

    Raises:
        ModelError: it is no such list, names a file twice, or names one outside the package.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), start=1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line)
        name = PurePosixPath(match["name"] if match else "..")
        if match is None or name.is_absolute() or ".." in name.parts or str(name) in found:
            raise ModelError(f"Line {number} of {path} is not a checksum of a file of the package; get it again.")
        found[str(name)] = match["digest"].lower()
    return found
