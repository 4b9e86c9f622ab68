"""What happens around the panel: scenes opened and closed, a reload, nodes that go, packages that are missing."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

slicer = pytest.importorskip("slicer", exc_type=ImportError)
pytest.importorskip("PySide6.QtWidgets", exc_type=ImportError)

from Testing.headless.case import add_volume, is_idle  # noqa: E402

pytest_plugins = ("Testing.module_case",)


def run(host: Any) -> str:
    """Click Segment and wait; returns what the panel says at the end."""
    host.widget.ui.segmentButton.click()
    assert host.spin_until(lambda: is_idle(host), 300), "the segmentation did not end"
    host.spin(0.05)
    return str(host.widget.ui.statusText.text())


def save_scene(path: Path) -> None:
    slicer.mrmlScene.SetURL(str(path))
    slicer.mrmlScene.Commit(str(path))


def open_scene(path: Path) -> None:
    """As File > Open: the scene is closed and the file imported, whatever module is shown."""
    slicer.mrmlScene.Clear(0)
    slicer.mrmlScene.SetURL(str(path))
    slicer.mrmlScene.Import()


class TestScenes:
    def chosen(self, host: Any) -> list[str]:
        ui = host.widget.ui
        selectors = (ui.inputSelector, ui.outputSelector, ui.tableSelector, ui.roiSelector)
        return [node.GetName() if (node := selector.currentNode()) is not None else "" for selector in selectors]

    @pytest.mark.parametrize("is_open", [True, False], ids=["panel open", "panel closed"])
    def test_opened_with_all_its_choices(self, ready: Any, tmp_path: Path, is_open: bool) -> None:
        ui = ready.widget.ui
        ui.roiFitButton.click()
        run(ready)
        ui.tumorBox.setChecked(False)
        before = self.chosen(ready)
        assert before == ["CT", "CT segmentation", "CT measurements", "Liver ROI"]
        rows = [ui.resultsTable.item(row, 1).text() for row in range(ui.resultsTable.rowCount())]
        save_scene(tmp_path / "scene.mrml")
        if not is_open:
            ready.select("Data")
        open_scene(tmp_path / "scene.mrml")
        ready.select("LiverSeg")
        assert self.chosen(ready) == before
        assert not ui.tumorBox.isChecked()
        assert ready.widget._parameterNode.outputSegmentation is not None
        assert rows
        ready.spin(0.2)
        assert ui.batchTable.rowCount() == 1
        assert ui.segmentButton.isEnabled()

    def test_the_measurements_of_a_loaded_table_are_shown(self, ready: Any, tmp_path: Path) -> None:
        ui = ready.widget.ui
        run(ready)
        rows = [ui.resultsTable.item(row, 1).text() for row in range(ui.resultsTable.rowCount())]
        table = ui.tableSelector.currentNode()
        storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableStorageNode")
        storage.SetFileName(str(tmp_path / "table.tsv"))
        table.SetAndObserveStorageNodeID(storage.GetID())
        assert storage.WriteData(table)
        save_scene(tmp_path / "scene.mrml")
        open_scene(tmp_path / "scene.mrml")
        assert [ui.resultsTable.item(row, 1).text() for row in range(ui.resultsTable.rowCount())] == rows
        assert "From the table CT measurements" in ui.resultsText.text()
        assert not ui.csvButton.isEnabled()

    def test_closed_while_open_and_used_again(self, ready: Any, draw_case: Any) -> None:
        ui = ready.widget.ui
        run(ready)
        slicer.mrmlScene.Clear(0)
        assert ui.resultsText.text() == "No results yet."
        assert not ui.segmentButton.isEnabled()
        add_volume(draw_case, "Next")
        ui.inputSelector.setCurrentNode(slicer.util.getNode("Next"))
        ready.spin(0.2)
        assert ui.segmentButton.isEnabled()
        assert ui.batchTable.item(0, 0).text() == "Next"


class TestReload:
    """The application does not call `enter` after a reload; only `parent.isEntered` tells that the panel is shown."""

    def test_the_panel_works_at_once(self, ready: Any, draw_case: Any) -> None:
        model = ready.widget.panel.models.current.name
        ready.widget.onReload()
        widget = ready.widget
        assert widget.ui.inputSelector.currentNode().GetName() == "CT"
        assert widget.ui.segmentButton.isEnabled()
        assert widget.ui.batchTable.rowCount() == 1
        devices = widget.ui.deviceBox
        assert ready.spin_until(lambda: any(" GB" in devices.itemText(n) for n in range(devices.count())), 300)
        slicer.mrmlScene.Clear(0)
        add_volume(draw_case, "After")
        widget.ui.inputSelector.setCurrentNode(slicer.util.getNode("After"))
        assert widget._parameterNode.inputVolume.GetName() == "After"
        widget.panel.chooseModel(model)
        assert run(ready).startswith("After was segmented in ")

    def test_reload_and_test(self, ready: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """The button of developer mode: reload, then the self tests; those of the engine are run elsewhere."""
        ready.widget.onReload()
        monkeypatch.setattr(ready.module, "missingPackages", lambda: ["left out"])
        ready.module.LiverSegTest().runTest()

    def test_in_a_run_it_tells_what_it_stopped(self, ready: Any, caplog: pytest.LogCaptureFixture) -> None:
        ready.widget.ui.segmentButton.click()
        ready.spin(0.1)
        job = ready.widget.logic.runner.jobs[0]
        ready.widget.onReload()
        assert (job.state, "reloaded" in job.message) == ("cancelled", True)
        assert "the segmentation of CT was stopped" in caplog.text


class TestRemovals:
    def test_a_removed_volume_stops_its_run_at_once(self, ready: Any, draw_case: Any) -> None:
        run(ready)
        big = add_volume(draw_case, "Big", (200, 200, 180))
        ready.widget.ui.inputSelector.setCurrentNode(big)
        other = add_volume(draw_case, "Other")
        ready.widget.ui.segmentButton.click()
        job = ready.widget.logic.runner.jobs[0]
        waiting = ready.widget.logic.start(other, model=ready.widget.panel.models.current.name)
        assert ready.spin_until(lambda: job.progress is not None, 60)
        slicer.mrmlScene.RemoveNode(big)
        assert job.isOver
        assert "Big was removed while it was segmented, so the segmentation was stopped." in job.message
        assert ready.spin_until(lambda: waiting.isOver, 300)
        assert waiting.state == "finished"

    def test_removing_another_node_stops_nothing(self, ready: Any, draw_case: Any) -> None:
        other = add_volume(draw_case, "Other")
        ready.widget.ui.segmentButton.click()
        slicer.mrmlScene.RemoveNode(other)
        assert ready.spin_until(lambda: is_idle(ready), 300)
        assert ready.widget.logic.runner.lastJob.state == "finished"

    def test_a_worker_killed_behind_its_launcher(self, ready: Any) -> None:
        """PythonSlicer is a launcher: all that is seen of the worker's death is exit code 1."""
        runner = ready.widget.logic.runner
        runner.restart()
        command = runner.transport._command
        runner.transport._command = lambda: ["/bin/sh", "-c", '"$@" || exit 1', "launcher", *command()]
        try:
            ready.widget.ui.segmentButton.click()
            session = runner.transport.session
            assert ready.spin_until(lambda: session.hello is not None, 300)
            os.kill(session.hello.pid, signal.SIGKILL)
            assert ready.spin_until(lambda: is_idle(ready), 30)
            ready.spin(0.05)
        finally:
            runner.transport._command = command
        assert "(exit code 1)" in ready.widget.ui.statusText.text()
        assert "perhaps memory ran out" in ready.widget.ui.statusText.text()


