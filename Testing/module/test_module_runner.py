"""The queue of the module: one segmentation at a time, each volume read once, nothing left on the disk."""

from __future__ import annotations

from typing import Any

import pytest

slicer = pytest.importorskip("slicer", exc_type=ImportError)
pytest.importorskip("PySide6.QtWidgets", exc_type=ImportError)

from Testing.headless.case import add_volume, is_idle  # noqa: E402

pytest_plugins = ("Testing.module_case",)


def files(host: Any, pattern: str = "*.npy") -> list[Any]:
    return list(host.widget.logic.runner.transport.session.folder.path.glob(pattern))


def test_a_volume_is_read_once_and_leaves_nothing_on_the_disk(ready: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from LiverSegLib import slicer_bridge

    reads: list[str] = []
    read = slicer_bridge.read_volume_node
    monkeypatch.setattr(slicer_bridge, "read_volume_node", lambda node: reads.append(node.GetName()) or read(node))
    ready.widget.ui.segmentButton.click()
    assert len(files(ready)) == 1
    assert ready.spin_until(lambda: is_idle(ready), 300)
    assert reads == ["CT"]
    assert files(ready) == []


def test_the_others_wait_and_only_one_volume_lies_on_the_disk(ready: Any, draw_case: Any) -> None:
    nodes = [add_volume(draw_case, f"Volume {number}") for number in range(3)]
    jobs = ready.widget.logic.startAll(nodes, model=ready.widget.panel.models.current.name)
    assert [job.state for job in jobs] == ["running", "waiting", "waiting"]
    assert ready.widget.logic.runner.jobs == jobs
    jobs[1].cancel()
    most = 0
    while not jobs[2].isOver:
        most = max(most, len(files(ready, "volume-*.npy")))
        ready.spin(0.02)
    assert [job.state for job in jobs] == ["finished", "cancelled", "finished"]
    assert most == 1
    assert files(ready) == []


def test_a_callback_may_wait_for_another_segmentation(ready: Any, draw_case: Any) -> None:
    logic, model = ready.widget.logic, ready.widget.panel.models.current.name
    first, second, third = (add_volume(draw_case, f"Volume {number}") for number in range(3))
    found: list[Any] = []
    jobs = [
        logic.start(first, model=model, finished=lambda _job: found.append(logic.segment(third, model=model))),
        logic.start(second, model=model),
    ]
    logic.wait(jobs)
    assert [job.state for job in jobs] == ["finished", "finished"]
    assert ready.spin_until(lambda: bool(found), 300)
    assert found[0].GetName() == "Volume 2 segmentation"
