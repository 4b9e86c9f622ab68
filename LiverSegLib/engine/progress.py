"""Progress in real units, and stopping."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from LiverSegLib.errors import SegmentationCancelled


@dataclass(frozen=True)
class Progress:
    """Where a segmentation stands.

    Args:
        stage: "prepare", "network", "restore", "postprocess" or "measure".
        done, total: how much of the stage is done, in `unit`.
        unit: "slices", "windows" or "steps".
        seconds_left: estimate for the stage, None until there is one.
    """

    stage: str
    done: int
    total: int
    unit: str = "steps"
    seconds_left: float | None = None

    @property
    def text(self) -> str:
        """One line for a person."""
        left = "" if self.seconds_left is None else f", about {max(1, round(self.seconds_left))} s left"
        count = f": {self.done} of {self.total} {self.unit}" if self.unit != "steps" else ""
        return f"{self.stage.capitalize()}{count}{left}"


ProgressCallback = Callable[[Progress], None]
StopCallback = Callable[[], bool]


class Monitor:
    """Reports progress and raises when the caller wants to stop.

    Args:
        progress: called in the thread that computes; None for no reports.
        should_stop: asked often, so it should be cheap; None for never.
    """

    def __init__(self, progress: ProgressCallback | None, should_stop: StopCallback | None) -> None:
        self._progress, self._should_stop = progress, should_stop
        self._started = time.perf_counter()

    def check(self) -> None:
        """Raise `SegmentationCancelled` if the caller wants to stop."""
        if self._should_stop is not None and self._should_stop():
            raise SegmentationCancelled("The segmentation was stopped; nothing was changed.")

    def report(self, stage: str, done: int, total: int, unit: str = "steps") -> None:
        """Check for a stop, then tell the caller how far the stage is."""
        self.check()
        now = time.perf_counter()
        if done == 0:
            self._started = now
        if self._progress is not None:
            left = (now - self._started) / done * (total - done) if done else None
            self._progress(Progress(stage, done, total, unit, left))
