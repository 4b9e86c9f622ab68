"""Prediction of many images: what is found, what is written, and what a bad file does."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from LiverSegLib.engine.segmenter import Segmenter
from LiverSegLib.errors import InputError, OutputError, SegmentationCancelled
from LiverSegLib.volume import Volume
from Testing.conftest import DrawCase, MakePackage
from Training.__main__ import app
from Training.evaluation.predict import predict
from Training.evaluation.predict_inputs import find_inputs

pytestmark = pytest.mark.usefixtures("float32")
SIZE = (48, 40)  # columns, rows
LIVER = (20, 10, 36, 30)  # left, top, right, bottom


def save_picture(path: Path) -> Path:
    """Water of 50 with a liver of 150, which the threshold package finds as HU; neither 16 nor 2 fit its size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.new("L", SIZE, 50)
    picture.paste(150, LIVER)
    picture.save(path, quality=100) if path.suffix == ".jpg" else picture.save(path)
    return path


def save_volume(path: Path, volume: Volume) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(volume.array, volume.affine), path)
    return path


@pytest.fixture
def model2d(threshold_package: MakePackage) -> Segmenter:
    return Segmenter(threshold_package(2, pixdim=(-1.0, -1.0, -1.0), axcodes="LPS"), "cpu")


def summary(out: Path) -> dict[str, dict[str, str]]:
    with (out / "summary.csv").open(newline="", encoding="utf-8") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def test_a_picture_gets_its_segments_at_its_own_size(model2d: Segmenter, tmp_path: Path) -> None:
    path = save_picture(tmp_path / "in" / "slice.png")
    done = predict(model2d, [path], tmp_path / "out")
    assert [file.name for file in done[0].files] == ["slice.png", "slice_labels.png"]
    blended, labels = (Image.open(file) for file in done[0].files)
    assert (blended.size, blended.mode) == (SIZE, "RGB")
    assert (labels.size, labels.mode) == (SIZE, "P")
    expected = np.zeros(SIZE[::-1], dtype=np.uint8)
    expected[LIVER[1] : LIVER[3], LIVER[0] : LIVER[2]] = 1
    found = np.asarray(labels)
    assert set(np.unique(found)) == {0, 1}
    assert (found != expected).mean() < 0.03
    assert (labels.getpalette() or [])[3:6] == [221, 130, 101]
    colors = np.asarray(blended)
    outside, inside = colors[3, 3], colors[20, 28]
    assert outside.tolist() == [50, 50, 50]
    assert inside[0] > inside[1] > inside[2]


def test_a_volume_gets_the_files_of_liverseg_segment_and_a_film(
    threshold_package: MakePackage, draw_case: DrawCase, tmp_path: Path
) -> None:
    affine = np.diag([4.0, 4.0, 6.0, 1.0])
    affine[:3, 3] = [-60, -50, -36]
    path = save_volume(tmp_path / "case.nii.gz", draw_case(affine, (32, 26, 13)))
    done = predict(Segmenter(threshold_package(), "cpu"), [path], tmp_path / "out", animate=True)
    names = {file.name for file in done[0].files}
    assert names == {
        "case.seg.nrrd",
        "case_labels.nii.gz",
        "case_measurements.csv",
        "case_measurements.json",
        "case.png",
        "case.gif",
    }
    assert all(file.stat().st_size for file in done[0].files)
    row = summary(tmp_path / "out")["case"]
    assert row["status"] == "done"
    assert float(row["liver_ml"]) == pytest.approx(done[0].result.measurements.volume_ml("liver"), abs=0.01)  # type: ignore[union-attr]
    assert float(row["liver_ml"]) > 10
    assert int(row["lesions"]) == 1


