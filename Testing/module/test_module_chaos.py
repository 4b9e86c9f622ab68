"""Kills, closed scenes and removed nodes at random moments: a sentence each time, nothing lost, nothing left."""

from __future__ import annotations

import os
import random
import signal
from typing import Any

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", exc_type=ImportError)
pytest.importorskip("PySide6.QtWidgets", exc_type=ImportError)

from Testing.headless.case import add_volume, is_idle, is_running, worker_pids  # noqa: E402

pytest_plugins = ("Testing.module_case",)
pytestmark = pytest.mark.slow

MOMENTS = 20


def begin(ready: Any) -> Any:
    """Click Segment; returns the job."""
    ready.widget.ui.segmentButton.click()
    return ready.widget.logic.runner.jobs[0]


def a_users_segment(volume: Any) -> Any:
    """A segmentation with something that the user drew, chosen as output."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Mine")
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    node.GetSegmentation().AddEmptySegment("mine", "Mine")
    array = np.zeros(slicer.util.arrayFromVolume(volume).shape, np.uint8)
    array[3:9, 3:9, 3:9] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, node, "mine", volume)
    return node


def drawn(node: Any, volume: Any) -> int:
    return int(slicer.util.arrayFromSegmentBinaryLabelmap(node, "mine", volume).sum())


def test_worker_killed(ready: Any, volume: Any) -> None:
    moments = random.Random(1)
    output = a_users_segment(volume)
    ready.widget.ui.outputSelector.setCurrentNode(output)
    for _ in range(MOMENTS):
        job = begin(ready)
        ready.spin(moments.choice([0.0, 0.05, 0.3, 1.0, 3.0, 4.0]) * moments.random())
        pids = worker_pids(ready)
        if job.isOver or not pids:
            continue
        os.kill(pids[0], signal.SIGKILL)
        assert ready.spin_until(lambda job=job: job.isOver, 5)
        assert job.message.count(".") >= 1
        assert job.state in ("failed", "finished")
        assert ready.spin_until(lambda pids=pids: not is_running(pids[0]), 2)
        assert drawn(output, volume) == 216
    job = begin(ready)
    assert ready.spin_until(lambda: job.isOver, 60)
    assert job.state == "finished"


def test_scene_closed(ready: Any, draw_case: Any) -> None:
    moments = random.Random(2)
    model = ready.widget.panel.models.current.name
    for _ in range(MOMENTS):
        job = begin(ready)
        ready.spin(1.2 * moments.random())
        was_over = job.isOver
        slicer.mrmlScene.Clear(0)
        assert job.isOver
        assert was_over or "scene was closed" in job.message
        assert is_idle(ready)
        assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
        add_volume(draw_case)
        ready.select("LiverSeg")
        ready.widget.panel.chooseModel(model)
    job = begin(ready)
    assert ready.spin_until(lambda: job.isOver, 60)
    assert job.state == "finished"
    assert len(slicer.util.getNodesByClass("vtkMRMLSegmentationNode")) == 1


@pytest.mark.parametrize("what", ["input", "output"])
def test_node_removed(ready: Any, draw_case: Any, what: str) -> None:
    moments = random.Random(3)
    for number in range(MOMENTS):
        volume = add_volume(draw_case, f"Volume {number}")
        output = a_users_segment(volume)
        ready.widget.ui.inputSelector.setCurrentNode(volume)
        ready.widget.ui.outputSelector.setCurrentNode(output)
        job = begin(ready)
        ready.spin(0.6 * moments.random())
        was_over = job.isOver
        slicer.mrmlScene.RemoveNode(volume if what == "input" else output)
        assert ready.spin_until(lambda job=job: job.isOver, 60)
        if what == "input":
            assert was_over or "was removed while it was segmented" in job.message
            other = add_volume(draw_case, "Other")
            assert drawn(output, other) == 216
        elif not was_over:
            assert job.segmentationNode is not None
            assert any("removed meanwhile" in sentence for sentence in job.warnings)


def test_module_closed(ready: Any) -> None:
    begin(ready)
    ready.spin(1.0)
    pids = worker_pids(ready)
    assert pids
    ready.reload()
    assert not any(is_running(pid) for pid in pids)
