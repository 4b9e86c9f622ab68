"""The panel as a user of Slicer meets it: its parts, what they say, and what becomes of a user's own work."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", exc_type=ImportError)
pytest.importorskip("PySide6.QtWidgets", exc_type=ImportError)

from PySide6.QtCore import QPoint, Qt  # noqa: E402
from PySide6.QtTest import QTest  # noqa: E402
from PySide6.QtWidgets import QMessageBox  # noqa: E402

from Testing.headless.case import add_volume, is_idle  # noqa: E402

pytest_plugins = ("Testing.module_case",)


def run(host: Any, button: str = "segmentButton") -> str:
    """Click a button that segments and wait; returns what the panel says at the end."""
    getattr(host.widget.ui, button).click()
    assert host.spin_until(lambda: is_idle(host), 300), "the segmentation did not end"
    host.spin(0.05)
    return str(host.widget.ui.statusText.text())


def segmentations() -> list[Any]:
    return list(slicer.util.getNodesByClass("vtkMRMLSegmentationNode"))


def shown() -> Any:
    from LiverSegUI.views import shownVolume

    return shownVolume()


def visible(node: Any) -> bool:
    return bool(node.GetDisplayNode().GetVisibility())


class TestLayout:
    def test_nothing_below_the_button_moves(self, ready: Any, volume: Any) -> None:
        ui, parent = ready.widget.ui, ready.parent
        parent.resize(400, 1200)
        parent.show()
        ready.spin(0.1)
        places: list[int] = []

        def note() -> None:
            places.append(ui.resultsButton.mapTo(parent, QPoint(0, 0)).y())

        note()
        ready.widget.logic.onChange = lambda: (ready.widget.panel.update(), note())
        run(ready)
        ready.spin(0.1)
        note()
        slicer.util.updateVolumeFromArray(volume, np.zeros((20, 20, 20), np.int16))
        assert run(ready).startswith("\u26a0")
        ready.widget.panel.say("A sentence that is far too long for a narrow panel. " * 12)
        ready.spin(0.1)
        note()
        parent.hide()
        assert len(places) > 5
        assert len(set(places)) == 1

    def test_it_fits_into_400_pixels(self, ready: Any) -> None:
        ui = ready.widget.ui
        for section in (ui.batchSection, ui.advancedButton, ui.logButton):
            section.setProperty("collapsed", False)
        assert ready.parent.minimumSizeHint().width() <= 400
        for section in (ui.batchSection, ui.advancedButton, ui.logButton):
            section.setProperty("collapsed", True)

    def test_research_use_only_is_said_in_the_panel(self, ready: Any) -> None:
        assert "For research only" in ready.widget.ui.researchText.text()
        assert ready.widget.ui.researchText.isVisibleTo(ready.parent)

    def test_the_message_tells_the_time_that_the_user_waited(self, ready: Any) -> None:
        said = run(ready)
        job = ready.widget.logic.runner.lastJob
        seconds = float(said.split(" in ")[1].split(" s.")[0])
        assert seconds + 0.1 >= sum(job.timings.values())
        assert "cpu" not in said
        assert any(line.startswith("On cpu") for line in ready.widget.logic.runner.log)

    def test_the_log_can_be_copied(self, ready: Any) -> None:
        run(ready)
        ready.widget.ui.logCopyButton.click()
        assert "CT was segmented in" in slicer.app.clipboard().text()


class TestModels:
    def test_what_it_cannot_do_is_said_and_not_offered(self, ready: Any, threshold_package: Any) -> None:
        ui, panel = ready.widget.ui, ready.widget.panel
        assert ui.tumorBox.isVisibleTo(ready.parent)
        panel.chooseModel(str(threshold_package(name="liver_only", labels=1)))
        assert "Segments liver on CT. Marks no tumors." in ui.modelText.text()
        assert not ui.tumorBox.isVisibleTo(ready.parent)
        assert ui.batchTable.isColumnHidden(3)
        assert ui.segmentButton.isEnabled()
        ui.liverBox.setChecked(False)
        assert not ui.segmentButton.isEnabled()
        assert "what to segment" in ui.segmentButton.toolTip()
        ui.liverBox.setChecked(True)
        panel.chooseModel("")
        ui.batchAllButton.click()

    def test_the_line_is_short_until_more_is_asked_for(self, ready: Any, threshold_package: Any) -> None:
        ui = ready.widget.ui
        wicked = str(threshold_package(name="wicked", data_source="<img src=x> & more. " * 20))
        ready.widget.panel.chooseModel(wicked)
        assert len(ui.modelText.text()) < 120
        ui.modelText.linkActivated.emit("more")
        assert "&lt;img src=x&gt; &amp; more" in ui.modelText.text()
        assert "wicked" in ui.modelText.text()
        ui.modelText.linkActivated.emit("less")
        assert len(ui.modelText.text()) < 120

    def test_packages_of_the_same_name_can_be_told_apart_and_taken_off(
        self, ready: Any, threshold_package: Any
    ) -> None:
        ui, panel = ready.widget.ui, ready.widget.panel
        for name in ("one", "a/two", "b/two"):
            panel.chooseModel(str(threshold_package(name=name)))
        titles = [ui.modelBox.itemText(row) for row in range(ui.modelBox.count())]
        assert len(set(titles)) == len(titles)
        assert titles[-2].endswith("(two)")
        assert "b/two" in ui.modelText.toolTip()
        _add, remove = panel.modelActions
        remove.trigger()
        assert "off the list" in ui.statusText.text()
        assert ui.modelBox.count() == len(titles) - 1
        while panel.models.current.path is not None:
            remove.trigger()
        count = ui.modelBox.count()
        remove.trigger()
        assert "stay on the list" in ui.statusText.text()
        assert ui.modelBox.count() == count


class TestRoi:
    def test_a_new_one_is_placed_or_fitted(self, ready: Any, volume: Any) -> None:
        ui, placer = ready.widget.ui, ready.widget.panel.region._placer
        roi = ui.roiSelector.addNode()
        assert placer.currentNode() is roi
        assert placer.placeButton().isEnabled()
        said = run(ready)
        assert "has no size; place it in the views, fit it to the volume" in said
        ui.roiFitButton.click()
        assert ui.roiSelector.currentNode() is roi
        from LiverSegLib.slicer_bridge import roi_box

        assert roi_box(roi, volume) == tuple((0, n) for n in volume.GetImageData().GetDimensions())
        assert run(ready).startswith("CT was segmented")

    def test_without_the_place_widget_it_can_still_be_fitted(self, ready: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(slicer, "qSlicerMarkupsPlaceWidget")
        ready.widget.onReload()
        assert ready.widget.panel.region._placer is None
        ready.widget.ui.roiFitButton.click()
        assert ready.widget.ui.roiSelector.currentNode().GetNumberOfDefinedControlPoints() == 1
        monkeypatch.undo()
        ready.widget.onReload()


class TestViews:
    def test_the_result_is_shown_in_slices_and_3d(self, ready: Any, volume: Any) -> None:
        resets = slicer.app.layoutManager().resets
        run(ready)
        (node,) = segmentations()
        assert shown() is volume
        assert node.GetSegmentation().ContainsRepresentation("Closed surface")
        assert slicer.app.layoutManager().resets == resets + 1
        run(ready)
        assert slicer.app.layoutManager().resets == resets + 1  # the user may have turned the view

    def test_show_3d_is_slicers_own_button(self, ready: Any) -> None:
        ready.widget.ui.show3DBox.setChecked(False)
        run(ready)
        (node,) = segmentations()
        button, resets = ready.widget.panel.actions.show3DButton, slicer.app.layoutManager().resets
        assert button.segmentationNode() is node
        assert not button.isChecked()
        button.click()
        assert node.GetSegmentation().ContainsRepresentation("Closed surface")
        assert slicer.app.layoutManager().resets == resets + 1
        button.click()
        assert not node.GetSegmentation().ContainsRepresentation("Closed surface")

    def test_a_batch_shows_only_the_segmentation_of_the_shown_volume(
        self, ready: Any, volume: Any, draw_case: Any
    ) -> None:
        from LiverSegUI.views import showVolume

        second = add_volume(draw_case, "Second")
        showVolume(volume)
        ready.spin(0.2)
        seen: list[int] = []
        ready.widget.logic.onChange = lambda: (
            ready.widget.panel.update(),
            seen.append(sum(visible(node) for node in segmentations())),
        )
        ready.widget.ui.batchAllButton.click()
        run(ready, "batchRunButton")
        assert max(seen) == 1
        of = {node.GetName(): node for node in segmentations()}
        assert visible(of["CT segmentation"])
        assert not visible(of["Second segmentation"])
        assert of["CT segmentation"].GetSegmentation().ContainsRepresentation("Closed surface")
        assert not of["Second segmentation"].GetSegmentation().ContainsRepresentation("Closed surface")
        assert ready.widget.ui.batchProgressBar.text() == "2 of 2 done"
        self.click_row(ready, 1, 60)
        assert shown() is second
        assert (visible(of["CT segmentation"]), visible(of["Second segmentation"])) == (False, True)
        assert of["Second segmentation"].GetSegmentation().ContainsRepresentation("Closed surface")
        assert ready.widget.ui.inputSelector.currentNode() is second
        assert ready.widget.ui.outputSelector.currentNode() is of["Second segmentation"]
        assert ready.widget.ui.resultsText.text().startswith("Second: 1 lesion")
        self.click_row(ready, 0, 8)  # the check box
        assert len(ready.widget.panel.batch.marked()) == 1
        assert shown() is second

    def click_row(self, host: Any, row: int, x: int) -> None:
        """A real click, this many pixels from the left of a row."""
        ui = host.widget.ui
        ui.batchSection.setProperty("collapsed", False)
        host.parent.resize(400, 1400)
        host.parent.show()
        table = ui.batchTable
        # A busy machine takes its time to lay the window out.
        assert QTest.qWaitForWindowExposed(host.parent, 60_000)
        assert host.spin_until(
            lambda: table.viewport().rect().contains(table.visualItemRect(table.item(row, 0)).center())
        )
        rect = table.visualItemRect(table.item(row, 0))
        at = QPoint(rect.left() + x, rect.center().y())
        QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=at)
        host.spin(0.05)
        host.parent.hide()
        ui.batchSection.setProperty("collapsed", True)

    def test_a_failed_row_tells_why(self, ready: Any) -> None:
        empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Empty")
        ready.spin(0.2)
        ready.widget.ui.batchAllButton.click()
        run(ready, "batchRunButton")
        table = ready.widget.ui.batchTable
        assert [table.item(row, 1).text() for row in range(2)] == ["done", "failed"]
        assert "Empty holds no voxels" in table.item(1, 1).toolTip()
        # The panel may not have told yet how the other volume went.
        assert ready.spin_until(lambda: "CT was segmented" in ready.widget.ui.statusText.text())
        table.cellClicked.emit(1, 1)
        assert "Empty holds no voxels" in ready.widget.ui.statusText.text()
        assert ready.widget.ui.inputSelector.currentNode() is empty


class TestEdits:
    """The user's corrections are never replaced without being asked for."""

    @pytest.fixture
    def edited(self, ready: Any, volume: Any) -> SimpleNamespace:
        """A result whose liver the user has cut."""
        run(ready)
        (node,) = segmentations()
        liver = slicer.util.arrayFromSegmentBinaryLabelmap(node, "LiverSeg_liver", volume).copy()
        liver[:25] = 0
        slicer.util.updateSegmentBinaryLabelmapFromArray(liver, node, "LiverSeg_liver", volume)
        now = lambda node=node: slicer.util.arrayFromSegmentBinaryLabelmap(node, "LiverSeg_liver", volume)  # noqa: E731
        return SimpleNamespace(host=ready, node=node, liver=liver, now=now)

    def test_untouched_segments_are_replaced_without_a_question(self, ready: Any) -> None:
        run(ready)
        run(ready)
        assert ready.questions == []
        assert len(segmentations()) == 1

    def test_no_keeps_them_and_writes_beside(self, edited: SimpleNamespace) -> None:
        edited.host.answers.append(QMessageBox.StandardButton.No)
        said = run(edited.host)
        assert "Liver in CT segmentation was edited" in edited.host.questions[0]
        assert "Liver in CT segmentation was edited and is kept as it is; the new segments are in" in said
        np.testing.assert_array_equal(edited.now(), edited.liver)
        assert len(segmentations()) == 2
        assert edited.host.widget.ui.outputSelector.currentNode() is not edited.node
        assert not edited.host.widget.ui.undoButton.isEnabled()

    def test_cancel_does_nothing(self, edited: SimpleNamespace) -> None:
        edited.host.answers.append(QMessageBox.StandardButton.Cancel)
        edited.host.widget.ui.segmentButton.click()
        assert is_idle(edited.host)
        np.testing.assert_array_equal(edited.now(), edited.liver)

    def test_yes_replaces_them_and_undo_brings_them_back(self, edited: SimpleNamespace) -> None:
        host = edited.host
        host.editor.setSegmentationNode(edited.node)
        slicer.modules.SegmentEditorWidget = SimpleNamespace(editor=host.editor)
        saved = host.editor.saved
        host.answers.append(QMessageBox.StandardButton.Yes)
        try:
            run(host)
        finally:
            del slicer.modules.SegmentEditorWidget
        assert host.editor.saved == saved + 1
        assert segmentations() == [edited.node]
        assert edited.now().sum() > edited.liver.sum()
        assert host.widget.ui.undoButton.isEnabled()
        host.widget.ui.undoButton.click()
        np.testing.assert_array_equal(edited.now(), edited.liver)
        assert not host.widget.ui.undoButton.isEnabled()
        assert "again what they were" in host.widget.ui.statusText.text()

    def test_edits_during_the_run_are_kept(self, ready: Any, volume: Any) -> None:
        run(ready)
        (node,) = segmentations()
        ready.widget.ui.segmentButton.click()
        liver = slicer.util.arrayFromSegmentBinaryLabelmap(node, "LiverSeg_liver", volume).copy()
        liver[:25] = 0
        slicer.util.updateSegmentBinaryLabelmapFromArray(liver, node, "LiverSeg_liver", volume)
        assert ready.spin_until(lambda: is_idle(ready), 300)
        now = slicer.util.arrayFromSegmentBinaryLabelmap(node, "LiverSeg_liver", volume)
        np.testing.assert_array_equal(now, liver)
        assert len(segmentations()) == 2

    def test_from_python_they_are_kept_unless_told_otherwise(self, edited: SimpleNamespace, volume: Any) -> None:
        logic = edited.host.widget.logic
        model = edited.host.widget.panel.models.current.name
        other = logic.segment(volume, model=model, outputSegmentation=edited.node)
        assert other is not edited.node
        np.testing.assert_array_equal(edited.now(), edited.liver)
        assert logic.segment(volume, model=model, outputSegmentation=edited.node, replaceEdits=True) is edited.node
        assert edited.now().sum() > edited.liver.sum()


