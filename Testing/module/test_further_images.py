"""Models of several images in the module: chosen in the panel, brought onto one grid, kept with the scene."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

slicer = pytest.importorskip("slicer", exc_type=ImportError)
pytest.importorskip("PySide6.QtWidgets", exc_type=ImportError)

import vtk  # noqa: E402

from Testing.headless.case import is_idle  # noqa: E402
from Testing.module.test_module_life import open_scene, save_scene  # noqa: E402
from Testing.two_images import write_two_images  # noqa: E402

pytest_plugins = ("Testing.module_case",)

AFFINE = np.diag([-2.0, -2.0, 2.0, 1.0])
AFFINE[:3, 3] = (40, 36, -30)
SHAPE = (40, 36, 32)
LIVER, TUMOR = ([4, -2, 1], [22, 16, 14]), ([10, 4, 3], [7, 7, 7])
"""Center and radii in RAS mm."""


def drawn(affine: npt.NDArray[Any], shape: tuple[int, ...], ball: tuple[list[int], list[int]]) -> npt.NDArray[Any]:
    """An image [i, j, k] that is 150 in a ball and falls to 0 around it."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    center, radii = ball
    world = index @ affine[:3, :3].T + affine[:3, 3]
    return np.clip(100 + 500 * (1 - np.linalg.norm((world - center) / radii, axis=-1)), 0, 150).astype(np.int16)


def add(name: str, ball: Any, affine: npt.NDArray[Any] = AFFINE, shape: tuple[int, ...] = SHAPE) -> Any:
    array = drawn(affine, shape, ball)
    return slicer.util.addVolumeFromArray(array.transpose(2, 1, 0), ijkToRAS=affine, name=name)


def a_transform(matrix: npt.NDArray[Any]) -> Any:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Moved")
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    return node


def a_turn(degrees: float = 20, shift: tuple[float, float, float] = (30, -12, 8)) -> npt.NDArray[Any]:
    angle, matrix = np.deg2rad(degrees), np.eye(4)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[:3, 3] = shift
    return matrix


def masks(node: Any, volume: Any) -> dict[str, npt.NDArray[np.bool_]]:
    """The segments' voxels [i, j, k]."""
    ids = node.GetSegmentation().GetSegmentIDs()
    read = slicer.util.arrayFromSegmentBinaryLabelmap
    return {key.removeprefix("LiverSeg_"): read(node, key, volume).transpose(2, 1, 0) > 0 for key in ids}


