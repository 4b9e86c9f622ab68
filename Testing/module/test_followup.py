"""Two scans of one patient compared by clicks: registered, as they lie in the scene, and through a transform."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("slicer.util", exc_type=ImportError)
pytest.importorskip("PySide6.QtWidgets", exc_type=ImportError)

import slicer
import slicer.util
import vtk
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QPushButton

from LiverSegLib import slicer_bridge
from LiverSegLib.measure import Measurements
from LiverSegLib.volume import Result
from Testing.module.test_bridge import a_transform
from Testing.module.test_handover import Desktop, choose, desktop

__all__ = ["desktop"]
pytest_plugins = ("Testing.module_case",)
ENTRY = "Compare with another scan…"
MOVED = np.array([[0.966, -0.259, 0, 9], [0.259, 0.966, 0, -7], [0, 0, 1, 12], [0, 0, 0, 1.0]])
MOVED[:3, :3] = [[np.cos(0.26), -np.sin(0.26), 0], [np.sin(0.26), np.cos(0.26), 0], [0, 0, 1]]
GROWN, GONE, NEW = (-10.0, 0.0, 4.0), (22.0, -10.0, -6.0), (12.0, 20.0, 14.0)


def add_scan(name: str, balls: dict[tuple[float, float, float], float], moved: np.ndarray) -> Any:
    """A volume with a liver and balls (center in the liver -> radius, mm) and its segmentation, moved on the table."""
    affine = moved @ np.array([[-3.0, 0, 0, 75], [0, -3, 0, 75], [0, 0, 3, -60], [0, 0, 0, 1]])
    index = np.stack(np.meshgrid(np.arange(50), np.arange(50), np.arange(40), indexing="ij"), axis=-1)
    world = index @ affine[:3, :3].T + affine[:3, 3]
    own = (world - moved[:3, 3]) @ moved[:3, :3]  # of a turn the inverse is the transpose
    ellipsoid = np.linalg.norm(own / [52, 40, 34], axis=-1) + 0.3 * (own[..., 0] > 30) * (own[..., 2] < 0)
    labelmap = (ellipsoid < 1).astype(np.uint8)
    for center, radius in balls.items():
        labelmap[np.linalg.norm(own - center, axis=-1) <= radius] = 2
    image = np.where(labelmap > 0, 120 - 30 * (labelmap == 2), -80).astype(np.int16)
    node = slicer.util.addVolumeFromArray(image.transpose(2, 1, 0).copy(), ijkToRAS=affine, name=name)
    from LiverSegLib.labels import labels_for

    labels = labels_for({1: "liver", 2: "tumor"})
    result = Result(labelmap=labelmap, affine=affine, labels=labels, measurements=Measurements())
    return slicer_bridge.write_segments(result, node).node


@pytest.fixture
def patient(host: Any) -> tuple[Any, Any]:
    """The segmentations of the earlier and of the later scan, the later one chosen in the panel."""
    host.select("LiverSeg")
    earlier = add_scan("earlier", {GROWN: 8, GONE: 9}, np.eye(4))
    later = add_scan("later", {GROWN: 14, NEW: 8}, MOVED)
    host.widget.panel._parameterNode.outputSegmentation = later
    host.widget.panel.update()
    return earlier, later


def compare(host: Any, way: str) -> str:
    """Choose a way of alignment, click, and give what the dialog says at the end."""
    form = host.widget.panel.followup.form
    form.alignment.setCurrentText(way)
    assert form.alignment.currentText() == way
    QTest.mouseClick(form.compare, Qt.MouseButton.LeftButton)
    assert host.spin_until(lambda: not host.widget.panel.desk.isBusy, 120)
    host.spin(0.02)
    return str(form.status.text())


def rows(host: Any) -> list[list[str]]:
    table = host.widget.panel.followup.form.table
    return [[table.item(row, n).text() for n in range(table.columnCount())] for row in range(table.rowCount())]


RIGID, AS_THEY_LIE = "Register the livers (rigid)", "As the two lie in the scene"


@pytest.mark.usefixtures("patient")
def test_the_changes_are_found_and_shown_and_the_page_is_opened(host: Any, desktop: Desktop, tmp_path: Path) -> None:
    desktop.chosen = str(tmp_path)
    choose(host, ENTRY)
    form = host.widget.panel.followup.form
    assert form.dialog.isVisible()
    assert form.baseline.currentText() == "earlier segmentation (earlier)"
    assert form.followup.currentText() == "later segmentation (later)"
    out = tmp_path / "later follow-up"
    told = compare(host, RIGID)
    assert told == f"1 gone, 1 grown, 1 new. The table and the page are in {out}."
    found = rows(host)
    assert [row[:3] for row in found[:3]] == [["gone", "no. 1", ""], ["grown", "no. 2", "no. 1"], ["new", "", "no. 2"]]
    before, after = (float(text) for text in found[1][3].split(" → "))
    assert before == pytest.approx(16, abs=5.5)
    assert after == pytest.approx(28, abs=5.5)
    assert found[3][0] == "Sum of the longest diameters"
    assert found[4][5].split(" → ")[0] != "0"
    assert desktop.opened == [out / "followup.html"]
    assert len(list(out.glob("followup_*.jpg"))) == 3
    QTest.mouseClick(form.page, Qt.MouseButton.LeftButton)
    assert desktop.opened == [out / "followup.html"] * 2


def bent() -> Any:
    """A transform that takes the later scan onto the earlier one, but for a little bending."""
    spline = vtk.vtkThinPlateSplineTransform()
    spline.SetBasisToR()
    here, there = vtk.vtkPoints(), vtk.vtkPoints()
    back = np.linalg.inv(MOVED)
    for number, place in enumerate(np.ndindex(3, 3, 3)):
        point = MOVED[:3, :3] @ (60.0 * (np.array(place) - 1)) + MOVED[:3, 3]
        here.InsertNextPoint(point)
        there.InsertNextPoint(back[:3, :3] @ point + back[:3, 3] + [number % 3 - 1, 0, number % 2])
    spline.SetSourceLandmarks(here)
    spline.SetTargetLandmarks(there)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "Warp")
    node.SetAndObserveTransformToParent(spline)
    return node


def test_the_scene_and_its_transforms_tell_how_the_scans_lie(
    host: Any, patient: tuple[Any, Any], desktop: Desktop, tmp_path: Path
) -> None:
    desktop.chosen = str(tmp_path)
    warp = bent()
    choose(host, ENTRY)
    told = compare(host, AS_THEY_LIE)  # nothing brings them together yet
    assert "The livers lie poorly on each other" in told
    back = a_transform(np.linalg.inv(MOVED))
    for node in (patient[1], slicer_bridge.source_of(patient[1])):
        node.SetAndObserveTransformNodeID(back.GetID())
    told = compare(host, AS_THEY_LIE)
    assert told.startswith("1 gone, 1 grown, 1 new. ")
    assert "Dice" not in told
    told = compare(host, f"{warp.GetName()} (takes the later scan onto the earlier one)")
    assert told.startswith("1 gone, 1 grown, 1 new. ")
    assert "Dice" not in told
    assert (tmp_path / "later follow-up 3" / "followup.html").is_file()


def test_a_scan_without_lesions_left_is_compared(
    host: Any, patient: tuple[Any, Any], desktop: Desktop, tmp_path: Path
) -> None:
    desktop.chosen = str(tmp_path)
    patient[1].GetSegmentation().RemoveSegment("LiverSeg_tumor")
    patient[1].GetSegmentation().GetSegment("LiverSeg_liver").SetName("Liver of a person")
    choose(host, ENTRY)
    assert compare(host, RIGID).startswith("2 gone. ")


@pytest.mark.usefixtures("patient")
def test_a_comparison_is_canceled_and_leaves_nothing(host: Any, desktop: Desktop, tmp_path: Path) -> None:
    desktop.chosen = str(tmp_path)
    choose(host, ENTRY)
    form, desk = host.widget.panel.followup.form, host.widget.panel.desk
    form.alignment.setCurrentText("Register the livers and bend them (deformable)")
    QTest.mouseClick(form.compare, Qt.MouseButton.LeftButton)
    assert host.spin_until(lambda: desk.dialog.value() > 0)  # it registers, which hears of nothing
    (tmp_path / "later follow-up" / ".liverseg-0123456789ab.tmp").mkdir()  # as of a process that was killed
    (button,) = desk.dialog.findChildren(QPushButton)
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)
    assert host.spin_until(lambda: not desk.isBusy, 20)
    assert form.status.text() == "Stopped; nothing was written."
    assert list(tmp_path.iterdir()) == []
    assert rows(host) == []


def test_what_cannot_be_compared_is_one_sentence(
    host: Any, patient: tuple[Any, Any], desktop: Desktop, tmp_path: Path
) -> None:
    desktop.chosen, form = str(tmp_path), None
    choose(host, ENTRY)
    form = host.widget.panel.followup.form
    form.baseline.setCurrentIndex(form.followup.currentIndex())
    assert compare(host, RIGID).startswith("\u26a0 Both scans are the same segmentation")
    choose(host, ENTRY)
    patient[0].GetSegmentation().RemoveSegment("LiverSeg_liver")
    patient[0].GetSegmentation().RemoveSegment("LiverSeg_tumor")
    assert compare(host, RIGID).startswith("\u26a0 The chosen segmentation is not in the scene any more")
    choose(host, ENTRY)
    assert "needs two segmented scans" in host.widget.ui.statusText.text()
    assert list(tmp_path.glob("*follow-up*")) == []
