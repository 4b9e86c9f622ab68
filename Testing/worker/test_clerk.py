"""Tasks of an application, done with nothing that 3D Slicer does not have, and all that can be wrong with one."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from LiverSegLib.errors import InputError, ProtocolError, SegmentationCancelled
from LiverSegLib.followup.given import bent_registration
from LiverSegLib.followup.register import Grid
from LiverSegLib.labels import labels_for
from LiverSegLib.quality import Doubt, Quality
from LiverSegLib.volume import Volume
from LiverSegLib.worker.arrays import ArrayFolder
from LiverSegLib.worker.clerk import Step, do_task
from LiverSegLib.worker.tasks import DicomTask, Making, ReportTask, Scan, put_scan, put_task, read_task

ROOT = Path(__file__).resolve().parents[2]
LABELS = labels_for({1: "liver", 2: "tumor"})
AFFINE = np.array([[-2.0, 0, 0, 40], [0, -2, 0, 30], [0, 0, 4, -20], [0, 0, 0, 1]])
DOUBT = Doubt(place="upper part", volume_ml=12.0, center_ras=(1.0, 2.0, 3.0), is_left_out=True)
QUALITY = Quality(organ="liver", evidence={"agreement": 0.9}, expected_dice=0.9, low=0.8, high=0.95, doubts=(DOUBT,))
# What Slicer's Python has not, and must not need for this: torch belongs to segmentation alone.
MISSING = ("nibabel", "torch", "monai", "typer", "rich", "yaml", "nrrd", "skimage", "pandas")


def a_scan(folder: ArrayFolder) -> Scan:
    """A liver with a lesion, as Slicer gives them: views with i running fastest."""
    labelmap = np.zeros((24, 20, 10), np.uint8, order="F")
    labelmap[4:20, 4:16, 2:8] = 1
    labelmap[8:12, 8:12, 4:6] = 2
    volume = Volume(np.asfortranarray(100 + 10 * labelmap.astype(np.int16)), AFFINE, "the case", "CT")
    return put_scan(folder, volume, labelmap, LABELS)


def a_report(folder: ArrayFolder, out: Path, making: Making | None = None) -> Path:
    return put_task(folder, ReportTask(scan=a_scan(folder), making=making or Making(), out=str(out)))


def alone(path: Path) -> None:
    """Do a task in a Python that lacks what Slicer lacks."""
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({MISSING})); from pathlib import Path\n"
        f"from LiverSegLib.worker.clerk import do_task; do_task(Path({str(path)!r}), print, lambda: False)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_task_survives_the_way_through_its_file(tmp_path: Path) -> None:
    folder = ArrayFolder(tmp_path)
    making = Making(model="Toy ü 1.0", quality=QUALITY, timings={"network": 2.5}, by_hand=("tumor",), warnings=("a",))
    path = a_report(folder, tmp_path / "ü.html", making)
    task = read_task(path)
    assert isinstance(task, ReportTask)
    assert task.making == making
    assert task.scan.labels == LABELS
    assert task.out == str(tmp_path / "ü.html")


def test_a_report_needs_nothing_that_slicer_does_not_have(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    folder = ArrayFolder(tmp_path)
    alone(a_report(folder, tmp_path / "a.html", Making(model="Toy 1", quality=QUALITY)))
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    for told in ("the case", "Expected Dice of the liver: 0.90", "Liver tumor 1", "CT, 24 x 20 x 10 voxels"):
        assert told in text


def test_dicom_of_a_tilted_gantry_that_slicer_keeps_straight_is_voxel_by_voxel_right(tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")
    pytest.importorskip("highdicom", reason="highdicom is not installed")
    from LiverSegLib.io import read_label_map, read_volume
    from Testing.io.test_dicom_out import result_of, tilted

    volume = read_volume(tilted(tmp_path / "ct"))
    result = result_of(volume)
    straight = volume.affine.copy()
    normal = np.cross(straight[:3, 0], straight[:3, 1])
    straight[:3, 2] = normal / np.linalg.norm(normal) * (straight[:3, 2] @ normal / np.linalg.norm(normal))
    assert np.abs(straight - volume.affine).max() > 0.4
    folder, out = ArrayFolder(tmp_path), tmp_path / "out"
    out.mkdir()
    scan = put_scan(folder, replace(volume, affine=straight), result.labelmap, result.labels)
    images = tuple(map(str, sorted((tmp_path / "ct").iterdir())[::-1]))
    files = {"seg": str(out / "a_seg.dcm"), "report": str(out / "a_sr.dcm")}
    alone(put_task(folder, DicomTask(scan=scan, making=Making(model="Toy 1"), images=images, **files)))
    np.testing.assert_array_equal(read_label_map(out / "a_seg.dcm", volume), result.labelmap)
    assert pydicom.dcmread(out / "a_sr.dcm").Modality == "SR"
    (tmp_path / "ct" / "IM0").unlink()
    with pytest.raises(InputError, match=r"IM0 cannot be read any more .* load the series again"):
        do_task(folder.path / "task.json", lambda _step: None, lambda: False)


def test_a_transform_that_bends_is_followed_and_one_that_makes_no_sense_is_refused() -> None:
    grid = Grid(np.array([-40.0, -30, -20]), (11, 9, 7), 8.0)
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
    points = grid.origin + grid.step * index
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])  # as far as a quarter
    moved = (points + 3 * np.sin(points[..., ::-1] / 25)) @ turn.T + [50, -20, 300]
    found = bent_registration(grid, moved)
    inside = points[2:-2, 2:-2, 2:-2].reshape(-1, 3)
    np.testing.assert_allclose(found.to_followup(inside), moved[2:-2, 2:-2, 2:-2].reshape(-1, 3), atol=1e-6)
    np.testing.assert_allclose(found.to_baseline(found.to_followup(inside)), inside, atol=1e-3)
    moved[0, 0, 0] = np.nan
    with pytest.raises(InputError, match="does not say where each point"):
        bent_registration(grid, moved)
    with pytest.raises(InputError, match="flattens the baseline"):
        bent_registration(grid, points * [1, 1, 0])


def test_a_task_tells_its_steps_and_is_stopped_between_them(tmp_path: Path) -> None:
    told: list[Step] = []
    folder = ArrayFolder(tmp_path)
    path = a_report(folder, tmp_path / "a.html")
    with pytest.raises(SegmentationCancelled, match="nothing was written"):
        do_task(path, told.append, lambda: len(told) == 2)
    assert told == [Step(step="read", done=0, total=3), Step(step="measure", done=1, total=3)]
    assert not (tmp_path / "a.html").exists()


def test_a_damaged_task_is_a_sentence(tmp_path: Path) -> None:
    folder = ArrayFolder(tmp_path)
    path = a_report(folder, tmp_path / "a.html")
    whole = json.loads(path.read_text())
    path.write_text(json.dumps({**whole, "out": 5}))
    with pytest.raises(InputError, match="out should be of type str"):
        read_task(path)
    path.write_text(json.dumps({**whole, "type": "Other"}))
    with pytest.raises(ProtocolError, match="cannot be read"):
        read_task(path)
    path.write_text(json.dumps(whole))
    (folder.path / whole["scan"]["labelmap"]).unlink()
    with pytest.raises(ProtocolError, match="cannot be read"):
        do_task(path, lambda _step: None, lambda: False)
