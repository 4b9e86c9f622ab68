"""The bridge on real MRML: volume nodes in, segmentation and table nodes out."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("slicer.util", exc_type=ImportError)

import slicer
import slicer.util
import vtk

from LiverSegLib import slicer_bridge as bridge
from LiverSegLib.errors import InputError, OutputError
from LiverSegLib.labels import label_for, labels_for
from LiverSegLib.measure import measure
from LiverSegLib.volume import Result
from Testing.headless.scene import make_scene

SHAPE = (40, 36, 24)
AFFINE = np.array([[-1.5, 0, 0, 30], [0, -1.5, 0, 25], [0, 0, 2.5, -20], [0, 0, 0, 1.0]])


pytestmark = pytest.mark.usefixtures("scene")


@pytest.fixture
def scene() -> Iterator[Any]:
    """A new scene at slicer.mrmlScene."""
    scene = make_scene()
    yield scene
    scene.Clear(1)


ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII")
# DICOM CID 7170.
CODES = ("71133005", "277956007", "277957003", "277958008", "277959000", "277960005", "277961009", "277962002")


def a_volume(affine: np.ndarray = AFFINE, shape: tuple[int, ...] = SHAPE, name: str = "CT") -> Any:
    """A scalar volume node that holds its voxels' running number."""
    array = np.arange(np.prod(shape), dtype=np.int16).reshape(shape[::-1])
    return slicer.util.addVolumeFromArray(array, ijkToRAS=affine, name=name)


def a_labelmap(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """A liver with a lesion in it."""
    labelmap = np.zeros(shape, np.uint8)
    i, j, k = np.ogrid[: shape[0], : shape[1], : shape[2]]
    labelmap[((i - 22) / 12) ** 2 + ((j - 16) / 10) ** 2 + ((k - 11) / 8) ** 2 <= 1] = 1
    labelmap[((i - 26) / 4) ** 2 + ((j - 16) / 4) ** 2 + ((k - 11) / 3) ** 2 <= 1] = 2
    return labelmap


def a_result(volume: Any, labelmap: np.ndarray | None = None) -> Result:
    labelmap = a_labelmap() if labelmap is None else labelmap
    affine = bridge.ijk_to_ras(volume)
    labels = (label_for(1, "liver"), label_for(2, "tumor"))
    return Result(labelmap=labelmap, affine=affine, labels=labels, measurements=measure(labelmap, affine, labels))


def a_cut_result(volume: Any) -> Result:
    """The liver of `a_labelmap` cut into its eight segments along i, measured."""
    whole, affine = a_labelmap() > 0, bridge.ijk_to_ras(volume)
    labelmap = np.where(whole, np.clip((np.arange(SHAPE[0]) - 10) // 3, 0, 7)[:, None, None] + 1, 0).astype(np.uint8)
    labels = labels_for({number: f"liver_segment_{number}" for number in range(1, 9)})
    image = slicer.util.arrayFromVolume(volume).transpose(2, 1, 0)
    measured = measure(labelmap, affine, labels, image, "HU")
    return Result(labelmap=labelmap, affine=affine, labels=labels, measurements=measured)


def a_transform(matrix: np.ndarray, parent: Any = None, name: str = "T") -> Any:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    if parent is not None:
        node.SetAndObserveTransformNodeID(parent.GetID())
    return node


def a_turn(degrees: float = 25, shift: tuple[float, float, float] = (10, -5, 7)) -> np.ndarray:
    turn = vtk.vtkTransform()
    turn.Translate(shift)
    turn.RotateX(degrees)
    turn.RotateZ(degrees / 2)
    return np.array(slicer.util.arrayFromVTKMatrix(turn.GetMatrix()))


SHEAR = np.array([[1, 0, 0.2, 5], [0, 1, 0.3, -3], [0, 0, 1.0, 2], [0, 0, 0, 1]])


def world_mask(segmentation: Any, segment_id: str, points: np.ndarray) -> np.ndarray:
    """Which of the world points [n, 3] lie in a segment, through all transforms, by nearest neighbor."""
    image = slicer.vtkOrientedImageData()
    segmentation.GetBinaryLabelmapRepresentation(segment_id, image)
    matrix = vtk.vtkMatrix4x4()
    image.GetWorldToImageMatrix(matrix)
    to_local = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(None, segmentation.GetParentTransformNode(), to_local)
    local = np.array([to_local.TransformPoint(p) for p in points])
    index = local @ slicer.util.arrayFromVTKMatrix(matrix)[:3, :3].T + slicer.util.arrayFromVTKMatrix(matrix)[:3, 3]
    index = np.rint(index).astype(int)
    extent = np.array(image.GetExtent()).reshape(3, 2)
    inside = ((index >= extent[:, 0]) & (index <= extent[:, 1])).all(axis=1)
    voxels = vtk.util.numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
    shape = extent[:, 1] - extent[:, 0] + 1
    array = voxels.reshape(shape[::-1]).transpose(2, 1, 0)
    found = np.zeros(len(points), bool)
    found[inside] = array[tuple((index - extent[:, 0])[inside].T)] > 0
    return found


def world_points(volume: Any) -> np.ndarray:
    """Where the volume's voxels lie in the world, [n, 3]."""
    to_world = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(volume.GetParentTransformNode(), None, to_world)
    index = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1).reshape(-1, 3)
    affine = bridge.ijk_to_ras(volume)
    return np.array([to_world.TransformPoint(p) for p in index @ affine[:3, :3].T + affine[:3, 3]])


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())


def ids_of(node: Any) -> list[str]:
    segmentation = node.GetSegmentation()
    return [segmentation.GetNthSegmentID(n) for n in range(segmentation.GetNumberOfSegments())]


def add_user_segment(node: Any, volume: Any, name: str = "Mine") -> str:
    """A block that the user has drawn."""
    segment_id = node.GetSegmentation().AddEmptySegment("", name, [0.1, 0.2, 0.9])
    array = np.zeros(SHAPE[::-1], np.uint8)
    array[2:8, 3:9, 4:10] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, node, segment_id, volume)
    return segment_id


