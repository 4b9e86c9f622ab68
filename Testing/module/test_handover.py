"""What the menu of the Export button writes for others, by clicks, and all that can be in the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
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
    asked: int = 0
    opened: list[Path] = field(default_factory=list)

    def choose(self, *_: Any) -> str:
        self.asked += 1
        return self.chosen

    def open(self, url: Any) -> bool:
        self.opened.append(Path(url.toLocalFile()))
        return True


@pytest.fixture
def desktop(host: Any, monkeypatch: pytest.MonkeyPatch) -> Desktop:  # noqa: ARG001 (qt must be there)
    import qt

    desktop = Desktop()
    dialog = SimpleNamespace(
        getSaveFileName=lambda *_: (desktop.choose(), "HTML (*.html)"), getExistingDirectory=desktop.choose
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
    for told in ("Drawn or changed by hand, or from elsewhere", "in part by hand or elsewhere; do not use it"):
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
    assert said(segmented).startswith("\u26a0 /proc could not be written")
    segmented.widget.panel._segmentation().GetSegmentation().RemoveAllSegments()
    segmented.widget.panel.handover.report()
    assert "Nothing is drawn in" in said(segmented)


def test_a_defect_is_one_sentence_and_its_details_are_in_the_log(
    segmented: Any, desktop: Desktop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "matplotlib").mkdir()
    (tmp_path / "matplotlib" / "__init__.py").write_text("raise ZeroDivisionError('broken')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    desktop.chosen = str(tmp_path / "case.html")
    choose(segmented, REPORT)
    assert said(segmented) == "\u26a0 That failed unexpectedly (ZeroDivisionError); details are in the log."
    assert "ZeroDivisionError: broken" in caplog.text
    assert not (tmp_path / "case.html").exists()


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
    segmented: Any, desktop: Desktop, installer: Callable[[str], list[list[str]]]
) -> None:
    asked = installer("matplotlib")
    segmented.answers.append(QMessageBox.StandardButton.No)
    choose(segmented, REPORT)
    assert "matplotlib, which is not installed. Install it now?" in segmented.questions[0]
    assert said(segmented) == "Nothing was installed, so no report was written."
    assert (asked, desktop.asked) == ([], 0)
    segmented.answers.append(QMessageBox.StandardButton.Yes)
    choose(segmented, REPORT)
    assert (asked, desktop.asked) == ([["matplotlib>=3.8"]], 1)  # and goes on
    choose(segmented, REPORT)  # without a question
    assert (len(segmented.questions), desktop.asked) == (2, 2)


DICOM = "DICOM SEG and SR…"


class Database:
    """Slicer's DICOM database, which slicer-core does not have: where the file of each image is."""

    def __init__(self, folder: Path) -> None:
        import pydicom

        metas = {path: pydicom.dcmread(path, stop_before_pixels=True).file_meta for path in sorted(folder.iterdir())}
        self.files = {str(meta.MediaStorageSOPInstanceUID): str(path) for path, meta in metas.items()}

    def fileForInstance(self, uid: str) -> str:  # noqa: N802 (the name of the real one)
        """The path, "" for an image that is not there."""
        return self.files.get(uid, "")


@dataclass
class Archived:
    """A series, the volume node that came of it, its segmentation, and the label map in the order of the images."""

    folder: Path
    node: Any
    segmentation: Any
    labelmap: np.ndarray


