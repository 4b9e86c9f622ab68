"""What goes wrong with data and with runs, as errors with one sentence."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from LiverSegLib.errors import LiverSegError

_SHOWN = 8


class DataError(LiverSegError):
    """The training data cannot be used as it is; the sentence names the file.

    Args:
        message: one sentence.
        file: the file that is to blame, where it is one.
    """

    def __init__(self, message: str, file: Path | None = None) -> None:
        super().__init__(message)
        self.file = file


class RunError(LiverSegError):
    """A run cannot begin, go on or be used; the sentence names the run, the file or what the machine lacks."""


def listed(values: Iterable[object]) -> str:
    """The first few values with commas, and how many more there are."""
    shown = [str(value) for value in values]
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return ", ".join(shown[:_SHOWN]) + more