class TestVolumeNode:
    def test_is_a_view_with_the_nodes_own_affine(self) -> None:
        node = a_volume()
        node.SetAndObserveTransformNodeID(a_transform(a_turn()).GetID())
        volume = bridge.read_volume_node(node)
        assert volume.array.shape == SHAPE
        assert np.shares_memory(volume.array, slicer.util.arrayFromVolume(node))
        assert volume.array[3, 2, 1] == slicer.util.arrayFromVolume(node)[1, 2, 3]
        np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-12)
        assert volume.name == "CT"

    def test_keeps_an_oblique_affine(self) -> None:
        oblique = a_turn() @ AFFINE
        np.testing.assert_allclose(bridge.read_volume_node(a_volume(oblique)).affine, oblique, atol=1e-9)

    def test_modality_comes_from_dicom(self, scene: Any) -> None:
        node = a_volume()
        assert bridge.read_volume_node(node).modality is None
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
        hierarchy.SetItemAttribute(hierarchy.GetItemByDataNode(node), "DICOM.Modality", "MR")
        assert bridge.read_volume_node(node).modality == "MR"

    def test_hounsfield_units_mean_ct(self) -> None:
        node = a_volume()
        units = slicer.vtkCodedEntry()
        units.SetValueSchemeMeaning("[hnsf'U]", "UCUM", "Hounsfield unit")
        node.SetVoxelValueUnits(units)
        assert bridge.guess_modality(node) == "CT"

    @pytest.mark.parametrize(
        ("class_name", "said"),
        [
            ("vtkMRMLLabelMapVolumeNode", "label map"),
            ("vtkMRMLVectorVolumeNode", "color or vector"),
            ("vtkMRMLDiffusionTensorVolumeNode", "tensor"),
            ("vtkMRMLSequenceNode", "time series"),
            ("vtkMRMLScalarVolumeNode", "no voxels"),
            ("vtkMRMLModelNode", "not a volume"),
        ],
    )
    def test_refuses_what_is_no_scalar_volume(self, scene: Any, class_name: str, said: str) -> None:
        node = scene.AddNewNodeByClass(class_name, "Odd")
        with pytest.raises(InputError, match=f"Odd .*{said}"):
            bridge.read_volume_node(node)

    def test_one_slice_is_a_volume(self) -> None:
        assert bridge.read_volume_node(a_volume(shape=(8, 8, 1))).array.shape == (8, 8, 1)

    def test_refuses_nothing(self) -> None:
        with pytest.raises(InputError, match="no volume"):
            bridge.read_volume_node(None)

    def test_warns_of_transforms_that_change_shapes(self, scene: Any) -> None:
        node = a_volume()
        assert bridge.transform_warnings(node) == []
        node.SetAndObserveTransformNodeID(a_transform(a_turn()).GetID())
        assert bridge.transform_warnings(node) == []
        node.SetAndObserveTransformNodeID(a_transform(SHEAR, name="Tilt").GetID())
        assert "Tilt, which scales or shears" in bridge.transform_warnings(node)[0]
        warp = scene.AddNewNodeByClass("vtkMRMLTransformNode", "Warp")
        warp.SetAndObserveTransformToParent(a_warp())
        node.SetAndObserveTransformNodeID(warp.GetID())
        assert "non-linear transform Warp" in bridge.transform_warnings(node)[0]


