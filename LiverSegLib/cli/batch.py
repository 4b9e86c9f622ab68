"""Many inputs, one after the other: what is wrong with one of them stops none of the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from LiverSegLib import stopping
from LiverSegLib.cli.output_plan import Case
from LiverSegLib.errors import LiverSegError, SegmentationCancelled
from LiverSegLib.volume import Result

Work = Callable[[Case], tuple[Result, list[Path]]]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one input.

    `files`: what was written. `result`: None where it failed; `cause` then tells why. `seconds`: reading, segmenting
    and writing together.
    """

    case: Case
    seconds: float
    files: list[Path] = field(default_factory=list)
    result: Result | None = None
    cause: Exception | None = None

    @property
    def error(self) -> str:
        """The sentence that says why it failed, "" where it did not."""
        if self.cause is None or isinstance(self.cause, LiverSegError):
            return str(self.cause or "")
        return f"{self.case.path} could not be segmented ({type(self.cause).__name__}: {self.cause})."


def run_batch(cases: Sequence[Case], work: Work) -> Iterator[Outcome]:
    """Do `work`, which reads, segments and writes one input, for each of `cases`.

    Yields:
        What became of each, as soon as it is known. Whatever a damaged file does to a library is told there too: the
        other inputs are still wanted.

    Raises:
        SegmentationCancelled: the user wants to stop.
    """
    for case in cases:
        started = time.perf_counter()
        try:
            result, files = work(case)
        except SegmentationCancelled:
            raise
        except Exception as error:
            if stopping.requested():  # what an interrupted library made of it
                raise
            yield Outcome(case=case, seconds=time.perf_counter() - started, cause=error)
        else:
            yield Outcome(case=case, seconds=time.perf_counter() - started, files=files, result=result)