class TestInstall:
    @pytest.fixture
    def bare(self, ready: Any, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
        """A first start: neither torch nor monai; a PyTorchUtils that does as its user says."""
        from LiverSegUI import install

        state = SimpleNamespace(host=ready, absent=["torch", "monai"], pip=[], accept=True, opened=[])
        real = install._version
        monkeypatch.setattr(install, "_version", lambda name: () if name in state.absent else real(name))

        def install_torch(**_how: Any) -> None:
            if state.accept:
                state.absent.remove("torch")

        logic = SimpleNamespace(installTorch=install_torch)
        monkeypatch.setitem(sys.modules, "PyTorchUtils", SimpleNamespace(PyTorchUtilsLogic=lambda: logic))
        monkeypatch.setattr(slicer.util, "pip_install", state.pip.append)
        ready.select("Data")
        ready.select("LiverSeg")
        return state

    def test_declining_torch_installs_nothing(self, bare: SimpleNamespace) -> None:
        bare.accept = False
        ui = bare.host.widget.ui
        assert ui.installText.text() == "The first use needs PyTorch, MONAI."
        assert not ui.batchRunButton.isEnabled()
        ui.installButton.click()
        assert bare.pip == []
        assert "PyTorch was not installed" in ui.statusText.text()
        assert ui.installButton.isVisibleTo(bare.host.parent)

    def test_the_reader_of_weights_is_installed_alone_where_only_it_is_missing(self, bare: SimpleNamespace) -> None:
        bare.absent[:] = ["safetensors"]
        bare.host.select("Data")
        bare.host.select("LiverSeg")
        ui = bare.host.widget.ui
        assert ui.installText.text() == "The first use needs safetensors."
        ui.installButton.click()
        assert bare.pip == ['"safetensors>=0.4"']

    def test_without_the_extension_the_button_leads_to_it(
        self, bare: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delitem(sys.modules, "PyTorchUtils")
        bare.host.widget.panel.update()
        ui = bare.host.widget.ui
        assert "PyTorch extension" in ui.installText.text()
        assert ui.installButton.text() == "Open the Extensions Manager"
        ui.installButton.click()  # this application has none
        assert "has no Extensions Manager" in ui.statusText.text()
        opened: list[bool] = []
        monkeypatch.setattr(slicer.app, "openExtensionsManagerDialog", lambda: opened.append(True), raising=False)
        ui.installButton.click()
        assert opened == [True]
        assert bare.pip == []