def a_warp() -> Any:
    """A thin-plate spline that bends by some millimeters."""
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for point in [*itertools.product((-40, 40), repeat=3), (0, 0, 0)]:
        source.InsertNextPoint(point)
        target.InsertNextPoint([point[0] + (6 if point == (0, 0, 0) else 0), point[1], point[2]])
    spline = vtk.vtkThinPlateSplineTransform()
    spline.SetSourceLandmarks(source)
    spline.SetTargetLandmarks(target)
    spline.SetBasisToR()
    return spline


class TestRegionOfInterest:
    def a_roi(self, center: tuple[float, ...], size: tuple[float, ...]) -> Any:
        roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "R")
        roi.SetCenter(center)
        roi.SetSize(size)
        return roi

    def test_box_of_voxels(self) -> None:
        roi = self.a_roi((0, 0, 0), (15, 15, 20))
        box = bridge.roi_box(roi, a_volume())
        # 20 voxels of 1.5 mm left of 30 mm is the center; half of 15 mm is five voxels.
        assert box[0] == (15, 26)
        assert box[2] == (4, 13)

    def test_follows_both_transforms(self) -> None:
        volume, roi = a_volume(), self.a_roi((0, 0, 0), (15, 15, 20))
        plain = bridge.roi_box(roi, volume)
        transform = a_transform(a_turn(), a_transform(SHEAR))
        volume.SetAndObserveTransformNodeID(transform.GetID())
        roi.SetAndObserveTransformNodeID(transform.GetID())
        moved = bridge.roi_box(roi, volume)
        assert np.abs(np.subtract(moved, plain)).max() <= 1

    def test_turned_roi_gives_its_bounding_box(self) -> None:
        volume, roi = a_volume(), self.a_roi((0, 0, 0), (20, 20, 20))
        roi.SetAndObserveTransformNodeID(a_transform(a_turn(45, (0, 0, 0))).GetID())
        box = bridge.roi_box(roi, volume)
        assert box[1][1] - box[1][0] > 20 / 1.5 * 1.2

    def test_outside_is_refused(self, scene: Any) -> None:
        with pytest.raises(InputError, match="outside CT"):
            bridge.roi_box(self.a_roi((500, 0, 0), (5, 5, 5)), a_volume())
        empty = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Empty")
        with pytest.raises(InputError, match="Empty has no size"):
            bridge.roi_box(empty, a_volume())


