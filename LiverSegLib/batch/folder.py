"""The folder of a batch: where its files are, who may write them, and the journals.

cases/<name>/       the results of a case and its small picture
parts/              a journal for each part, and the locks
logs/               what the processes said, for the case that one dies
table.csv, failed.jsonl, index.html, pages/
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from LiverSegLib.batch.locks import RunLock
from LiverSegLib.batch.records import Record
from LiverSegLib.errors import OutputError
from LiverSegLib.io.atomic import told

_PART = re.compile(r"part-(\d+)-of-(\d+)\.jsonl")
THUMBNAIL = "thumbnail.jpg"


@dataclass(frozen=True)
class Part:
    """The `number`-th, from 1, of `count` parts of a batch."""

    number: int = 1
    count: int = 1

    @property
    def text(self) -> str:
        """For example "part-0002-of-0016"."""
        return f"part-{self.number:04d}-of-{self.count:04d}"


@dataclass(frozen=True)
class BatchFolder:
    """The files of the batch in the folder `path`."""

    path: Path

    @property
    def table(self) -> Path:
        """One row a case, for programs and spreadsheets."""
        return self.path / "table.csv"

    @property
    def failed(self) -> Path:
        """One line of JSON for each case that failed; a list that a batch can be made of."""
        return self.path / "failed.jsonl"

    @property
    def page(self) -> Path:
        """The first page for people."""
        return self.path / "index.html"

    def case(self, name: str) -> Path:
        """The folder of a case."""
        return self.path / "cases" / name

    def log(self, part: Part, slot: int) -> Path:
        """What one process of a part says."""
        return self.path / "logs" / f"{part.text}-worker-{slot + 1}.log"

    def journal(self, part: Part) -> Path:
        """The journal of a part."""
        return self.path / "parts" / f"{part.text}.jsonl"

    def journals(self) -> list[Path]:
        """All journals, also those of runs in another number of parts."""
        folder = self.path / "parts"
        return sorted(path for path in folder.glob("part-*.jsonl") if _PART.fullmatch(path.name))

    def records(self, part: Part | None = None) -> list[Record]:
        """What the journals tell, in the order of time.

        Args:
            part: only what may concern its cases: where all journals are of runs in as many parts, its own. None: all.
        """
        journals = self.journals()
        counts = {int(found[2]) for path in journals if (found := _PART.fullmatch(path.name))}
        if part is not None and counts == {part.count}:
            journals = [path for path in journals if path == self.journal(part)]
        records = [record for path in journals for record in _read(path)]
        return sorted(records, key=lambda record: record.time)

    @contextmanager
    def held(self, part: Part) -> Iterator[None]:
        """Have the part for this run alone, and the batch for runs in as many parts.

        Raises:
            OutputError: another run works on it, or the folder cannot be written to.
        """
        with told(self.path), ExitStack() as stack:
            locks = self.path / "parts"
            locks.mkdir(parents=True, exist_ok=True)
            self._check_split(part, stack)
            mine = stack.enter_context(RunLock(locks / f"{part.text}.lock"))
            if not mine.take():
                raise OutputError(
                    f"Another run is at work in {self.path}; wait for it, or choose another folder with -o."
                )
            yield

    def is_idle(self) -> bool:
        """Whether no run is at work here."""
        with told(self.path), RunLock(self.path / "parts" / "split") as lock:
            return lock.take()

    def _check_split(self, part: Part, stack: ExitStack) -> None:
        """Have nobody else work in another number of parts: a case belongs to one part of each split."""
        split = self.path / "parts" / "split"
        lock = stack.enter_context(RunLock(split))
        if lock.take():
            split.write_text(f"{part.count}\n", encoding="ascii")
        # Between the two, another run can make the split its own; it is read once nobody can.
        if not lock.take(shared=True) or split.read_text(encoding="ascii").strip() not in ("", str(part.count)):
            raise OutputError(
                f"Another run is at work in {self.path} with another number of parts; wait for it, or give the "
                "same --parts."
            )


class Journal:
    """Takes records, each on the disk before the next begins.

    Args:
        path: the file; records are added at its end.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with told(path):
            self._file = path.open("ab")
            if path.stat().st_size and not _ends_with_newline(path):
                self._file.write(b"\n")  # behind the half line of a killed process

    def write(self, record: Record) -> None:
        """Add a record.

        Raises:
            OutputError: the disk is full, or gone.
        """
        with told(self._path):
            self._file.write(record.line())
            self._file.flush()
            if record.found is not None:
                os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _read(path: Path) -> Iterator[Record]:
    with told(path), path.open("rb") as file:
        for line in file:
            record = Record.read(line)
            if record is not None:
                yield record


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