def overlap(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(write_two_images(tmp_path / "two"))


@pytest.fixture
def t1(host: Any) -> Any:  # noqa: ARG001 (the scene must be there)
    return add("T1 of the case", LIVER)


@pytest.fixture
def chosen(host: Any, t1: Any, model: str) -> Any:  # noqa: ARG001
    """The module opened, with the first image and the model chosen."""
    host.select("LiverSeg")
    host.widget.panel.chooseModel(model)
    return host


def selectors(host: Any) -> dict[str, Any]:
    """The visible selectors by the names beside them."""
    rows = [row for row in host.widget.panel.further._rows if row.FurtherImage.isVisibleTo(host.parent)]
    return {row.channelLabel.text(): row.channelSelector for row in rows}


def run(host: Any) -> str:
    host.widget.ui.segmentButton.click()
    assert host.spin_until(lambda: is_idle(host), 300), "the segmentation did not end"
    host.spin(0.05)
    return str(host.widget.ui.statusText.text())


class TestPanel:
    def test_a_selector_for_each_further_image_of_the_chosen_model(
        self, chosen: Any, threshold_package: Any, tmp_path: Path
    ) -> None:
        ui, panel = chosen.widget.ui, chosen.widget.panel
        assert list(selectors(chosen)) == ["T2:"]
        assert ui.inputLabel.text() == "Input volume (T1):"
        assert "Needs 2 images of a case: T1, T2." in ui.modelText.text()
        assert selectors(chosen)["T2:"].accessibleName() == "T2"
        panel.chooseModel(str(threshold_package()))
        assert selectors(chosen) == {}
        assert not ui.furtherPlace.isVisibleTo(chosen.parent)
        assert ui.inputLabel.text() == "Input volume:"
        assert ui.segmentButton.isEnabled()
        panel.chooseModel(str(write_two_images(tmp_path / "other", inputs=("T2", "A name far too long for a panel"))))
        assert list(selectors(chosen)) == ["A name far too long f...:"]
        assert chosen.parent.minimumSizeHint().width() <= 400

    def test_segment_waits_for_the_missing_image_and_says_which(self, chosen: Any) -> None:
        ui = chosen.widget.ui
        assert not ui.segmentButton.isEnabled()
        assert "the volume of T2" in ui.segmentButton.toolTip()
        t2 = add("T2 of the case", TUMOR)
        selectors(chosen)["T2:"].setCurrentNode(t2)
        assert ui.segmentButton.isEnabled()
        slicer.mrmlScene.RemoveNode(t2)
        chosen.spin(0.2)
        assert not ui.segmentButton.isEnabled()

    def test_the_result_depends_on_both_and_can_be_undone(self, chosen: Any, t1: Any) -> None:
        ui = chosen.widget.ui
        selectors(chosen)["T2:"].setCurrentNode(add("T2 of the case", TUMOR))
        assert run(chosen).startswith("T1 of the case was segmented in ")
        node = ui.outputSelector.currentNode()
        found, tumor = masks(node, t1), drawn(AFFINE, SHAPE, TUMOR) > 100
        making = chosen.widget.panel.handover._caseOf(node, chosen.widget.logic.runner.transport.session.folder)[1]
        assert making.warnings == ("Segmented with T2 of the case.",)
        assert overlap(found["tumor"], tumor) > 0.95
        assert overlap(found["liver"], (drawn(AFFINE, SHAPE, LIVER) > 100) & ~tumor) > 0.95
        selectors(chosen)["T2:"].setCurrentNode(add("Another T2", ([-6, -4, 0], [6, 6, 6])))
        run(chosen)
        assert not (masks(node, t1)["tumor"] & found["tumor"]).any()
        ui.undoButton.click()
        assert np.array_equal(masks(node, t1)["tumor"], found["tumor"])

    def test_a_batch_is_not_offered(self, chosen: Any, threshold_package: Any) -> None:
        ui = chosen.widget.ui
        chosen.spin(0.2)
        ui.batchAllButton.click()
        assert not ui.batchRunButton.isEnabled()
        assert "needs several images" in ui.batchRunButton.toolTip()
        chosen.widget.panel.chooseModel(str(threshold_package()))
        assert ui.batchRunButton.isEnabled()
        assert "one after the other" in ui.batchRunButton.toolTip()
        ui.batchAllButton.click()

    def test_another_input_volume_forgets_the_images_of_the_one_before(
        self, chosen: Any, threshold_package: Any, model: str
    ) -> None:
        selectors(chosen)["T2:"].setCurrentNode(add("T2 of the case", TUMOR))
        other = add("T1 of another patient", LIVER)
        chosen.widget.panel.chooseModel(str(threshold_package()))
        chosen.widget.ui.inputSelector.setCurrentNode(other)
        chosen.widget.panel.chooseModel(model)
        assert selectors(chosen)["T2:"].currentNode() is None

    @pytest.mark.parametrize("is_open", [True, False], ids=["panel open", "panel closed"])
    def test_a_saved_scene_brings_them_back(self, chosen: Any, tmp_path: Path, is_open: bool) -> None:
        selectors(chosen)["T2:"].setCurrentNode(add("T2 of the case", TUMOR))
        save_scene(tmp_path / "scene.mrml")
        if not is_open:
            chosen.select("Data")
        open_scene(tmp_path / "scene.mrml")
        chosen.select("LiverSeg")
        chosen.spin(0.2)
        assert selectors(chosen)["T2:"].currentNode().GetName() == "T2 of the case"
        assert chosen.widget.ui.segmentButton.isEnabled()

    def test_what_is_chosen_is_the_models_name_of_it(self, chosen: Any, tmp_path: Path, model: str) -> None:
        """Another model's second image is not the T2 of this one; where it has a T2, it is."""
        t2 = add("T2 of the case", TUMOR)
        selectors(chosen)["T2:"].setCurrentNode(t2)
        chosen.widget.panel.chooseModel(str(write_two_images(tmp_path / "other", inputs=("T1", "ADC: 50%; b"))))
        assert selectors(chosen)["ADC: 50%; b:"].currentNode() is None
        selectors(chosen)["ADC: 50%; b:"].setCurrentNode(add("ADC", TUMOR))
        chosen.widget.panel.chooseModel(model)
        assert selectors(chosen)["T2:"].currentNode() is t2


class TestLogic:
    def test_a_line_of_python_with_a_region(self, host: Any, t1: Any, model: str) -> None:
        logic, t2 = host.widget.logic, add("T2", TUMOR)
        roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Box")
        roi.SetXYZ(10, 4, 3)
        roi.SetRadiusXYZ(8.5, 20, 20)
        found = masks(logic.segment(t1, further=[t2], model=model, device="cpu", roi=roi), t1)
        whole = masks(logic.segment(t1, further=t2, model=model, device="cpu"), t1)
        inside = np.flatnonzero((found["liver"] | found["tumor"]).any(axis=(1, 2)))
        assert inside.tolist() == [*range(11, 20)]
        assert np.array_equal(found["tumor"], whole["tumor"] & found["tumor"])
        assert overlap(found["tumor"], whole["tumor"]) > 0.95

    def test_the_wrong_number_is_one_sentence(self, host: Any, t1: Any, model: str) -> None:
        from LiverSegLib.errors import InputError, LiverSegError

        logic = host.widget.logic
        with pytest.raises(LiverSegError, match=r"takes 2 images of a case \(T1, T2\), but T1 of the case has 1"):
            logic.segment(t1, model=model, device="cpu")
        with pytest.raises(InputError, match="one at a time"):
            logic.segmentAll([t1, t1], further=[t1], model=model, device="cpu")

    def test_a_waiting_job_reads_its_images_when_its_turn_comes(self, host: Any, t1: Any, model: str) -> None:
        logic, t2, gone = host.widget.logic, add("T2", TUMOR), add("Gone", TUMOR)
        jobs = [logic.start(t1, further=[node], model=model, device="cpu") for node in (t2, t2, gone)]
        slicer.mrmlScene.RemoveNode(gone)
        slicer.util.updateVolumeFromArray(t2, drawn(AFFINE, SHAPE, ([-6, -4, 0], [6, 6, 6])).transpose(2, 1, 0))
        logic.wait(jobs)
        assert [job.state for job in jobs] == ["finished", "finished", "failed"]
        assert jobs[2].message == "A further image of T1 of the case was removed before its turn came."
        assert any(text.startswith("T2 was changed while it was segmented") for text in jobs[0].warnings)
        assert jobs[1].warnings == []
        first, second = (masks(job.segmentationNode, t1)["tumor"] for job in jobs[:2])
        assert not (first & second).any()

    def test_images_under_different_transforms_and_in_another_order_of_axes(
        self, host: Any, t1: Any, model: str
    ) -> None:
        """What counts is where the images lie in the world: the first under one transform, the second under another."""
        finer = np.diag([1.5, 0, 0, 1.0])
        finer[:3, :3] = [[0, 0, 1.5], [1.5, 0, 0], [0, -2.5, 0]]
        finer[:3, 3] = (-38, -38, 34)
        world = a_turn()
        t1.SetAndObserveTransformNodeID(a_transform(world).GetID())
        # It was drawn where T1 lies before its transform, so its own transform has to take it along.
        t2 = add("T2", TUMOR, finer, (52, 27, 54))
        t2.SetAndObserveTransformNodeID(a_transform(world).GetID())
        job = host.widget.logic.start(t1, further=[t2], model=model, device="cpu")
        host.widget.logic.wait([job])
        assert job.warnings == ["T2 was resampled onto the grid of T1 of the case."]
        tumor = masks(job.segmentationNode, t1)["tumor"]
        wanted = drawn(AFFINE, SHAPE, TUMOR) > 100
        assert overlap(tumor, wanted) > 0.88
        apart = np.argwhere(tumor).mean(axis=0) - np.argwhere(wanted).mean(axis=0)
        assert np.abs(apart).max() < 0.2
        t2.SetAndObserveTransformNodeID(None)
        other = host.widget.logic.segment(t1, further=[t2], model=model, device="cpu")
        assert overlap(masks(other, t1).get("tumor", np.zeros_like(tumor)), tumor) < 0.2


class TestBridge:
    def read(self, *nodes: Any) -> Any:
        from LiverSegLib import slicer_bridge

        return slicer_bridge.read_images(nodes[0], nodes[1:])

    def slope(self, name: str, affine: npt.NDArray[Any], shape: tuple[int, int, int]) -> Any:
        """A volume whose values are 3 R - 2 A + S mm, which linear interpolation gives exactly."""
        index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
        array = (index @ affine[:3, :3].T + affine[:3, 3]) @ [3.0, -2.0, 1.0]
        return slicer.util.addVolumeFromArray(array.transpose(2, 1, 0), ijkToRAS=affine, name=name)

    def test_one_grid_is_a_view_in_any_order_of_axes(self, t1: Any) -> None:
        turned = AFFINE[:, [2, 0, 1, 3]].copy()
        turned[:3, 3] += AFFINE[:3, 0] * (SHAPE[0] - 1)
        turned[:3, 1] *= -1
        node = add("turned", TUMOR, turned, (SHAPE[2], SHAPE[0], SHAPE[1]))
        volume = self.read(t1, node)
        assert volume.notes == ()
        assert np.shares_memory(volume.further[0], slicer.util.arrayFromVolume(node))
        assert np.array_equal(volume.further[0], drawn(AFFINE, SHAPE, TUMOR))

    def test_transforms_that_differ_may_end_on_one_grid(self, t1: Any) -> None:
        """The second was stored moved, and its transform moves it back: not a voxel is changed."""
        node = add("T2", TUMOR)
        node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(np.linalg.inv(a_turn()) @ AFFINE))
        node.SetAndObserveTransformNodeID(a_transform(a_turn()).GetID())
        volume = self.read(t1, node)
        assert volume.notes == ()
        assert np.array_equal(volume.further[0], drawn(AFFINE, SHAPE, TUMOR))

    @pytest.mark.parametrize("moves", [False, True], ids=["another grid", "and a transform"])
    def test_another_grid_is_interpolated_where_it_lies(self, host: Any, moves: bool) -> None:  # noqa: ARG002
        first = self.slope("first", AFFINE, SHAPE)
        coarse = a_turn(30, (0, 0, 0)) @ np.diag([3.0, 4, 5, 1])
        coarse[:3, 3] = -(coarse @ [30, 24, 10, 0])[:3]
        second = self.slope("second", coarse, (60, 48, 20))
        if moves:
            second.SetAndObserveTransformNodeID(a_transform(a_turn(4, (3, 2, 1))).GetID())
        volume = self.read(first, second)
        (found,) = volume.further
        assert volume.notes == ("second was resampled onto the grid of first.",)
        for voxel in [(20, 18, 16), (10, 25, 5), (0, 0, 0)]:
            place = AFFINE @ [*voxel, 1.0]
            place = np.linalg.inv(a_turn(4, (3, 2, 1))) @ place if moves else place
            assert found[voxel] == pytest.approx(place[:3] @ [3.0, -2.0, 1.0], abs=1e-3)

    def test_a_transform_that_bends_is_followed(self, host: Any) -> None:  # noqa: ARG002
        first, second = (self.slope(name, AFFINE, SHAPE) for name in ("first", "second"))
        spline = vtk.vtkThinPlateSplineTransform()
        spline.SetBasisToR()
        given, moved = vtk.vtkPoints(), vtk.vtkPoints()
        for point in [*product((-60, 60), repeat=3), (0, 0, 0)]:
            given.InsertNextPoint(*point)
            moved.InsertNextPoint(*(np.array(point) + ([6, -4, 2] if point == (0, 0, 0) else [0, 0, 0])))
        spline.SetSourceLandmarks(given)
        spline.SetTargetLandmarks(moved)
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "Bent")
        node.SetAndObserveTransformToParent(spline)
        second.SetAndObserveTransformNodeID(node.GetID())
        found, voxel = self.read(first, second).further[0], (20, 18, 15)
        place = (AFFINE @ [*voxel, 1.0])[:3]
        before = np.array(spline.GetInverse().TransformPoint(*place))
        assert np.linalg.norm(before - place) > 3
        assert found[voxel] == pytest.approx(before @ [3.0, -2.0, 1.0], abs=0.05)

    def test_what_does_not_reach_is_refused_and_a_part_is_told(self, t1: Any) -> None:
        from LiverSegLib.errors import InputError

        far = AFFINE.copy()
        far[0, 3] += 500
        with pytest.raises(InputError, match=r"^far lies elsewhere in space than T1 of the case; choose"):
            self.read(t1, add("far", TUMOR, far))
        half = AFFINE.copy()
        half[2, 3] += 32
        volume = self.read(t1, add("half", TUMOR, half))
        assert volume.notes == ("half was resampled onto the grid of T1 of the case, of which it covers 50 %.",)
        assert volume.further[0].dtype == np.int16
        assert not volume.further[0][:, :, :15].any()

    def test_a_label_map_is_no_image(self, t1: Any) -> None:
        from LiverSegLib.errors import InputError

        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Odd")
        with pytest.raises(InputError, match=r"^Odd is a label map"):
            self.read(t1, node)