class TestSegments:
    @pytest.mark.parametrize("place", ["plain", "linear", "nested", "sheared", "oblique", "warped"])
    def test_overlay_the_volume_in_the_world(self, scene: Any, place: str) -> None:
        volume = a_volume(a_turn(40) @ AFFINE if place == "oblique" else AFFINE)
        parents = {
            "linear": lambda: a_transform(a_turn()),
            "nested": lambda: a_transform(a_turn(), a_transform(a_turn(-60, (3, 2, 1)))),
            "sheared": lambda: a_transform(SHEAR),
        }
        if place in parents:
            volume.SetAndObserveTransformNodeID(parents[place]().GetID())
        if place == "warped":
            warp = scene.AddNewNodeByClass("vtkMRMLTransformNode", "Warp")
            warp.SetAndObserveTransformToParent(a_warp())
            volume.SetAndObserveTransformNodeID(warp.GetID())
        written = bridge.write_segments(a_result(volume), volume)
        points = world_points(volume)
        for value, segment_id in ((1, "LiverSeg_liver"), (2, "LiverSeg_tumor")):
            truth = (a_labelmap() == value).reshape(-1)
            assert dice(world_mask(written.node, segment_id, points), truth) >= 0.99

    def test_a_users_segments_under_another_transform_stay_where_they_are(self, scene: Any) -> None:
        volume = a_volume()
        node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        mine = add_user_segment(node, volume)
        node.SetAndObserveTransformNodeID(a_transform(a_turn(15)).GetID())
        points = world_points(volume)
        before = world_mask(node, mine, points)
        volume.SetAndObserveTransformNodeID(a_transform(SHEAR).GetID())
        bridge.write_segments(a_result(volume), volume, node)
        np.testing.assert_array_equal(world_mask(node, mine, points), before)
        truth = (a_labelmap() == 1).reshape(-1)
        assert dice(world_mask(node, "LiverSeg_liver", world_points(volume)), truth) >= 0.99

    def test_names_colors_and_terms(self) -> None:
        volume = a_volume()
        node = bridge.write_segments(a_result(volume), volume).node
        assert ids_of(node) == ["LiverSeg_liver", "LiverSeg_tumor"]
        liver, tumor = (node.GetSegmentation().GetSegment(i) for i in ids_of(node))
        assert (liver.GetName(), tumor.GetName()) == ("Liver", "Liver tumor")
        np.testing.assert_allclose(np.array(liver.GetColor()) * 255, label_for(1, "liver").color, atol=0.5)
        entry = slicer.vtkSlicerTerminologyEntry()
        logic = slicer.modules.terminologies.logic()
        assert logic.DeserializeTerminologyEntry(_tag(tumor), entry)
        assert entry.GetTypeObject().GetCodeValue() == "108369006"
        region = getattr(entry, "GetRegionObject", None) or entry.GetAnatomicRegionObject
        assert region().GetCodeValue() == "10200004"
        assert logic.SerializeTerminologyEntry(entry) == _tag(tumor)

    def test_names_colors_and_terms_of_segments_of_the_liver(self) -> None:
        volume = a_volume()
        result = a_cut_result(volume)
        node = bridge.write_segments(result, volume).node
        assert ids_of(node) == [f"LiverSeg_liver_segment_{number}" for number in range(1, 9)]
        logic, entry = slicer.modules.terminologies.logic(), slicer.vtkSlicerTerminologyEntry()
        for roman, code, label in zip(ROMAN, CODES, result.labels, strict=True):
            segment = node.GetSegmentation().GetSegment(label.segment_id)
            assert segment.GetName() == f"Liver segment {roman}"
            np.testing.assert_allclose(np.array(segment.GetColor()) * 255, label.color, atol=0.5)
            # The lists of Slicer do not hold these codes: it shows what is written in the segment.
            assert logic.DeserializeTerminologyEntry(_tag(segment), entry)
            assert entry.GetCategoryObject().GetCodeMeaning() == "Anatomical Structure"
            found = entry.GetTypeObject()
            assert (found.GetCodeValue(), found.GetCodeMeaning()) == (code, f"Couinaud hepatic segment {roman}")
            assert logic.SerializeTerminologyEntry(entry) == _tag(segment)

    def test_stands_beside_the_volume(self, scene: Any) -> None:
        volume = a_volume()
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
        study = hierarchy.CreateStudyItem(hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "P"), "S")
        hierarchy.SetItemParent(hierarchy.GetItemByDataNode(volume), study)
        node = bridge.write_segments(a_result(volume), volume).node
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study
        assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is volume

    def test_a_second_run_replaces_only_ours(self, scene: Any) -> None:
        volume = a_volume()
        node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        first = add_user_segment(node, volume, "First")
        bridge.write_segments(a_result(volume), volume, node)
        last = add_user_segment(node, volume, "Last")
        node.GetSegmentation().GetSegment("LiverSeg_liver").SetName("My liver")
        node.GetSegmentation().GetSegment("LiverSeg_liver").SetColor(0, 1, 0)
        order = ids_of(node)
        kept = {i: slicer.util.arrayFromSegmentBinaryLabelmap(node, i, volume) for i in (first, last)}
        labelmap = np.roll(a_labelmap(), 3, axis=0)
        bridge.write_segments(a_result(volume, labelmap), volume, node)
        assert ids_of(node) == order == [first, "LiverSeg_liver", "LiverSeg_tumor", last]
        assert node.GetSegmentation().GetSegment("LiverSeg_liver").GetName() == "My liver"
        assert node.GetSegmentation().GetSegment("LiverSeg_liver").GetColor() == (0, 1, 0)
        for i, array in kept.items():
            np.testing.assert_array_equal(slicer.util.arrayFromSegmentBinaryLabelmap(node, i, volume), array)
        for value, name in ((1, "liver"), (2, "tumor")):
            now = slicer.util.arrayFromSegmentBinaryLabelmap(node, f"LiverSeg_{name}", volume)
            np.testing.assert_array_equal(now.transpose(2, 1, 0) > 0, labelmap == value)

    def test_segments_that_share_a_layer_with_ours_survive(self) -> None:
        volume = a_volume()
        node = bridge.write_segments(a_result(volume), volume).node
        mine = add_user_segment(node, volume)
        node.GetSegmentation().CollapseBinaryLabelmaps(False)
        before = slicer.util.arrayFromSegmentBinaryLabelmap(node, mine, volume)
        bridge.write_segments(a_result(volume), volume, node)
        np.testing.assert_array_equal(slicer.util.arrayFromSegmentBinaryLabelmap(node, mine, volume), before)

    def test_absent_labels_leave_no_segment(self) -> None:
        volume = a_volume()
        node = bridge.write_segments(a_result(volume), volume).node
        written = bridge.write_segments(a_result(volume, np.minimum(a_labelmap(), 1)), volume, node)
        assert written.missing == ("tumor",)
        assert ids_of(node) == ["LiverSeg_liver"]
        nothing = bridge.write_segments(a_result(volume, np.zeros(SHAPE, np.uint8)), volume)
        assert nothing.missing == ("liver", "tumor")
        assert ids_of(nothing.node) == []

    def test_lesions_alone(self) -> None:
        volume = a_volume()
        result = replace(a_result(volume, np.where(a_labelmap() == 2, 2, 0).astype(np.uint8)))
        result = replace(result, labels=result.labels[1:])
        node = bridge.write_segments(result, volume).node
        assert ids_of(node) == ["LiverSeg_tumor"]
        found = slicer.util.arrayFromSegmentBinaryLabelmap(node, "LiverSeg_tumor", volume)
        assert found.sum() == (a_labelmap() == 2).sum()

    def test_closed_surfaces_come_back(self) -> None:
        volume = a_volume()
        node = bridge.write_segments(a_result(volume), volume).node
        assert not node.GetSegmentation().ContainsRepresentation("Closed surface")
        mine = add_user_segment(node, volume)
        bridge.show_surfaces(node)
        bridge.write_segments(a_result(volume, np.roll(a_labelmap(), 4, axis=0)), volume, node)
        for segment_id in ("LiverSeg_liver", "LiverSeg_tumor", mine):
            assert node.GetClosedSurfaceInternalRepresentation(segment_id).GetNumberOfPoints() > 0
        shown = bridge.write_segments(a_result(volume), volume, show_3d=True).node
        assert shown.GetSegmentation().ContainsRepresentation("Closed surface")

    def test_a_segmentation_of_surfaces_is_refused_unchanged(self, scene: Any) -> None:
        volume, node = a_volume(), scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Surfaces")
        sphere = vtk.vtkSphereSource()
        sphere.Update()
        node.AddSegmentFromClosedSurfaceRepresentation(sphere.GetOutput(), "Ball", [1, 0, 0])
        node.SetSourceRepresentationToClosedSurface()
        with pytest.raises(OutputError, match="Surfaces is not made of binary label maps"):
            bridge.write_segments(a_result(volume), volume, node)
        assert len(ids_of(node)) == 1


