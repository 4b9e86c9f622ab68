"""The unchanged module on real Qt, real MRML and a real worker process."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", exc_type=ImportError)
pytest.importorskip("PySide6.QtWidgets", exc_type=ImportError)

from LiverSegLib.models import Guide  # noqa: E402
from LiverSegLib.quality import Calibration  # noqa: E402
from Testing import documented  # noqa: E402
from Testing.headless.case import add_volume, is_idle, worker_pids  # noqa: E402

pytest_plugins = ("Testing.module_case",)

ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII")


def segment_ids(node: Any) -> list[str]:
    return list(node.GetSegmentation().GetSegmentIDs())


def run(host: Any, seconds: float = 90) -> str:
    """Click Segment and wait; returns what the panel says at the end."""
    host.widget.ui.segmentButton.click()
    assert host.spin_until(lambda: is_idle(host), seconds), "the segmentation did not end"
    host.spin(0.05)
    return str(host.widget.ui.statusText.text())


def a_job_of_segments(volume: Any) -> Any:
    """A finished job whose model has eight segments of the liver, 10 mL each."""
    from LiverSegUI.job import JobOptions, SegmentationJob

    from LiverSegLib.labels import labels_for
    from LiverSegLib.measure import measure

    labelmap = np.repeat(np.arange(9, dtype=np.uint8), 100).reshape(9, 10, 10)
    job = SegmentationJob(volume, JobOptions())
    job.labels = labels_for({number: f"liver_segment_{number}" for number in range(1, 9)})
    image = np.full(labelmap.shape, 100)
    job.measurements = measure(labelmap, np.diag([4.0, 5, 5, 1]), job.labels, image, "HU")
    job.state = "finished"
    return job


def cells(table: Any) -> list[list[str]]:
    """The texts of a table widget, row by row."""
    return [
        [table.item(row, column).text() for column in range(table.columnCount())] for row in range(table.rowCount())
    ]


def segmentations() -> list[Any]:
    return list(slicer.util.getNodesByClass("vtkMRMLSegmentationNode"))


class TestPanel:
    def test_click_segment(self, ready: Any, volume: Any) -> None:
        ui = ready.widget.ui
        seen: list[tuple[str, int, str]] = []
        ready.widget.logic.onChange = lambda: (
            ready.widget.panel.update(),
            seen.append((ui.statusText.text(), ui.progressBar.value(), ui.segmentButton.text())),
        )
        said = run(ready)
        assert said.startswith("CT was segmented in ")
        assert {"Cancel"} <= {button for _text, _value, button in seen}
        assert any("Segmenting" in text for text, _value, _button in seen)
        values = [value for _text, value, button in seen if button == "Cancel"]
        assert values == sorted(values)
        assert ui.segmentButton.text() == "Segment"
        node = ui.outputSelector.currentNode()
        assert segment_ids(node) == ["LiverSeg_liver", "LiverSeg_tumor"]
        truth = slicer.util.arrayFromVolume(volume)
        liver = slicer.util.arrayFromSegmentBinaryLabelmap(node, "LiverSeg_liver", volume) > 0
        tumor = slicer.util.arrayFromSegmentBinaryLabelmap(node, "LiverSeg_tumor", volume) > 0
        assert 2 * ((liver | tumor) & (truth > 100)).sum() / ((liver | tumor).sum() + (truth > 100).sum()) > 0.97
        assert [ui.resultsTable.item(row, 0).text() for row in range(3)] == ["Liver", "Liver tumor", "Liver tumor 1"]
        assert float(ui.resultsTable.item(0, 1).text()) > 10
        assert re.fullmatch(r"1[0-9]{2} ± \d+", ui.resultsTable.item(0, 2).text())
        assert "1 lesion, longest diameter" in ui.resultsText.text()

    def test_a_chain_of_models_runs_and_says_what_to_expect(self, ready: Any, threshold_package: Any) -> None:
        threshold_package(name="coarse", labels=1)
        calibration = Calibration(offset=0.5, weights={"agreement": 1.0}, low=-1.0, high=0.8)
        package = threshold_package(name="fine", guide=Guide("coarse", 12.0), calibration=calibration)
        ready.widget.panel.chooseModel(str(package))
        values: list[int] = []
        ready.widget.logic.onChange = lambda: (
            ready.widget.panel.update(),
            values.append(ready.widget.ui.progressBar.value()),
        )
        said = run(ready)
        assert said.startswith("CT was segmented in ")
        assert re.search(r"\nExpected Dice of the liver: \d\.\d\d \(\d\.\d\d to \d\.\d\d\)\.", said)
        assert segment_ids(ready.widget.ui.outputSelector.currentNode()) == ["LiverSeg_liver", "LiverSeg_tumor"]
        assert len(set(values)) > 3

    def test_second_run_is_warm_and_replaces(self, ready: Any) -> None:
        run(ready)
        first = ready.widget.ui.outputSelector.currentNode()
        start = time.monotonic()
        run(ready)
        total = time.monotonic() - start
        job = ready.widget.logic.runner.lastJob
        assert job.warm
        assert job.segmentationNode is first
        assert len(segmentations()) == 1
        print(f"second run: {total:.2f} s, of which outside the engine {total - sum(job.timings.values()):.2f} s")

    def test_targets(self, ready: Any) -> None:
        ready.widget.ui.tumorBox.setChecked(False)
        run(ready)
        assert segment_ids(ready.widget.ui.outputSelector.currentNode()) == ["LiverSeg_liver"]
        ready.widget.ui.liverBox.setChecked(False)
        assert not ready.widget.ui.segmentButton.isEnabled()
        assert "what to segment" in ready.widget.ui.segmentButton.toolTip()

    def test_region(self, ready: Any, volume: Any) -> None:
        roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Half")
        roi.SetCenter(46, 0, 0)
        roi.SetSize(80, 120, 100)
        ready.widget.ui.roiSelector.setCurrentNode(roi)
        run(ready)
        node = ready.widget.ui.outputSelector.currentNode()
        found = slicer.util.arrayFromSegmentBinaryLabelmap(node, "LiverSeg_liver", volume).transpose(2, 1, 0)
        assert found[:29].any()
        assert not found[31:].any()

    def test_another_volume_gets_another_segmentation(self, ready: Any, draw_case: Any) -> None:
        run(ready)
        other = add_volume(draw_case, "Other")
        ready.widget.ui.inputSelector.setCurrentNode(other)
        assert ready.widget.ui.outputSelector.currentNode() is None
        run(ready)
        assert len(segmentations()) == 2

    def test_table_copy_and_csv(self, ready: Any, tmp_path: Any) -> None:
        table = ready.widget.ui.tableSelector.addNode()
        run(ready)
        assert table.GetNumberOfRows() == 3
        ready.widget.ui.copyButton.click()
        titles, liver = slicer.app.clipboard().text().splitlines()[:2]
        assert titles.startswith("Structure\tVolume (mL)\tMean ± SD")
        assert liver.startswith("Liver\t")
        ready.widget.panel.results.save(tmp_path / "x.csv")
        assert "segment,liver" in (tmp_path / "x.csv").read_text()

    def test_segments_of_the_liver_have_their_shares(self, ready: Any, volume: Any) -> None:
        from LiverSegLib import slicer_bridge

        job = a_job_of_segments(volume)
        panel, ui = ready.widget.panel, ready.widget.ui
        panel.results.show(job)
        assert cells(ui.resultsTable) == [
            *([f"Liver segment {roman}", "10.0", "100 ± 0", "", "12.5"] for roman in ROMAN),
            ["Liver", "80.0", "100 ± 0", "", ""],
        ]
        assert ui.resultsTable.horizontalHeaderItem(4).text() == "% of liver"
        assert ui.resultsTable.isColumnHidden(3)
        assert not ui.resultsTable.isColumnHidden(4)
        ui.copyButton.click()
        assert slicer.app.clipboard().text().splitlines()[1] == "Liver segment I\t10.0\t100 ± 0\t\t12.5"
        shown = cells(ui.resultsTable)
        panel.results.clear()
        assert ui.resultsTable.columnCount() == 4
        panel.results.showTable(slicer_bridge.write_table(job.measurements, labels=job.labels))
        assert cells(ui.resultsTable) == shown
        run(ready)
        assert ui.resultsTable.columnCount() == 4

    def test_the_batch_table_tells_the_liver_of_segments(self, ready: Any, volume: Any) -> None:
        job = a_job_of_segments(volume)
        batch = ready.widget.panel.batch
        batch._jobs[volume.GetID()] = job
        batch.update()
        assert [ready.widget.ui.batchTable.item(0, column).text() for column in (1, 2, 3)] == ["done", "80.0", ""]

    def test_edit(self, ready: Any, volume: Any) -> None:
        run(ready)
        node = ready.widget.ui.outputSelector.currentNode()
        ready.widget.ui.editButton.click()
        assert ready.selected[-1] == "SegmentEditor"
        assert (ready.editor.segmentation, ready.editor.volume) == (node, volume)

    def test_several_volumes(self, ready: Any, draw_case: Any) -> None:
        add_volume(draw_case, "Second")
        ready.spin(0.2)
        ui = ready.widget.ui
        assert ui.batchTable.rowCount() == 2
        assert not ui.batchRunButton.isEnabled()
        ui.batchAllButton.click()
        ui.batchRunButton.click()
        assert ready.spin_until(lambda: is_idle(ready), 300)
        ready.spin(0.05)
        assert [ui.batchTable.item(row, 1).text() for row in range(2)] == ["done", "done"]
        assert float(ui.batchTable.item(1, 2).text()) > 10
        assert len(segmentations()) == 2

    def test_after_a_cancel_the_next_run_is_warm(self, ready: Any, draw_case: Any) -> None:
        run(ready)
        big = add_volume(draw_case, "Big", (220, 220, 200))
        ready.widget.ui.inputSelector.setCurrentNode(big)
        ready.widget.ui.segmentButton.click()
        job = ready.widget.logic.runner.jobs[0]
        assert ready.spin_until(lambda: job.progress is not None and job.progress.stage == "network", 60)
        ready.widget.ui.segmentButton.click()
        assert ready.spin_until(lambda: job.isOver, 30)
        assert job.state == "cancelled"
        assert len(segmentations()) == 1
        ready.spin(0.05)
        assert "stopped" in ready.widget.ui.statusText.text()
        ready.widget.ui.inputSelector.setCurrentNode(slicer.util.getNode("CT"))
        run(ready)
        assert ready.widget.logic.runner.lastJob.warm

    @pytest.mark.timing
    def test_the_event_loop_is_never_blocked(self, ready: Any) -> None:
        import qt

        run(ready)
        ticks: list[float] = []
        timer = qt.QTimer()
        timer.timeout.connect(lambda: ticks.append(time.monotonic()))
        timer.start(5)
        ready.spin(0.1)
        run(ready)
        timer.stop()
        longest = float(np.diff(ticks).max())
        print(f"longest block of the event loop: {1000 * longest:.0f} ms")
        assert longest < 0.2  # 50 ms on a machine that does nothing else

    def test_transforms_are_told_of(self, ready: Any, volume: Any) -> None:
        shear = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Tilt")
        matrix = np.eye(4)
        matrix[0, 2] = 0.3
        shear.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
        volume.SetAndObserveTransformNodeID(shear.GetID())
        assert "Tilt, which scales or shears" in run(ready)
        assert ready.widget.ui.outputSelector.currentNode().GetTransformNodeID() == shear.GetID()


class TestSurprises:
    def test_errors_are_a_sentence(self, ready: Any, volume: Any) -> None:
        slicer.util.updateVolumeFromArray(volume, np.zeros((20, 20, 20), np.int16))
        assert "has the value 0 everywhere" in run(ready)
        assert segmentations() == []

    def test_a_missing_model_is_told(self, ready: Any) -> None:
        ready.widget.panel.chooseModel("/nowhere/model.zip")
        assert "/nowhere/model.zip is no model package" in ready.widget.ui.statusText.text()

    def test_killed_worker(self, ready: Any) -> None:
        import os
        import signal

        run(ready)
        ready.widget.ui.segmentButton.click()
        ready.spin(0.05)
        os.kill(worker_pids(ready)[0], signal.SIGKILL)
        assert ready.spin_until(lambda: is_idle(ready), 5)
        ready.spin(0.05)
        assert "stopped unexpectedly" in ready.widget.ui.statusText.text()
        assert run(ready).startswith("CT was segmented")

    def test_worker_that_cannot_start(self, ready: Any) -> None:
        ready.widget.logic.runner.restart()
        ready.widget.logic.runner.transport._command = lambda: ["/nowhere/python", "-c", ""]
        assert "could not start" in run(ready, 10)
        ready.reload()

    def test_scene_closed_during_a_run(self, ready: Any) -> None:
        ready.widget.ui.segmentButton.click()
        ready.spin(0.1)
        slicer.mrmlScene.Clear(0)
        assert is_idle(ready)
        assert "scene was closed" in ready.widget.ui.statusText.text()
        ready.spin(1.5)
        assert segmentations() == []
        assert not ready.widget.ui.segmentButton.isEnabled()

    def test_volume_removed_during_a_run(self, ready: Any, volume: Any) -> None:
        ready.widget.ui.segmentButton.click()
        slicer.mrmlScene.RemoveNode(volume)
        assert ready.spin_until(lambda: is_idle(ready), 60)
        ready.spin(0.05)
        assert "CT was removed while it was segmented" in ready.widget.ui.statusText.text()
        assert segmentations() == []

    def test_output_removed_during_a_run(self, ready: Any) -> None:
        run(ready)
        output = ready.widget.ui.outputSelector.currentNode()
        ready.widget.ui.segmentButton.click()
        slicer.mrmlScene.RemoveNode(output)
        assert ready.spin_until(lambda: is_idle(ready), 60)
        ready.spin(0.05)
        assert "a new one was made" in ready.widget.ui.statusText.text()
        assert len(segmentations()) == 1

    def test_volume_changed_during_a_run(self, ready: Any, volume: Any) -> None:
        run(ready)
        ready.widget.ui.segmentButton.click()
        slicer.util.arrayFromVolume(volume)[:] += 1
        slicer.util.arrayFromVolumeModified(volume)
        assert ready.spin_until(lambda: is_idle(ready), 60)
        ready.spin(0.05)
        assert "was changed while it was segmented" in ready.widget.ui.statusText.text()

    def test_leaving_the_module_does_not_stop_the_run(self, ready: Any) -> None:
        ready.widget.ui.segmentButton.click()
        ready.select("Data")
        assert ready.spin_until(lambda: is_idle(ready), 60)
        assert len(segmentations()) == 1
        ready.select("LiverSeg")

    def test_first_use_without_torch(self, ready: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        import sys
        from types import SimpleNamespace

        from LiverSegUI import install

        asked: list[Any] = []
        absent = ["torch", "monai"]
        real = install._version
        monkeypatch.setattr(install, "_version", lambda name: () if name in absent else real(name))
        logic = SimpleNamespace(installTorch=lambda **how: (asked.append(how), absent.remove("torch")))
        monkeypatch.setitem(sys.modules, "PyTorchUtils", SimpleNamespace(PyTorchUtilsLogic=lambda: logic))
        pip = lambda what: (asked.append(what), absent.remove("monai"))  # noqa: E731
        monkeypatch.setattr(slicer.util, "pip_install", pip)
        assert install.missingPackages() == ["torch>=2.10", "monai>=1.6.1"]
        ready.select("Data")
        ready.select("LiverSeg")
        ui = ready.widget.ui
        assert ui.installButton.isVisibleTo(ready.parent)
        assert not ui.segmentButton.isVisibleTo(ready.parent)
        ui.installButton.click()
        assert asked == [{"askConfirmation": True, "torchVersionRequirement": ">=2.10"}, '"monai>=1.6.1"']
        assert ui.segmentButton.isVisibleTo(ready.parent)
        assert ready.spin_until(lambda: is_idle(ready), 60)
        assert len(segmentations()) == 1


@pytest.mark.usefixtures("host")
class TestConsole:
    def test_blocking(self, volume: Any, threshold_package: Any) -> None:
        logic = slicer.util.getModuleLogic("LiverSeg")
        seen: list[tuple[str, int]] = []
        node = logic.segment(
            volume,
            model=threshold_package(),
            device="cpu",
            progress=lambda job: seen.append((job.progress.stage, job.percent)),
        )
        assert segment_ids(node) == ["LiverSeg_liver", "LiverSeg_tumor"]
        stages, percents = zip(*seen, strict=True)
        assert "network" in stages
        assert list(percents) == sorted(percents)
        assert percents[-1] >= 98

    def test_a_stage_that_is_done_once_more_does_not_set_the_bar_back(self, volume: Any) -> None:
        from LiverSegUI.job import JobOptions, SegmentationJob

        from LiverSegLib.engine.progress import Progress

        job = SegmentationJob(volume, JobOptions())
        percents = []
        for done in (0, 1, 2, 0, 1, 2):
            job.report(Progress("locate", done, 2))
            percents.append(job.percent)
        assert percents == sorted(percents)
        assert percents[0] < percents[2]

    def test_errors_are_raised(self, volume: Any, threshold_package: Any) -> None:
        logic = slicer.util.getModuleLogic("LiverSeg")
        with pytest.raises(Exception, match="There is no model nothing"):
            logic.segment(volume, model="nothing")
        empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Empty")
        with pytest.raises(Exception, match="Empty holds no voxels"):
            logic.start(empty)
        with pytest.raises(Exception, match="cuda:7"):
            logic.segment(volume, model=threshold_package(), device="cuda:7")

    def test_all_goes_on_after_a_failure(self, volume: Any, threshold_package: Any) -> None:
        logic = slicer.util.getModuleLogic("LiverSeg")
        empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Empty")
        jobs = logic.segmentAll([empty, volume], model=threshold_package(), table=True)
        assert [job.state for job in jobs] == ["failed", "finished"]
        assert jobs[1].measurements.volume_ml("liver") > 10
        assert jobs[1].tableNode.GetNumberOfRows() == 3

    def test_callbacks_and_cancel(self, volume: Any, threshold_package: Any) -> None:
        logic = slicer.util.getModuleLogic("LiverSeg")
        over: list[str] = []
        done = lambda job: over.append(job.state)  # noqa: E731
        package = threshold_package()
        first = logic.start(volume, model=package, finished=done, failed=done)
        second = logic.start(volume, model=package, finished=done, failed=done)
        second.cancel()
        first.cancel()
        logic.wait([first, second])
        assert over == ["cancelled", "cancelled"]
        third = logic.start(volume, model=package, finished=done, failed=done)
        logic.wait([third])
        assert over[-1] == "finished"

    def test_default_model_segments_the_sample(self, host: Any) -> None:
        from LiverSegUI.sample_data import addSampleVolume

        from LiverSegLib.models.store import BUILT_IN, DEFAULT
        from LiverSegLib.sample import make_sample

        if not (BUILT_IN / DEFAULT).is_dir():
            pytest.skip("the default model is not built in")
        volume = addSampleVolume()
        node = host.widget.logic.segment(volume, device="cpu")
        found = slicer.util.arrayFromSegmentBinaryLabelmap(node, "LiverSeg_liver", volume).transpose(2, 1, 0) > 0
        truth = make_sample()[1] > 0
        dice = 2 * (found & truth).sum() / (found.sum() + truth.sum())
        print(f"Dice of the default model on the sample: {dice:.3f}")
        assert dice > 0.7

    def test_self_test_of_the_module(self, host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """`LiverSegTest`, as far as it goes without the default model."""
        from LiverSegLib.models.store import BUILT_IN, DEFAULT

        if not (BUILT_IN / DEFAULT).is_dir():
            monkeypatch.setattr(host.module, "missingPackages", lambda: ["the default model"])
        host.module.LiverSegTest().runTest()

    def test_same_as_the_engine(self, volume: Any, threshold_package: Any, draw_case: Any) -> None:
        from LiverSegLib.engine.segmenter import Segmenter
        from Testing.headless.case import AFFINE, SHAPE

        package = threshold_package()
        node = slicer.util.getModuleLogic("LiverSeg").segment(volume, model=package, device="cpu")
        expected = Segmenter(package, "cpu").segment(draw_case(AFFINE, SHAPE, np.int16)).labelmap
        for value, name in ((1, "liver"), (2, "tumor")):
            found = slicer.util.arrayFromSegmentBinaryLabelmap(node, f"LiverSeg_{name}", volume)
            np.testing.assert_array_equal(found.transpose(2, 1, 0) > 0, expected == value)

    @pytest.mark.usefixtures("volume")
    def test_examples_of_the_tutorial(self, host: Any, threshold_package: Any) -> None:
        in_readme = [block for block in documented.blocks("README.md", "python") if "slicer" in block]
        examples = documented.blocks("docs/tutorial.md", "python")
        assert (len(in_readme), len(examples)) == (1, 4)
        session, package = host.widget.logic.runner.transport.session, threshold_package()
        segment = session.segment
        # The built-in model is not the examples' point, and may be missing.
        session.segment = lambda volume, request: segment(volume, replace(request, model=str(package)))
        try:
            names: dict[str, Any] = {"slicer": slicer}
            for example in in_readme + examples:
                exec(example, names)
        finally:
            del session.segment
        assert names["job"].state == "finished"
        assert segment_ids(names["segmentationNode"])[0] == "LiverSeg_liver"

    def test_sample_data(self, host: Any) -> None:
        import SampleData

        for _ in range(2):  # Slicer registers anew after a reload
            host.module.registerSampleData()
        (source,) = slicer.modules.sampleDataSources["LiverSeg"]
        assert source.sampleDescription == "Liver phantom CT"
        clicked = source.customDownloader(source)
        for _ in range(2):  # the second time from the download cache
            downloaded = SampleData.downloadSample("LiverPhantomCT")
            np.testing.assert_array_equal(slicer.util.arrayFromVolume(downloaded), slicer.util.arrayFromVolume(clicked))
            np.testing.assert_allclose(
                slicer.util.arrayFromVTKMatrix(_ijk_to_ras(downloaded)),
                slicer.util.arrayFromVTKMatrix(_ijk_to_ras(clicked)),
            )
            assert downloaded.GetName() == "Liver phantom CT"

    def test_choices_survive_scene_and_session(self, ready: Any, tmp_path: Any) -> None:
        ready.widget.ui.tumorBox.setChecked(False)
        path = tmp_path / "scene.mrml"
        slicer.mrmlScene.SetURL(str(path))
        slicer.mrmlScene.Commit(str(path))
        slicer.mrmlScene.Clear(0)
        assert ready.widget.ui.tumorBox.isChecked()
        slicer.mrmlScene.SetURL(str(path))
        slicer.mrmlScene.Import()
        ready.select("LiverSeg")
        assert not ready.widget.ui.tumorBox.isChecked()
        ready.widget.ui.deviceBox.setCurrentIndex(ready.widget.ui.deviceBox.findData("cpu"))
        ready.widget.onReload()
        assert ready.widget.panel.devices.current == "cpu"


def _ijk_to_ras(node: Any) -> Any:
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return matrix


def test_an_error_stands_out(host: Any) -> None:
    ui, panel = host.widget.ui, host.widget.panel
    panel.chooseModel("/nowhere")
    assert ui.statusText.text().startswith("\u26a0 /nowhere")
    panel.say("All is well.")
    assert ui.statusText.text() == "All is well."
