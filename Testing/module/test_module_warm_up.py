"""The worker loads the chosen model when the module is opened: quietly, and so that a click never waits longer."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

slicer = pytest.importorskip("slicer", exc_type=ImportError)
pytest.importorskip("PySide6.QtWidgets", exc_type=ImportError)

from Testing.headless.case import is_idle, worker_pids  # noqa: E402

pytest_plugins = ("Testing.module_case",)


@pytest.fixture
def user(ready: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module closed, with a model chosen that no worker has seen, and an application that tests no modules."""
    from LiverSegUI import warm_up

    monkeypatch.setattr(slicer.app, "testingEnabled", lambda: False)
    monkeypatch.setattr(warm_up, "CHOICE_MS", 10)
    ready.select("Data")
    ready.widget.logic.runner.log.clear()
    ready.widget.panel.say("Before.")
    yield ready
    ready.widget.warmUp.close()


def is_over(host: Any) -> bool:
    """Whether nothing that the worker was asked is open."""
    runner = host.widget.logic.runner
    return runner._warming is None and not runner.transport.session._asked


def open_and_wait(host: Any) -> None:
    host.select("LiverSeg")
    assert host.spin_until(lambda: host.widget.logic.runner._warming is not None, 30)
    assert host.spin_until(lambda: is_over(host), 300)


def loads(host: Any) -> list[str]:
    """What the worker logged of loading models."""
    return [line for line in host.widget.logic.runner.log if " Loaded " in line]


def segmented(host: Any) -> Any:
    """The job of a click on Segment, when it is over."""
    host.widget.ui.segmentButton.click()
    job = host.widget.logic.runner.jobs[0]
    assert host.spin_until(lambda: is_idle(host), 300)
    return job


def test_opening_the_module_makes_the_first_segment_a_warm_one(user: Any) -> None:
    open_and_wait(user)
    assert len(loads(user)) == 1
    assert user.widget.ui.statusText.text() == "Before."
    assert user.widget.ui.segmentButton.text() == "Segment"
    assert segmented(user).warm
    assert len(loads(user)) == 1


def test_a_click_meanwhile_joins_in(user: Any) -> None:
    runner = user.widget.logic.runner
    runner.restart()
    user.select("LiverSeg")
    assert user.spin_until(lambda: runner._warming is not None, 30)
    job = segmented(user)
    assert (job.state, job.warm) == ("finished", True)
    assert len(loads(user)) == 1


def test_another_choice_is_made_ready_and_the_way_there_is_not(user: Any, threshold_package: Any) -> None:
    open_and_wait(user)
    panel, chosen = user.widget.panel, str(threshold_package(name="chosen"))
    for path in (str(threshold_package(name="passed by")), chosen):
        panel.chooseModel(path)
    assert user.spin_until(lambda: user.widget.logic.runner._warming is not None, 30)
    assert user.spin_until(lambda: is_over(user), 300)
    assert [chosen in line for line in loads(user)] == [False, True]
    assert segmented(user).warm


def test_a_segmentation_by_another_model_does_not_wait_for_the_answer(user: Any, threshold_package: Any) -> None:
    user.select("LiverSeg")
    logic = user.widget.logic
    assert user.spin_until(lambda: logic.runner._warming is not None, 30)
    node = logic.segment(user.widget.panel._parameterNode.inputVolume, model=threshold_package(name="script"))
    assert node.GetSegmentation().GetNumberOfSegments() > 0
    assert user.spin_until(lambda: is_over(user), 30)


@pytest.mark.parametrize("how", ["cancel", pytest.param("scene", marks=pytest.mark.slow), "leave"])
def test_cancel_a_closed_scene_and_leaving_meanwhile(user: Any, how: str) -> None:
    runner = user.widget.logic.runner
    if how == "cancel":
        runner.restart()
    user.select("LiverSeg")
    assert user.spin_until(lambda: runner._warming is not None, 30)
    if how == "leave":
        user.select("Data")
    else:
        user.widget.ui.segmentButton.click()
        job = runner.jobs[0]
        (user.widget.ui.segmentButton.click if how == "cancel" else lambda: slicer.mrmlScene.Clear(0))()
        assert user.spin_until(lambda: job.isOver, 60)
        assert job.state == "cancelled"
    assert user.spin_until(lambda: is_over(user), 300)
    assert len(worker_pids(user)) == 1


def test_what_fails_is_told_by_the_segmentation_alone(user: Any, threshold_package: Any) -> None:
    package = threshold_package(name="broken")
    (package / "models" / "model.safetensors").write_bytes(b"no weights")
    user.select("LiverSeg")
    user.widget.panel.chooseModel(str(package))
    assert user.spin_until(lambda: user.widget.logic.runner._warming is not None, 30)
    assert user.spin_until(lambda: is_over(user), 300)
    assert user.widget.ui.statusText.text() == "Before."
    assert segmented(user).state == "failed"
    assert "model.safetensors" in user.widget.ui.statusText.text()


def test_after_a_long_time_elsewhere_the_worker_ends(user: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from LiverSegUI import warm_up

    open_and_wait(user)
    assert len(worker_pids(user)) == 1
    monkeypatch.setattr(warm_up, "LEFT_MS", 10)
    user.select("Data")
    assert user.spin_until(lambda: worker_pids(user) == [], 30)


@pytest.mark.parametrize("why", ["a test of modules", "torch is missing", "little memory", "no model"])
def test_when_nothing_is_made_ready(user: Any, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    from LiverSegUI import warm_up

    asked: list[object] = []
    monkeypatch.setattr(user.widget.logic.runner, "warmUp", lambda *request: asked.append(request))
    if why == "a test of modules":
        monkeypatch.setattr(slicer.app, "testingEnabled", lambda: True)
    elif why == "torch is missing":
        monkeypatch.setattr(warm_up, "missingPackages", lambda: ["torch>=2.10"])
    elif why == "little memory":
        monkeypatch.setattr(warm_up, "available_bytes", lambda: 1 << 30)
    else:
        monkeypatch.setattr(user.widget.warmUp, "_models", SimpleNamespace(current=None))
    user.select("LiverSeg")
    user.spin(0.1)
    assert asked == []