def _tag(segment: Any) -> str:
    return slicer.util.toVTKString(_tag_value(segment))


def _tag_value(segment: Any) -> str:
    value = vtk.reference("")
    assert segment.GetTag(segment.GetTerminologyEntryTagName(), value)
    return str(value)


class TestEditedSegments:
    """What the user changed is never replaced without being asked for, and can be brought back."""

    def edited(self, volume: Any) -> tuple[Any, np.ndarray]:
        """A segmentation of ours whose liver the user has cut, and what is left of it."""
        node = bridge.write_segments(a_result(volume), volume).node
        assert bridge.edited_segments(node) == {}
        liver = slicer.util.arrayFromSegmentBinaryLabelmap(node, "LiverSeg_liver", volume).copy()
        liver[:12] = 0
        slicer.util.updateSegmentBinaryLabelmapFromArray(liver, node, "LiverSeg_liver", volume)
        return node, liver

    def liver_of(self, node: Any, volume: Any) -> np.ndarray:
        return slicer.util.arrayFromSegmentBinaryLabelmap(node, "LiverSeg_liver", volume)

    def test_an_edited_segment_stays_and_the_result_goes_beside_it(self) -> None:
        volume = a_volume()
        node, liver = self.edited(volume)
        written = bridge.write_segments(a_result(volume), volume, node)
        assert written.kept == ("Liver",)
        assert written.node is not node
        np.testing.assert_array_equal(self.liver_of(node, volume), liver)
        assert bridge.edited_segments(written.node) == {}

    def test_an_edit_that_is_given_up_is_replaced_and_can_be_brought_back(self) -> None:
        volume = a_volume()
        node, liver = self.edited(volume)
        bridge.show_surfaces(node)
        history = bridge.save_state(node)
        assert not bridge.restore_state(history, node)  # nothing has changed yet
        given_up = bridge.edited_segments(node)
        assert set(given_up) == {"LiverSeg_liver"}
        written = bridge.write_segments(a_result(volume), volume, node, give_up=given_up.values())
        assert (written.node, written.kept) == (node, ())
        assert bridge.edited_segments(node) == {}
        assert bridge.restore_state(history, node)
        np.testing.assert_array_equal(self.liver_of(node, volume), liver)
        assert bridge.edited_segments(node) == given_up
        assert bridge.has_surfaces(node)

    def test_edits_after_the_question_are_kept(self) -> None:
        volume = a_volume()
        node, liver = self.edited(volume)
        given_up = bridge.edited_segments(node)
        liver[15:] = 0
        slicer.util.updateSegmentBinaryLabelmapFromArray(liver, node, "LiverSeg_liver", volume)
        assert bridge.write_segments(a_result(volume), volume, node, give_up=given_up.values()).kept == ("Liver",)
        np.testing.assert_array_equal(self.liver_of(node, volume), liver)

    def test_other_targets_do_not_mind_an_edit(self) -> None:
        volume = a_volume()
        node, liver = self.edited(volume)
        tumor = replace(a_result(volume, np.where(a_labelmap() == 2, 2, 0).astype(np.uint8)))
        written = bridge.write_segments(replace(tumor, labels=tumor.labels[1:]), volume, node)
        assert (written.node, written.kept) == (node, ())
        np.testing.assert_array_equal(self.liver_of(node, volume), liver)

    def test_name_color_neighbors_and_a_saved_scene_are_no_edits(self, scene: Any, tmp_path: Any) -> None:
        volume = a_volume()
        node = bridge.write_segments(a_result(volume), volume).node
        segment = node.GetSegmentation().GetSegment("LiverSeg_liver")
        segment.SetName("My liver")
        segment.SetColor(0, 1, 0)
        add_user_segment(node, volume)
        node.GetSegmentation().CollapseBinaryLabelmaps(False)
        assert bridge.edited_segments(node) == {}
        storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
        storage.SetFileName(str(tmp_path / "x.seg.nrrd"))
        assert storage.WriteData(node)
        again = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        assert storage.ReadData(again)
        assert "LiverSeg_liver" in ids_of(again)
        assert bridge.edited_segments(again) == {}

    def test_segments_of_unknown_origin_count_as_edited(self) -> None:
        volume = a_volume()
        node = bridge.write_segments(a_result(volume), volume).node
        node.GetSegmentation().GetSegment("LiverSeg_liver").RemoveTag("LiverSeg.Voxels")
        assert set(bridge.edited_segments(node)) == {"LiverSeg_liver"}


