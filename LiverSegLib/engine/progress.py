"""Progress in real units, and stopping."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from LiverSegLib.errors import SegmentationCancelled


@dataclass(frozen=True)
class Progress:
    """Where a segmentation stands.

    Args:
        stage: "locate", "prepare", "network", "restore", "postprocess", "divide" or "measure".
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
        network_as: what the stage of the network is called; the other stages are then not told of. For a model whose
            whole work is one stage of a chain.
    """

    def __init__(
        self, progress: ProgressCallback | None, should_stop: StopCallback | None, network_as: str = ""
    ) -> None:
        self._progress, self._should_stop, self._network_as = progress, should_stop, network_as
        self._started = time.perf_counter()

    def of_stage(self, stage: str) -> Monitor:
        """The monitor of a model that does one stage of a chain."""
        return Monitor(self._progress, self._should_stop, network_as=stage)

    def check(self) -> None:
        """Raise `SegmentationCancelled` if the caller wants to stop."""
        if self._should_stop is not None and self._should_stop():
            raise SegmentationCancelled("The segmentation was stopped; nothing was changed.")

    def report(self, stage: str, done: int, total: int, unit: str = "steps") -> None:
        """Check for a stop, then tell the caller how far the stage is."""
        self.check()
        if self._network_as and stage != "network":
            return
        now = time.perf_counter()
        if done == 0:
            self._started = now
        if self._progress is not None:
            left = (now - self._started) / done * (total - done) if done else None
            self._progress(Progress(self._network_as or stage, done, total, unit, left))


class Stages:
    """Reports each stage as it begins and ends, and keeps its seconds."""

    def __init__(self, monitor: Monitor) -> None:
        self.monitor = monitor
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    @contextmanager
    def run(self, stage: str) -> Iterator[None]:
        """A stage of one step."""
        self.monitor.report(stage, 0, 1)
        yield
        self.monitor.report(stage, 1, 1)
        self.lap(stage)

    def lap(self, stage: str) -> None:
        """What took place since the last stage ended was `stage`."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now
