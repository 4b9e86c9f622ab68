"""Fixtures of the module tests: the host, a volume, and a model that needs no training."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
pytest.importorskip("slicer.util", exc_type=ImportError)
pytest.importorskip("PySide6.QtWidgets", exc_type=ImportError)

import slicer
import slicer.util
from PySide6.QtCore import QSettings

from Testing.headless.case import add_volume, is_running, worker_pids
from Testing.headless.host import Host  # after the check that its parts are there


@pytest.fixture(scope="module")
def loaded_modules() -> Iterator[None]:
    """Reloading drops and imports our modules anew; other test files hold the classes of before."""
    ours = ("LiverSeg", "LiverSegLib", "LiverSegUI")
    before = {name: module for name, module in sys.modules.items() if name.split(".")[0] in ours}
    yield
    for name in [name for name in sys.modules if name.split(".")[0] in ours]:
        del sys.modules[name]
    sys.modules.update(before)


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory, loaded_modules: None) -> Iterator[Host]:  # noqa: ARG001
    """One "application" for a file of tests: starting a worker takes seconds. At its end no process may be left."""
    host = Host(tmp_path_factory.mktemp("settings"))
    yield host
    pids = worker_pids(host)
    host.close()
    for pid in pids:
        assert not is_running(pid), "a worker process was left behind"


@pytest.fixture
def host(application: Host) -> Iterator[Host]:
    """The "application" with an empty scene and the settings of a first start."""
    slicer.mrmlScene = application.scene  # tests without the host have scenes of their own
    yield application
    logic = application.widget.logic
    logic.onChange = application.widget.panel.update
    slicer.mrmlScene.Clear(0)
    application.select("Welcome")
    assert logic.runner.jobs == []
    assert application.answers == []
    application.questions.clear()
    QSettings().clear()
    application.widget.panel.devices.fill(())
    messages, application.messages = application.messages, []
    assert messages == []


@pytest.fixture
def volume(host: Host, draw_case: Any) -> Any:  # noqa: ARG001 (the scene must be there)
    """A volume node with a liver and a lesion."""
    return add_volume(draw_case)


@pytest.fixture
def ready(host: Host, volume: Any, threshold_package: Any) -> Host:  # noqa: ARG001
    """The module opened, with the volume and a model chosen."""
    host.select("LiverSeg")
    host.widget.panel.chooseModel(str(threshold_package()))
    return host