class TestFit:
    @pytest.mark.parametrize(
        "affine", [AFFINE, a_turn() @ AFFINE, SHEAR @ AFFINE], ids=["straight", "turned", "sheared"]
    )
    @pytest.mark.parametrize("under_transform", [False, True])
    def test_the_box_holds_the_whole_volume(self, affine: np.ndarray, under_transform: bool) -> None:
        volume = a_volume(affine)
        if under_transform:
            volume.SetAndObserveTransformNodeID(a_transform(a_turn()).GetID())
        roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "R")
        bridge.fit_roi(roi, volume)
        assert bridge.roi_box(roi, volume) == tuple((0, n) for n in SHAPE)
        if affine is not None and np.allclose(affine, AFFINE):
            np.testing.assert_allclose(roi.GetSize(), (60, 54, 60))


class TestExport:
    @pytest.mark.parametrize(
        ("kind", "files"),
        [
            ("STL", {"CT segmentation_Liver.stl", "CT segmentation_Liver tumor.stl"}),
            ("NRRD", {"CT segmentation.nrrd"}),
            ("NIfTI", {"CT segmentation.nii.gz"}),
        ],
    )
    def test_files_by_slicers_exporter_in_a_new_folder(self, tmp_path: Any, kind: str, files: set[str]) -> None:
        volume = a_volume()
        node = bridge.write_segments(a_result(volume), volume).node
        first, second = (bridge.export_segments(node, tmp_path, kind) for _ in range(2))
        assert first != second
        for folder in (first, second):
            assert files <= {path.name for path in folder.iterdir()}
        assert not bridge.has_surfaces(node)

    def test_the_label_map_lies_on_the_volumes_grid(self, tmp_path: Any) -> None:
        from LiverSegLib.io import read_volume

        volume = a_volume()
        node = bridge.write_segments(a_result(volume), volume).node
        written = read_volume(bridge.export_segments(node, tmp_path, "NIfTI") / "CT segmentation.nii.gz")
        np.testing.assert_array_equal(written.array, a_labelmap())
        np.testing.assert_allclose(written.affine, AFFINE, atol=1e-4)

    def test_a_folder_that_cannot_be_written_to_is_a_sentence(self) -> None:
        node = bridge.write_segments(a_result(a_volume()), a_volume()).node
        with pytest.raises(OutputError, match="/proc cannot be written to"):
            bridge.export_segments(node, Path("/proc"), "STL")


