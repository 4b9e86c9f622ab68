"""What the menu of the Export button writes for others, by clicks, and all that can be in the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("slicer.util", exc_type=ImportError)
pytest.importorskip("PySide6.QtWidgets", exc_type=ImportError)
pytest.importorskip("matplotlib", reason="matplotlib is not installed")

import slicer
import slicer.util
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QMessageBox, QPushButton

from Testing.headless.case import is_idle

pytest_plugins = ("Testing.module_case",)


@dataclass
class Desktop:
    """What the user chooses in the file dialogs of the system, and which pages were opened."""

    chosen: str = ""
    opened: list[Path] = field(default_factory=list)

    def open(self, url: Any) -> bool:
        self.opened.append(Path(url.toLocalFile()))
        return True


@pytest.fixture
def desktop(host: Any, monkeypatch: pytest.MonkeyPatch) -> Desktop:  # noqa: ARG001 (qt must be there)
    import qt

    desktop = Desktop()
    dialog = SimpleNamespace(
        getSaveFileName=lambda *_: (desktop.chosen, "HTML (*.html)"), getExistingDirectory=lambda *_: desktop.chosen
    )
    monkeypatch.setattr(qt, "QFileDialog", dialog, raising=False)
    monkeypatch.setattr(qt, "QDesktopServices", SimpleNamespace(openUrl=desktop.open), raising=False)
    return desktop


@pytest.fixture
def segmented(ready: Any) -> Iterator[Any]:
    """The host, with the case segmented by a click."""
    QTest.mouseClick(ready.widget.ui.segmentButton, Qt.MouseButton.LeftButton)
    assert ready.spin_until(lambda: is_idle(ready), 300)
    ready.spin(0.05)
    yield ready
    assert not ready.widget.panel.desk.isBusy


def choose(host: Any, text: str) -> None:
    """Choose an entry of the menu of the Export button."""
    assert host.widget.ui.exportButton.isEnabled()
    (action,) = [one for one in host.widget.ui.exportButton.menu().actions() if one.text() == text]
    action.trigger()


def said(host: Any) -> str:
    """What the panel says once the work is done."""
    assert host.spin_until(lambda: not host.widget.panel.desk.isBusy, 120)
    host.spin(0.02)
    return str(host.widget.ui.statusText.text())


def correct(host: Any) -> np.ndarray:
    """Take away a corner of the tumor as a person does, and give what is left."""
    node = host.widget.panel._segmentation()
    volume = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, "LiverSeg_tumor", volume).copy()
    mask[mask.nonzero()[0].min() :][:2] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, "LiverSeg_tumor", volume)
    return np.asarray(mask.transpose(2, 1, 0) > 0)


REPORT = "Report (HTML)…"


def test_a_report_is_written_of_the_case_as_it_stands_and_opened(
    segmented: Any, desktop: Desktop, tmp_path: Path
) -> None:
    desktop.chosen = str(tmp_path / "case")
    choose(segmented, REPORT)
    assert segmented.widget.panel.desk.dialog.isVisible()
    page = tmp_path / "case.html"
    assert said(segmented) == f"The report was written to {page}."
    assert desktop.opened == [page]
    text = page.read_text(encoding="utf-8")
    job = segmented.widget.panel.results.job
    for told in ("Toy model 1.2.3", "CC0-1.0", "Liver tumor 1", "It was not checked by a person"):
        assert told in text
    assert f"{job.measurements.lesions[0].volume_ml:.2f}</td>" in text

    left = correct(segmented)
    choose(segmented, REPORT)
    assert said(segmented) == f"The report was written to {page}."
    text = page.read_text(encoding="utf-8")
    assert f"{left.sum() * 8 / 1000:.2f}</td>" in text  # voxels of 2 mm
    for told in ("Changed by hand, or from elsewhere", "changed by hand; do not use it"):
        assert told in text
    assert f"{job.measurements.lesions[0].volume_ml:.2f}</td>" not in text
    assert "It was not checked by a person" not in text


def test_a_report_is_canceled_by_its_button_and_nothing_is_written(
    segmented: Any, desktop: Desktop, tmp_path: Path
) -> None:
    desktop.chosen = str(tmp_path / "case.html")
    choose(segmented, REPORT)
    desk = segmented.widget.panel.desk
    choose(segmented, REPORT)  # a second one has to wait
    assert "is being written; wait for it, or cancel it" in segmented.widget.ui.statusText.text()
    (button,) = desk.dialog.findChildren(QPushButton)
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)
    assert said(segmented) == "Stopped; nothing was written."
    assert list(tmp_path.glob("case*")) == []
    assert desktop.opened == []


def test_what_is_in_the_way_of_a_report_is_one_sentence(segmented: Any, desktop: Desktop) -> None:
    choose(segmented, REPORT)  # no file was chosen
    assert said(segmented).startswith("CT was segmented")
    desktop.chosen = "/proc/case.html"
    choose(segmented, REPORT)
    assert said(segmented).startswith("\u26a0 /proc/case.html could not be written")
    segmented.widget.panel._segmentation().GetSegmentation().RemoveAllSegments()
    segmented.widget.panel.handover.report()
    assert "Nothing is drawn in" in said(segmented)


@pytest.fixture
def installer(host: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[list[str]]]:  # noqa: ARG001
    """Makes a package missing until it is installed; gives what pip was asked for."""

    def without(name: str) -> list[list[str]]:
        from LiverSegUI import install

        asked: list[list[str]] = []
        versions = install._version
        monkeypatch.setattr(install, "_version", lambda one: () if one == name and not asked else versions(one))
        packaging = SimpleNamespace(pip_ensure=lambda requirements, **_how: asked.append(requirements))
        monkeypatch.setattr(slicer, "packaging", packaging, raising=False)
        return asked

    return without


def test_a_missing_package_is_asked_for_and_never_installed_silently(
    segmented: Any, desktop: Desktop, tmp_path: Path, installer: Callable[[str], list[list[str]]]
) -> None:
    desktop.chosen, asked = str(tmp_path / "case.html"), installer("matplotlib")
    segmented.answers.append(QMessageBox.StandardButton.No)
    choose(segmented, REPORT)
    assert "matplotlib, which is not installed. Install it now?" in segmented.questions[0]
    assert said(segmented) == "Nothing was installed, so no report was written."
    assert asked == []
    segmented.answers.append(QMessageBox.StandardButton.Yes)
    choose(segmented, REPORT)
    assert said(segmented).startswith("The report was written to")
    assert asked == [["matplotlib>=3.8"]]
