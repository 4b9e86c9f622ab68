"""A corrected segmentation goes into a training set: from the scene to what `python -m Training prepare` reads."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("slicer.util", exc_type=ImportError)

pytest.importorskip("PySide6.QtWidgets", exc_type=ImportError)

import slicer
import slicer.util
import vtk

from LiverSegLib import slicer_bridge as bridge
from LiverSegLib.errors import InputError, OutputError
from LiverSegLib.io import read_volume
from LiverSegLib.io.training_set import Origin, add_case
from Testing.module.test_bridge import AFFINE, SHAPE, SHEAR, a_labelmap, a_result, a_transform, a_turn, a_volume, scene
from Training.data.readers.msd import msd_listing
from Training.recipe.sources import MsdSource

__all__ = ["scene"]
pytest_plugins = ("Testing.module_case",)
SOURCE = MsdSource(kind="msd", name="own", folder="own", labels={1: 1, 2: 2})


def a_corrected(volume: Any) -> Any:
    """A segmentation of a volume as a model wrote it, with a voxel that a person added to the liver."""
    return bridge.write_segments(a_result(volume), volume).node


@pytest.mark.usefixtures("scene")
@pytest.mark.parametrize("transform", [None, a_turn(), SHEAR], ids=["none", "turned", "sheared"])
def test_what_is_drawn_lies_on_the_voxels_of_the_volume_under_every_linear_transform(
    transform: np.ndarray | None,
) -> None:
    volume = a_volume()
    if transform is not None:
        volume.SetAndObserveTransformNodeID(a_transform(transform).GetID())
    read, masks = bridge.drawn_on_volume(a_corrected(volume))
    labelmap = a_labelmap()
    assert read.array.shape == SHAPE
    np.testing.assert_array_equal(masks["liver"], labelmap == 1)
    np.testing.assert_array_equal(masks["tumor"], labelmap == 2)


@pytest.mark.usefixtures("scene")
def test_segments_on_another_grid_under_another_transform_come_to_the_volume() -> None:
    volume, turn = a_volume(), a_turn(90, (0, 0, 0))
    node = a_corrected(volume)
    node.SetAndObserveTransformNodeID(a_transform(turn).GetID())
    volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(turn @ AFFINE))
    _, masks = bridge.drawn_on_volume(node)
    np.testing.assert_array_equal(masks["liver"], a_labelmap() == 1)
    volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(turn @ AFFINE @ np.diag([2.0, 2.0, 2.0, 1.0])))
    _, masks = bridge.drawn_on_volume(node)
    np.testing.assert_array_equal(masks["liver"][:20, :18, :12], (a_labelmap() == 1)[::2, ::2, ::2])
    assert not masks["liver"][20:].any()


@pytest.mark.usefixtures("scene")
def test_what_cannot_be_brought_to_the_volume_is_refused() -> None:
    volume = a_volume()
    node = a_corrected(volume)
    warp = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "Warp")
    spline = vtk.vtkThinPlateSplineTransform()
    spline.SetSourceLandmarks(_points([[0, 0, 0], [9, 0, 0], [0, 9, 0], [0, 0, 9]]))
    spline.SetTargetLandmarks(_points([[0, 0, 0], [12, 0, 3], [0, 9, 0], [0, 2, 9]]))
    warp.SetAndObserveTransformToParent(spline)
    node.SetAndObserveTransformNodeID(warp.GetID())
    with pytest.raises(OutputError, match="non-linear transforms; harden them"):
        bridge.drawn_on_volume(node)
    with pytest.raises(InputError, match="belongs to no volume"):
        bridge.drawn_on_volume(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "alone"))


def _points(rows: list[list[float]]) -> Any:
    points = vtk.vtkPoints()
    for row in rows:
        points.InsertNextPoint(row)
    return points


def test_training_reads_the_cases_that_the_menu_adds(
    host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import qt

    host.select("LiverSeg")
    panel, folder = host.widget.panel, tmp_path / "own"
    folder.mkdir()
    monkeypatch.setattr(qt, "QFileDialog", SimpleNamespace(getExistingDirectory=lambda *_: str(folder)), raising=False)
    volume = a_volume(name="Jane Doe")
    panel._parameterNode.outputSegmentation = a_corrected(volume)
    (action,) = [one for one in host.widget.ui.exportButton.menu().actions() if one.text() == "Add to training set…"]
    action.trigger()
    said = host.widget.ui.statusText.text()
    assert said.startswith(f"Added to the training set in {folder} as case_"), said
    action.trigger()
    assert "Jane Doe is in the training set" in host.widget.ui.statusText.text()
    (entry,) = msd_listing(SOURCE, tmp_path).entries
    case = entry.read()
    np.testing.assert_array_equal(case.volume.array, slicer.util.arrayFromVolume(volume).transpose(2, 1, 0))
    np.testing.assert_allclose(case.volume.affine, AFFINE)
    np.testing.assert_array_equal(case.label, a_labelmap())
    (written,) = json.loads((folder / "corrections.json").read_text(encoding="utf-8"))
    assert (written["case"], written["labels"]) == (entry.name, ["liver", "tumor"])
    assert not any(b"Jane" in path.read_bytes() or "Jane" in path.name for path in folder.rglob("*") if path.is_file())


@pytest.mark.usefixtures("scene")
def test_values_stay_the_same_over_cases_and_damaged_lists_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text('{"labels": {"0": "background", "4": "liver"}, "training": []}')
    first = bridge.read_volume_node(a_volume())
    second = bridge.read_volume_node(a_volume(AFFINE + np.diag([0.5, 0, 0, 0])))
    liver, tumor = a_labelmap() > 0, a_labelmap() == 2
    add_case(tmp_path, first, {"liver": liver}, Origin())
    case = add_case(tmp_path, second, {"tumor": tumor, "liver": liver}, Origin())
    found = read_volume(tmp_path / f"labelsTr/{case}.nii.gz").array
    assert set(np.unique(found)) == {0, 4, 5}
    np.testing.assert_array_equal(found == 5, tumor)
    listed = json.loads((tmp_path / "dataset.json").read_text())
    assert listed["labels"] == {"0": "background", "4": "liver", "5": "tumor"}
    assert listed["numTraining"] == len(listed["training"]) == 2
    with pytest.raises(InputError, match="Nothing is drawn on CT"):
        add_case(tmp_path, first, {"liver": np.zeros(SHAPE, bool)}, Origin())
    (tmp_path / "dataset.json").write_text("[]")
    with pytest.raises(OutputError, match="no list of a training set; choose another folder"):
        add_case(tmp_path, first, {"liver": liver}, Origin())
    assert (tmp_path / "dataset.json").read_text() == "[]"