def test_only_the_segmentation_of_one_volume_is_shown(scene: Any) -> None:
    first, second = a_volume(), a_volume(name="Other")
    nodes = [bridge.write_segments(a_result(volume), volume).node for volume in (first, second)]
    own = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Mine")
    own.CreateDefaultDisplayNodes()
    add_user_segment(own, first)
    bridge.show_only_segmentation_of(second)
    assert [bool(node.GetDisplayNode().GetVisibility()) for node in [*nodes, own]] == [False, True, True]
    bridge.show_only_segmentation_of(first)
    assert [bool(node.GetDisplayNode().GetVisibility()) for node in [*nodes, own]] == [True, False, True]


def test_table_has_a_row_for_each_structure() -> None:
    volume = a_volume()
    image = slicer.util.arrayFromVolume(volume).transpose(2, 1, 0)
    affine = bridge.ijk_to_ras(volume)
    measurements = measure(a_labelmap(), affine, labels_for({1: "liver", 2: "tumor"}), image, "HU")
    table = bridge.write_table(measurements, volume_node=volume)
    assert bridge.measured_volume(table) is volume
    rows = bridge.table_rows(table)
    assert [row["Structure"] for row in rows] == ["Liver", "Liver tumor", "Liver tumor 1"]
    volumes = slicer.util.arrayFromTableColumn(table, "Volume [mL]")
    assert volumes[0] == measurements.volume_ml("liver")
    means = slicer.util.arrayFromTableColumn(table, "Mean [HU]")
    assert means[0] == pytest.approx(image[a_labelmap() > 0].mean())
    assert (rows[0]["Longest diameter [mm]"], rows[2]["Longest diameter [mm]"]) == ("", "17.5")
    assert not any("nan" in str(value).lower() for row in rows for value in row.values())
    assert bridge.write_table(measurements, table) is table
    assert table.GetNumberOfRows() == 3


