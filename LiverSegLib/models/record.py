"""What is remembered of a model beside its folder: whence it came, and which license the user accepted for it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from LiverSegLib.errors import InputError, ModelError
from LiverSegLib.io.atomic import atomic_file
from LiverSegLib.io.regular_file import open_plain
from LiverSegLib.models.config import parse_json
from LiverSegLib.plain_data import from_plain

FOLDER = ".records"
_MAX_BYTES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is remembered; it stays when the model is removed.

    Args:
        url: where its file came from; "" for one of the user's.
        sha256: of that file.
        accepted: of the license text that the user accepted; "" for none.
        sizes: bytes of the installed files by relative name, for a look that costs nothing.
    """

    url: str = ""
    sha256: str = ""
    accepted: str = ""
    sizes: dict[str, int] = field(default_factory=dict)


def text_sha256(text: str) -> str:
    """By which a license text is known again."""
    return hashlib.sha256(text.encode()).hexdigest()


def read_record(store: Path, name: str) -> Record:
    """What is remembered of a model; an empty record where nothing is, or where it cannot be read."""
    path = store / FOLDER / f"{name}.json"
    try:
        with open_plain(path, _MAX_BYTES) as file:
            return from_plain(Record, parse_json(file.read(), path), path.name)
    except (OSError, InputError, ModelError):  # then it is asked and noted anew
        return Record()


def write_record(store: Path, name: str, record: Record) -> None:
    """Remember it.

    Raises:
        OutputError: it cannot be written.
    """
    (store / FOLDER).mkdir(parents=True, exist_ok=True)
    with atomic_file(store / FOLDER / f"{name}.json") as file:
        file.write((json.dumps(asdict(record), indent=1) + "\n").encode())