@pytest.fixture
def archived(host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archived:
    """A case from DICOM that Slicer keeps upside down and turned, under a transform of the user."""
    pytest.importorskip("highdicom", reason="highdicom is not installed")
    from LiverSegLib import slicer_bridge
    from LiverSegLib.io import read_volume
    from Testing.io.test_dicom_out import result_of, sagittal
    from Testing.module.test_bridge import a_transform, a_turn

    host.select("LiverSeg")
    volume = read_volume(sagittal(tmp_path / "series"))
    result = result_of(volume)
    order, flip = (2, 0, 1), np.diag([-1.0, 1, -1, 1])
    back = np.zeros((4, 4))
    back[[2, 0, 1, 3], [0, 1, 2, 3]] = 1
    shape = [volume.array.shape[axis] for axis in order]
    flip[[0, 2], 3] = shape[0] - 1, shape[2] - 1
    array, labelmap = (one.transpose(order)[::-1, :, ::-1] for one in (volume.array, result.labelmap))
    affine = volume.affine @ back @ flip
    node = slicer.util.addVolumeFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)), ijkToRAS=affine, name="CT 1")
    database = Database(tmp_path / "series")
    node.SetAttribute("DICOM.instanceUIDs", " ".join(database.files))
    node.SetAndObserveTransformNodeID(a_transform(a_turn()).GetID())
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    kept = replace(result, labelmap=np.ascontiguousarray(labelmap), affine=affine)
    segmentation = slicer_bridge.write_segments(kept, node).node
    host.widget.panel._parameterNode.outputSegmentation = segmentation
    host.widget.panel.update()
    return Archived(tmp_path / "series", node, segmentation, result.labelmap)


def test_dicom_is_voxel_by_voxel_on_the_images_that_were_loaded(
    host: Any, archived: Archived, desktop: Desktop, tmp_path: Path
) -> None:
    import pydicom

    from LiverSegLib.io import read_label_map, read_volume
    from Testing.io.test_dicom_out import PLACE, STUDY, errors_in

    desktop.chosen = str(tmp_path)
    choose(host, DICOM)
    out = tmp_path / f"{archived.segmentation.GetName()} DICOM"
    assert said(host) == f"A DICOM segmentation and a DICOM report were written to {out}."
    seg, report = out / "CT 1_seg.dcm", out / "CT 1_sr.dcm"
    assert {path.name for path in out.iterdir()} == {seg.name, report.name}
    volume = read_volume(archived.folder)
    np.testing.assert_array_equal(read_label_map(seg, volume), archived.labelmap)
    written = pydicom.dcmread(seg)
    assert (written.StudyInstanceUID, written.FrameOfReferenceUID) == (STUDY, PLACE)
    assert [one.SegmentAlgorithmType for one in written.SegmentSequence] == ["AUTOMATIC", "AUTOMATIC"]
    assert errors_in(seg) == errors_in(report) == []

    # A person takes a voxel away: a new folder, the labels as they are now, and both segments say so.
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(archived.segmentation, "LiverSeg_tumor", archived.node).copy()
    mask[tuple(np.argwhere(mask)[-1])] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, archived.segmentation, "LiverSeg_tumor", archived.node)
    choose(host, DICOM)
    assert said(host).endswith(f"were written to {out} 2.")
    again = Path(f"{out} 2") / seg.name
    assert (read_label_map(again, volume) == 2).sum() == (archived.labelmap == 2).sum() - 1
    kinds = [one.SegmentAlgorithmType for one in pydicom.dcmread(again).SegmentSequence]
    assert kinds == ["SEMIAUTOMATIC", "SEMIAUTOMATIC"]


def test_what_dicom_cannot_refer_to_is_one_sentence(
    host: Any, archived: Archived, desktop: Desktop, tmp_path: Path
) -> None:
    desktop.chosen, node = str(tmp_path), archived.node
    node.HardenTransform()
    archived.segmentation.HardenTransform()
    choose(host, DICOM)
    assert said(host).startswith("\u26a0 CT 1 has another grid than the DICOM images that it was loaded from")
    next(archived.folder.iterdir()).unlink()
    choose(host, DICOM)
    assert "1 of 6 DICOM images of CT 1 are gone" in said(host)
    node.RemoveAttribute("DICOM.instanceUIDs")
    choose(host, DICOM)
    assert "CT 1 was not loaded from DICOM" in said(host)
    assert not list(tmp_path.glob("*DICOM*"))


def test_dicom_asks_for_its_package(
    host: Any, archived: Archived, desktop: Desktop, tmp_path: Path, installer: Callable[[str], list[list[str]]]
) -> None:
    assert archived.segmentation
    desktop.chosen, asked = str(tmp_path), installer("highdicom")
    host.answers.append(QMessageBox.StandardButton.No)
    choose(host, DICOM)
    assert "Files of DICOM need the package highdicom" in host.questions[0]
    assert said(host) == "Nothing was installed, so no DICOM was written."
    assert asked == []