def test_table_of_segments_of_the_liver_has_their_shares_and_the_whole() -> None:
    result = a_cut_result(a_volume())
    table = bridge.write_table(result.measurements, labels=result.labels)
    rows = bridge.table_rows(table)
    assert [row["Structure"] for row in rows] == [*(f"Liver segment {roman}" for roman in ROMAN), "Liver"]
    assert list(rows[0]) == ["Structure", "Volume [mL]", "Mean [HU]", "Standard deviation [HU]", "Share of liver [%]"]
    shares = [row["Share of liver [%]"] for row in rows]
    assert sum(float(share) for share in shares[:8]) == pytest.approx(100, abs=0.4)
    assert shares[8] == ""
    assert rows[8]["Volume [mL]"] == pytest.approx(sum(row["Volume [mL]"] for row in rows[:8]))


def test_a_table_without_lesions_or_gray_values_leaves_their_columns_out(scene: Any) -> None:
    volume = a_volume()
    liver = measure(np.minimum(a_labelmap(), 1), bridge.ijk_to_ras(volume), labels_for({1: "liver"}))
    assert [list(row) for row in bridge.table_rows(bridge.write_table(liver))] == [["Structure", "Volume [mL]"]]
    nothing = measure(np.zeros(SHAPE, np.uint8), AFFINE, labels_for({1: "liver", 2: "tumor"}), np.zeros(SHAPE), "HU")
    assert bridge.table_rows(bridge.write_table(nothing))[0]["Volume [mL]"] == 0.0
    assert bridge.table_rows(scene.AddNewNodeByClass("vtkMRMLTableNode")) == []