def test_bad_files_are_named_and_do_not_stop_the_others(model2d: Segmenter, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for name in ("a.png", "z/c.jpg"):
        save_picture(folder / name)
    (folder / "b.png").write_bytes(b"\x89PNG not really")
    (folder / "d.dcm").write_bytes(b"nothing")
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_bytes(b"")
    steps: list[tuple[float, int, str]] = []
    done = predict(model2d, [folder], tmp_path / "out", progress=lambda *step: steps.append(step))
    assert {one.case.name: bool(one.error) for one in done} == {"a": False, "b": True, "c": False, "d": True}
    rows = summary(tmp_path / "out")
    assert [rows[name]["status"] for name in "abcd"] == ["done", "failed", "done", "failed"]
    assert "b.png" in rows["b"]["message"]
    assert "d.dcm" in rows["d"]["message"]
    assert int(rows["a"]["liver_voxels"]) == pytest.approx(16 * 20, rel=0.1)
    assert rows["a"]["liver_ml"] == ""  # a picture has no volume
    shares = [step[0] for step in steps]
    assert shares == sorted(shares)
    assert steps[-1][:2] == (4, 4)


def test_ctrl_c_ends_the_batch_and_keeps_what_is_done(
    model2d: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [save_picture(tmp_path / name) for name in ("a.png", "b.png", "c.png")]
    segment = model2d.segment
    seen: list[str] = []

    def stop_at_b(volume: Volume, *args: object, **kwargs: object) -> object:
        seen.append(volume.name)
        if volume.name == "b.png":
            raise SegmentationCancelled("stopped")
        return segment(volume, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(model2d, "segment", stop_at_b)
    with pytest.raises(SegmentationCancelled):
        predict(model2d, paths, tmp_path / "out")
    assert seen == ["a.png", "b.png"]
    assert list(summary(tmp_path / "out")) == ["a"]


def test_an_error_that_nobody_thought_of_fails_one_image_only(
    model2d: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [save_picture(tmp_path / name) for name in ("a.png", "b.png")]
    segment = model2d.segment

    def fail(volume: Volume, *args: object, **kwargs: object) -> object:
        if volume.name == "a.png":
            raise ZeroDivisionError("by zero")
        return segment(volume, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(model2d, "segment", fail)
    first, second = predict(model2d, paths, tmp_path / "out")
    assert "ZeroDivisionError" in first.error
    assert second.result is not None


def test_what_lies_outside_the_organ_of_a_second_model_is_removed(
    model2d: Segmenter, threshold_package: MakePackage, tmp_path: Path
) -> None:
    path = tmp_path / "slice.png"
    picture = Image.new("L", SIZE, 50)
    picture.paste(150, LIVER)
    picture.paste(250, (24, 14, 30, 24))
    picture.save(path)
    organ = Segmenter(threshold_package(2, "organ", labels=1, pixdim=(-1.0, -1.0, -1.0), axcodes="LPS"), "cpu")
    inside = predict(model2d, [path], tmp_path / "out", within=organ)[0].result
    assert inside is not None
    assert [label.name for label in inside.labels] == ["liver", "tumor"]
    assert np.count_nonzero(inside.labelmap == 2) == pytest.approx(60, abs=25)
    rows = summary(tmp_path / "out")
    assert int(rows["slice"]["tumor_voxels"]) == np.count_nonzero(inside.labelmap == 2)


def test_names_stay_apart_and_results_are_not_taken_for_inputs(model2d: Segmenter, tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg", "sub/A.png", "a_labels.png"):
        save_picture(tmp_path / name)
    out = tmp_path / "out"
    names = [item.name for item in find_inputs([tmp_path], out)]
    assert len({name.lower() for name in names}) == 4
    assert [one.case.name for one in predict(model2d, [tmp_path], out)] == names
    assert len(list(out.glob("*.png"))) == 8
    assert [item.name for item in find_inputs([tmp_path], out)] == names


def test_paths_without_an_image_are_refused_before_work_begins(model2d: Segmenter, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no-such-folder does not exist"):
        predict(model2d, [tmp_path / "no-such-folder"], tmp_path / "out")
    with pytest.raises(InputError, match="holds no image"):
        predict(model2d, [tmp_path], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("names", [["x.png"], ["x.jpg", "x_labels.png"]])
def test_results_never_replace_an_input(model2d: Segmenter, tmp_path: Path, names: list[str]) -> None:
    paths = [save_picture(tmp_path / name) for name in names]
    before = [path.read_bytes() for path in paths]
    with pytest.raises(OutputError, match=f"would replace the input .*{names[-1]}"):
        predict(model2d, paths, tmp_path)
    assert [path.read_bytes() for path in paths] == before
    assert len(list(tmp_path.glob("*.png"))) == 1


@pytest.mark.parametrize("name", ["a.png", "a_labels.png", "summary.csv"])
def test_a_file_of_the_users_is_not_replaced_but_a_result_is(model2d: Segmenter, tmp_path: Path, name: str) -> None:
    path = save_picture(tmp_path / "in" / "a.bmp")
    out = tmp_path / "out"
    assert predict(model2d, [path], out)[0].error == ""
    assert predict(model2d, [path], out)[0].error == ""
    theirs = b"name,age\n" if name.endswith(".csv") else path.read_bytes()
    (out / name).write_bytes(theirs)
    if name == "summary.csv":
        with pytest.raises(OutputError, match=r"summary\.csv was not written by LiverSeg"):
            predict(model2d, [path], out)
    else:
        assert f"{name} was not written by LiverSeg" in predict(model2d, [path], out)[0].error
    assert (out / name).read_bytes() == theirs


def test_a_dicom_series_is_one_image_and_with_slices_many(shared_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    folder = tmp_path / "in" / "ct20"
    folder.mkdir(parents=True)
    for path in sorted((shared_data / "dicom" / "ct20").iterdir())[:3]:
        shutil.copyfile(path, folder / path.name)
    files = sorted(folder.iterdir())
    assert [(item.name, item.single) for item in find_inputs([tmp_path / "in"], tmp_path / "out")] == [("ct20", False)]
    assert len(find_inputs(files, tmp_path / "out")) == 1
    alone = find_inputs([tmp_path / "in"], tmp_path / "out", slices=True)
    assert [item.path for item in alone] == files
    assert all(item.single for item in alone)


def test_a_single_dicom_slice_is_segmented_by_itself(
    shared_data: Path, threshold_package: MakePackage, tmp_path: Path
) -> None:
    pytest.importorskip("pydicom")
    path = min((shared_data / "slices-dicom" / "images").iterdir())
    model = Segmenter(threshold_package(2), "cpu")
    done = predict(model, [path], tmp_path / "out", slices=True)[0]
    assert done.error == ""
    assert done.result is not None
    assert done.result.labelmap.shape == (768, 768, 1)
    with Image.open(tmp_path / "out" / f"{done.case.name}.png") as picture:
        assert picture.size == (768, 768)


def test_the_command_reports_failures_and_succeeds_without(threshold_package: MakePackage, tmp_path: Path) -> None:
    package = threshold_package(2, pixdim=(-1.0, -1.0, -1.0), axcodes="LPS")
    good = save_picture(tmp_path / "good.png")
    done = CliRunner().invoke(app, ["predict", str(package), str(good), "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "1 of 1 segmented" in done.output
    (tmp_path / "bad.png").write_bytes(b"junk")
    done = CliRunner().invoke(app, ["predict", str(package), str(tmp_path), "-o", str(tmp_path / "more")])
    assert done.exit_code == 1
    assert "failed bad" in done.output
    assert (tmp_path / "more" / "good.png").is_file()
