"""What the user feels: how quickly a job stops, how free the application stays, how soon the second run begins."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", exc_type=ImportError)
pytest.importorskip("PySide6.QtWidgets", exc_type=ImportError)

from Testing.headless.case import add_volume, is_idle  # noqa: E402

pytest_plugins = ("Testing.module_case",)
pytestmark = pytest.mark.timing

STAGES = ("prepare", "network", "restore", "postprocess", "measure")


@pytest.fixture
def big(ready: Any, draw_case: Any) -> Any:
    """A volume that keeps the worker busy for some seconds."""
    node = add_volume(draw_case, "Big", (220, 220, 200))
    ready.widget.ui.inputSelector.setCurrentNode(node)
    return node


def seconds_until_over(host: Any, job: Any, since: float) -> float:
    assert host.spin_until(lambda: job.isOver, 10)
    return time.monotonic() - since


@pytest.mark.parametrize("stage", STAGES)
def test_cancel_takes_less_than_a_second_in_every_stage(
    ready: Any, big: Any, threshold_package: Any, stage: str
) -> None:
    logic, package = ready.widget.logic, threshold_package()
    asked: list[float] = []

    def stop_there(job: Any) -> None:
        if job.progress.stage == stage and not asked:
            asked.append(time.monotonic())
            job.cancel()

    job = logic.start(big, model=package, device="cpu", progress=stop_there)
    assert ready.spin_until(lambda: bool(asked), 60), f"the stage {stage} was never reported"
    took = seconds_until_over(ready, job, asked[0])
    print(f"cancel in {stage}: {took:.2f} s")
    assert took < 1.0
    # Measuring is the end: the result may have been on its way already.
    assert job.state == "cancelled" or (stage == "measure" and job.state == "finished")
    again = logic.start(slicer.util.getNode("CT"), model=package, device="cpu")
    logic.wait([again])
    assert again.state == "finished"
    assert again.warm


@pytest.mark.parametrize("after", [0.0, 0.2, 0.7, 1.5, 2.5])
def test_cancel_while_the_worker_starts_and_loads(ready: Any, big: Any, threshold_package: Any, after: float) -> None:
    logic = ready.widget.logic
    logic.runner.restart()
    job = logic.start(big, model=threshold_package(), device="cpu")
    ready.spin(after)
    assert not job.isOver
    since = time.monotonic()
    job.cancel()
    took = seconds_until_over(ready, job, since)
    print(f"cancel {after} s after a cold start: {took:.2f} s")
    assert took < 1.0
    assert job.state == "cancelled"


class Gaps:
    """How long the event loop stood still, in time of the main thread's own work.

    Work of this thread, not time on the clock: what other programs take of the processor is not the module's
    doing. The hand-over of the voxels and the import of the result are counted apart.
    """

    def __init__(self) -> None:
        self.longest = self.apart = 0.0
        self._last: float | None = None
        self._inside = False

    def tick(self) -> None:
        now = time.thread_time()
        if self._last is not None and not self._inside:
            self.longest = max(self.longest, now - self._last)
        self._last, self._inside = now, False

    def count_apart(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any, **named: Any) -> Any:
            start, self._inside = time.thread_time(), True
            try:
                return function(*given, **named)
            finally:
                self.apart = max(self.apart, time.thread_time() - start)

        return run


@contextmanager
def watched(host: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gaps]:
    import qt
    from LiverSegUI.job import SegmentationJob

    gaps, timer = Gaps(), qt.QTimer()
    runner = host.widget.logic.runner
    monkeypatch.setattr(runner, "_handOver", gaps.count_apart(runner._handOver))
    monkeypatch.setattr(SegmentationJob, "succeed", gaps.count_apart(SegmentationJob.succeed))
    timer.timeout.connect(gaps.tick)
    timer.start(1)
    yield gaps
    timer.stop()


def test_the_event_loop_is_free_while_a_job_runs(ready: Any, big: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    logic, ui = ready.widget.logic, ready.widget.ui
    with watched(ready, monkeypatch) as gaps:
        ready.spin(0.05)
        ui.segmentButton.click()
        job = logic.runner.jobs[0]
        assert ready.spin_until(lambda: is_idle(ready), 90)
        ready.spin(0.05)
    assert job.state == "finished"
    size = np.prod(big.GetImageData().GetDimensions()) / 1e6
    print(
        f"event loop: {1000 * gaps.longest:.0f} ms; hand-over or import: {1000 * gaps.apart:.0f} ms ({size:.0f} MVoxel)"
    )
    assert gaps.longest <= 0.05
    assert gaps.apart <= 0.5


def test_a_second_run_costs_little_beside_the_engine(ready: Any, big: Any) -> None:  # noqa: ARG001
    logic, ui = ready.widget.logic, ready.widget.ui
    rest = []
    for _ in range(3):
        start = time.monotonic()
        ui.segmentButton.click()
        job = logic.runner.jobs[0]
        assert ready.spin_until(lambda job=job: job.isOver, 90)
        rest.append(time.monotonic() - start - sum(job.timings.values()))
    print(f"outside the engine: first {rest[0]:.2f} s, then {rest[1]:.2f} and {rest[2]:.2f} s")
    assert min(rest[1:]) <= 0.3