class TestOutputs:
    def test_a_table_in_the_scene_by_default(self, ready: Any, volume: Any) -> None:
        run(ready)
        table = ready.widget.ui.tableSelector.currentNode()
        assert table.GetName() == "CT measurements"
        texts = [[table.GetCellText(row, column) for column in range(table.GetNumberOfColumns())] for row in range(3)]
        assert [row[0] for row in texts] == ["Liver", "Liver tumor", "Liver tumor 1"]
        assert not any("nan" in cell.lower() for row in texts for cell in row)
        mean = slicer.util.arrayFromTableColumn(table, "Mean [HU]")[0]
        node = ready.widget.ui.outputSelector.currentNode()
        inside = [
            slicer.util.arrayFromSegmentBinaryLabelmap(node, f"LiverSeg_{name}", volume) > 0
            for name in ("liver", "tumor")
        ]
        assert mean == pytest.approx(slicer.util.arrayFromVolume(volume)[inside[0] | inside[1]].mean(), abs=0.01)
        run(ready)
        assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 1
        other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Other")
        ready.widget.ui.inputSelector.setCurrentNode(other)
        assert ready.widget.ui.tableSelector.currentNode() is None

    def test_no_table_where_none_is_wanted(self, ready: Any) -> None:
        ready.widget.ui.tableBox.setChecked(False)
        run(ready)
        assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 0

    def test_a_csv_that_cannot_be_written_is_told(
        self, ready: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        import qt

        chosen = ["/proc/liver.csv"]
        dialog = SimpleNamespace(getSaveFileName=lambda *_: (chosen[0], ""))
        run(ready)
        monkeypatch.setattr(qt, "QFileDialog", dialog, raising=False)
        ready.widget.ui.csvButton.click()
        assert ready.widget.ui.statusText.text().startswith("\u26a0 /proc/liver.csv")
        chosen[0] = str(tmp_path / "liver.csv")
        ready.widget.ui.csvButton.click()
        assert "were saved to" in ready.widget.ui.statusText.text()
        assert "mean_intensity" in (tmp_path / "liver.csv").read_text()

    def test_export_is_a_click_and_a_folder_away(
        self, ready: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        import qt

        chosen = [str(tmp_path)]
        run(ready)
        monkeypatch.setattr(
            qt, "QFileDialog", SimpleNamespace(getExistingDirectory=lambda *_: chosen[0]), raising=False
        )
        nrrd, nifti, stl = ready.widget.panel.actions.exports
        for action in (nrrd, nifti, stl):
            action.trigger()
            assert "were exported to" in ready.widget.ui.statusText.text()
        files = {path.name for path in tmp_path.rglob("*.*")}
        assert {"CT segmentation.nrrd", "CT segmentation.nii.gz", "CT segmentation_Liver.stl"} <= files
        chosen[0] = "/proc"
        stl.trigger()
        assert ready.widget.ui.statusText.text().startswith("\u26a0 /proc cannot be written to")
