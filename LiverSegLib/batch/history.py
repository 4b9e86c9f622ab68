"""What the journals say of each case: what is done, what failed, how often it was tried, what is left to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from LiverSegLib.batch.folder import BatchFolder
from LiverSegLib.batch.records import DONE, FAILED, STARTED, BatchCase, Record

TRIES = 3
"""How often a case is tried before it counts as failed."""
INTERRUPTIONS = 10
"""How many ends of the whole run a case may be at work in: a case that takes the machine with it ends here."""


@dataclass
class History:
    """Of one case with one key: the last line on it, failed tries, and ends of the run while it was at work."""

    last: Record
    tries: int = 0
    interruptions: int = 0

    @property
    def has_failed(self) -> bool:
        """Whether it is not tried again by itself."""
        spent = self.tries >= TRIES or self.interruptions >= INTERRUPTIONS
        return self.last.event != DONE and (spent or (self.last.event == FAILED and self.last.final))

    @property
    def sentence(self) -> str:
        """Why it failed."""
        if self.last.sentence or not self.interruptions:
            return self.last.sentence
        return f"{self.last.input} was at work at {self.interruptions} sudden ends of the run; look at it by itself."


def histories(records: Iterable[Record]) -> dict[str, History]:
    """The history of each case by its name, from records in the order of time."""
    found: dict[str, History] = {}
    for record in records:
        history = found.get(record.name)
        if history is None or history.last.key != record.key:
            history = found[record.name] = History(last=record)
        elif record.event == STARTED and history.last.event == DONE:
            history.tries = history.interruptions = 0  # it is done again, its files were lost
        elif record.event == STARTED and history.last.event == STARTED:
            history.interruptions += 1  # nobody lived to tell how the earlier start ended
        if record.event == FAILED:
            history.tries += 1
        history.last = record
    return found


def left_to_do(
    cases: Sequence[BatchCase],
    keys: dict[str, str],
    past: dict[str, History],
    folder: BatchFolder,
    *,
    retry_failed: bool = False,
) -> list[tuple[BatchCase, int]]:
    """The cases that have to be done, with the failed tries that each has had.

    Done is a case whose input, model and settings (`keys`) are as they were and whose files all lie there with their
    sizes.
    """
    left = []
    for case in cases:
        history = past.get(case.name)
        if history is None or history.last.key != keys[case.name]:
            left.append((case, 0))
        elif history.last.event == DONE:
            if not _is_complete(history.last, folder):
                left.append((case, 0))
        elif not history.has_failed:
            left.append((case, history.tries))
        elif retry_failed:
            left.append((case, 0))
    return left


def _is_complete(record: Record, folder: BatchFolder) -> bool:
    if record.found is None:
        return False
    try:
        return all((folder.path / name).stat().st_size == size for name, size in record.found.files.items())
    except (OSError, ValueError):
        return False
