"""A model of many organs in the panel: the liver by default, everything on request, found by a word."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

slicer = pytest.importorskip("slicer", exc_type=ImportError)
pytest.importorskip("PySide6.QtWidgets", exc_type=ImportError)

import torch  # noqa: E402
from PySide6.QtCore import Qt  # noqa: E402
from PySide6.QtTest import QTest  # noqa: E402

from LiverSegLib.labels import labels_for  # noqa: E402
from LiverSegLib.networks import build_network  # noqa: E402
from Testing.conftest import toy_spec, write_toy  # noqa: E402
from Testing.headless.case import is_idle  # noqa: E402

pytest_plugins = ("Testing.module_case",)
ORGANS = ("spleen", "left kidney", "right kidney", "stomach", "liver", "liver tumor", "pancreas", "aorta", "bone")


@pytest.fixture
def organs(tmp_path: Path) -> Path:
    arguments: dict[str, Any] = {"spatial_dims": 3, "in_channels": 1, "out_channels": len(ORGANS) + 1}
    arguments |= {"channels": [4, 8], "strides": [2], "num_res_units": 1}
    torch.manual_seed(11)
    spec = replace(toy_spec("UNet", arguments, 3, 2), labels=labels_for(dict(enumerate(ORGANS, 1))))
    return write_toy(tmp_path / "organs", spec, build_network("UNet", arguments).state_dict())


def texts(ui: Any) -> list[str]:
    items = [ui.targetsList.item(row) for row in range(ui.targetsList.count())]
    return [item.text() for item in items if item.checkState() == Qt.CheckState.Checked]


def test_the_liver_is_checked_and_the_rest_can_be(ready: Any, organs: Path) -> None:
    ui, panel = ready.widget.ui, ready.widget.panel
    assert not ui.targetsPlace.isVisibleTo(ready.parent)
    panel.chooseModel(str(organs))
    assert "Segments 9 structures, among them" in ui.modelText.text()
    assert ui.targetsPlace.isVisibleTo(ready.parent)
    assert not ui.liverBox.isVisibleTo(ready.parent)
    assert not ui.tumorBox.isVisibleTo(ready.parent)
    assert texts(ui) == ["Liver", "Liver tumor"]
    assert [ui.targetsList.item(row).text() for row in range(2)] == ["Liver", "Liver tumor"]
    QTest.mouseClick(ui.targetsNoneButton, Qt.MouseButton.LeftButton)
    assert not ui.segmentButton.isEnabled()
    assert "what to segment" in ui.segmentButton.toolTip()
    QTest.keyClicks(ui.targetsSearch, "kidney")
    QTest.mouseClick(ui.targetsAllButton, Qt.MouseButton.LeftButton)
    assert texts(ui) == ["Left kidney", "Right kidney"]
    ui.targetsSearch.clear()
    ui.segmentButton.click()
    assert ready.spin_until(lambda: is_idle(ready), 300)
    ready.spin(0.05)
    assert ui.statusText.text().lstrip("\u26a0 ").startswith("CT was segmented"), ui.statusText.text()
    (node,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    segments = node.GetSegmentation()
    names = {segments.GetNthSegment(n).GetName() for n in range(segments.GetNumberOfSegments())}
    assert names <= {"Left kidney", "Right kidney"}
    panel.chooseModel("")
    assert not ui.targetsPlace.isVisibleTo(ready.parent)
    panel.chooseModel(str(organs))
    assert texts(ui) == ["Left kidney", "Right kidney"]


def test_the_choice_belongs_to_the_scene(ready: Any, organs: Path) -> None:
    ui, panel = ready.widget.ui, ready.widget.panel
    panel.chooseModel(str(organs))
    node = panel._parameterNode
    assert node.targets == ""
    ui.targetsList.item(2).setCheckState(Qt.CheckState.Checked)
    assert node.targets.split("\n") == ["liver", "tumor", "spleen"]
    node.targets = ""
    assert texts(ui) == ["Liver", "Liver tumor"]
    node.targets = "of another model"
    assert texts(ui) == ["Liver", "Liver tumor"]


def test_a_keyboard_and_a_screen_reader_are_enough(ready: Any, organs: Path) -> None:
    ui = ready.widget.ui
    ready.widget.panel.chooseModel(str(organs))
    assert ui.targetsList.accessibleName()
    assert ui.targetsSearch.accessibleName()
    ui.targetsList.setCurrentRow(0)
    QTest.keyClick(ui.targetsList, Qt.Key.Key_Space)
    assert texts(ui) == ["Liver tumor"]
