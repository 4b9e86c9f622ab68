"""Nothing of the user's is replaced: results get names and places of their own, or are refused before any work."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from LiverSegLib.cli.commands import app
from LiverSegLib.cli.output_plan import Case, plan_cases
from LiverSegLib.cli.outputs import case_name, check_writable, write_outputs
from LiverSegLib.errors import OutputError
from LiverSegLib.io import write_labelmap, write_seg_nrrd
from LiverSegLib.labels import label_for
from LiverSegLib.measure import Measurements, SegmentMeasurement
from LiverSegLib.volume import Result, Volume
from Testing.conftest import MakePackage


def save(path: Path, size: int = 16) -> Path:
    """A CT of a "liver" in fat; small enough to be computed in no time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.full((32, 32, 32), -100, np.int16)
    array[8 : 8 + size, 8:24, 8:24] = 150
    nib.save(nib.Nifti1Image(array, np.diag([2.0, 2.0, 2.0, 1.0])), path)
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def result() -> Result:
    labelmap = np.zeros((32, 32, 32), np.uint8)
    labelmap[8:24, 8:24, 8:24] = 1
    measured = Measurements(segments=(SegmentMeasurement(name="liver", voxels=4096, volume_ml=32.768),), lesions=())
    return Result(
        labelmap=labelmap,
        affine=np.diag([2.0, 2.0, 2.0, 1.0]),
        labels=(label_for(1, "liver"),),
        measurements=measured,
        model="toy 1",
    )


def volume_of(result: Result) -> Volume:
    return Volume(np.zeros(result.labelmap.shape, np.int16), result.affine, "x.nii", "CT")


def names(cases: list[Case]) -> list[str]:
    return [case.name for case in cases]


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("given", "out"),
    [
        ("same.nii", "same.nii"),
        ("same.nii", "link.nii"),
        ("same.nii", "hard.nii"),
        ("case.seg.nrrd", "."),
        ("case.seg.nrrd", None),
        ("case_labels.nii.gz", "mask.nii.gz"),
    ],
)
def test_results_never_replace_an_input(here: Path, given: str, out: str | None) -> None:
    save(here / "same.nii")
    save(here / "case_labels.nii.gz")
    (here / "case.seg.nrrd").write_bytes((here / "same.nii").read_bytes())
    (here / "link.nii").symlink_to("same.nii")
    os.link(here / "same.nii", here / "hard.nii")
    os.link(here / "case_labels.nii.gz", here / "mask.nii.gz")
    before = content(here)
    if out is None:  # a folder of that name: nothing is in the way
        assert plan_cases([Path(given)], None, picture=True)[0].files(True)[0] == Path("case/case.seg.nrrd")
    else:
        done = CliRunner().invoke(app, ["segment", given, "-o", out, "--model", "no such model"])
        assert isinstance(done.exception, OutputError)
        assert f"would replace the input {given}" in str(done.exception)
    assert content(here) == before


def test_another_input_and_the_mask_are_safe_too(here: Path) -> None:
    one, other = save(here / "x.nii.gz"), save(here / "x_labels.nii.gz")
    with pytest.raises(OutputError, match=r"would replace the input .*x_labels\.nii\.gz"):
        plan_cases([one, other], here, picture=True)
    with pytest.raises(OutputError, match=r"would replace the input .*x_labels\.nii\.gz"):
        plan_cases([one], here, picture=True, keep=[other])


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (["A/x.nii", "B/x.nii"], ["A_x", "B_x"]),
        (["A/x.nii", "B/x.nii", "B/y.nii"], ["A_x", "B_x", "y"]),
        (["p1/ct/x.nii", "p2/ct/X.nii.gz"], ["p1_ct_x", "p2_ct_X"]),
        (["A/x.nii", "A/x.mha"], ["x_nii", "x_mha"]),
        (["A/x.nii", "A/x.nii.gz", "B/x.nii"], ["A_x_nii", "A_x_nii.gz", "B_x_nii"]),
        (["A/x.nii", "A/../A/x.nii"], ["x"]),
    ],
)
def test_inputs_of_one_name_get_names_of_their_own(here: Path, inputs: list[str], expected: list[str]) -> None:
    paths = [save(here / path) if path.endswith(("nii", "nii.gz")) else here / path for path in inputs]
    assert names(plan_cases(paths, here / "both", picture=True)) == expected
    assert names(plan_cases(paths[::-1], here / "both", picture=True)) == expected[::-1]
    assert [case.out.name for case in plan_cases(paths, None, picture=True)] == expected
    assert not (here / "both").exists()


def test_names_that_no_folder_tells_apart_are_refused(here: Path) -> None:
    with pytest.raises(OutputError, match=r"X\.nii and .*x\.nii would have results of the same name; segment them one"):
        plan_cases([here / "X.nii", here / "x.nii"], here / "out", picture=True)


def test_two_patients_in_one_folder_both_keep_their_results(here: Path, threshold_package: MakePackage) -> None:
    save(here / "A/x.nii")
    save(here / "B/x.nii", 8)
    arguments = ["A/x.nii", "B/x.nii", "-o", "both", "--no-overlay", "--device", "cpu"]
    package = str(threshold_package())
    done = CliRunner().invoke(app, ["segment", *arguments, "--model", package])
    assert done.exit_code == 0, done.output
    found = {name: np.count_nonzero(nib.load(here / f"both/{name}_x_labels.nii.gz").dataobj) for name in "AB"}
    assert found["A"] > 1.5 * found["B"] > 0
    # One after the other is no way around it, and a second run of the same input replaces its own results.
    again = ["-o", "one", "--no-overlay", "--device", "cpu", "--model", package]
    assert CliRunner().invoke(app, ["segment", "A/x.nii", *again]).exit_code == 0
    before = content(here / "one")
    refused = CliRunner().invoke(app, ["segment", "B/x.nii", *again])
    assert isinstance(refused.exception, OutputError)
    assert "holds the results of another image" in str(refused.exception)
    assert content(here / "one") == before
    save(here / "A/x.nii", 12)
    assert CliRunner().invoke(app, ["segment", "A/x.nii", *again]).exit_code == 0
    assert content(here / "one").keys() == before.keys()
    assert content(here / "one") != before


def test_a_folder_of_dicom_files_stays_as_it_is(here: Path) -> None:
    (here / "series").mkdir()
    (here / "series" / "IM1").write_bytes(b"")
    with pytest.raises(OutputError, match="series is the folder of an input; choose another folder"):
        plan_cases([Path("series")], Path("series"), picture=True)
    # Here the folder of its name would be itself; a file without ending is in the way of one.
    assert plan_cases([Path("series")], None, picture=True)[0].out == Path("series_liverseg")
    (here / "IM2").write_bytes(b"")
    assert plan_cases([Path("IM2")], None, picture=True)[0].out == Path("IM2_liverseg")


@pytest.mark.parametrize(
    "name", ["x.seg.nrrd", "x_labels.nii.gz", "x_measurements.csv", "x_measurements.json", "x.png"]
)
def test_a_file_of_the_users_is_not_replaced_by_a_result(here: Path, result: Result, name: str) -> None:
    save(here / "in" / "x.nii")
    save(here / "x_labels.nii.gz") if name.endswith(".nii.gz") else (here / name).write_text("drawn by hand")
    before = content(here)
    with pytest.raises(OutputError, match=f"{name} was not written by LiverSeg, or was changed since"):
        plan_cases([here / "in" / "x.nii"], here, picture=True)
    with pytest.raises(OutputError, match=f"{name} was not written by LiverSeg"):
        write_outputs(here, "x", volume_of(result), result, picture=True)
    assert content(here) == before


def test_a_segmentation_corrected_in_another_program_is_not_replaced(here: Path, result: Result) -> None:
    save(here / "in" / "x.nii")
    write_outputs(here / "out", "x", volume_of(result), result, picture=False)
    plan_cases([here / "in" / "x.nii"], here / "out", picture=False)  # our own: may be replaced
    import SimpleITK as sitk  # noqa: N813

    path = here / "out" / "x.seg.nrrd"
    sitk.WriteImage(sitk.ReadImage(str(path)), str(path))
    with pytest.raises(OutputError, match=r"x\.seg\.nrrd was not written by LiverSeg, or was changed since"):
        plan_cases([here / "in" / "x.nii"], here / "out", picture=False)


@pytest.mark.parametrize("out", ["mine.nii", "mine.nii.gz", "mine.seg.nrrd"])
def test_one_named_file_is_replaced_only_if_it_is_ours(here: Path, result: Result, out: str) -> None:
    save(here / "x.nii")
    (write_seg_nrrd if out.endswith(".nrrd") else write_labelmap)(here / out, result)
    plan_cases([here / "x.nii"], here / out, picture=True)
    (here / out).write_bytes(b"")  # as `mktemp` makes it
    plan_cases([here / "x.nii"], here / out, picture=True)
    (here / out).write_bytes(b"precious")
    with pytest.raises(OutputError, match=f"{out} was not written by LiverSeg"):
        plan_cases([here / "x.nii"], here / out, picture=True)


def test_what_cannot_be_written_is_told_before_the_work(here: Path) -> None:
    save(here / "x.nii")
    (here / "out" / "x.png").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"x\.png cannot be written because a folder has that name"):
        plan_cases([here / "x.nii"], here / "out", picture=True)
    long = save(here / f"{'n' * 245}.nii")
    with pytest.raises(OutputError, match="cannot be written"):
        plan_cases([long], here / "other", picture=True)


def test_a_folder_that_looks_like_a_file_is_a_folder(here: Path) -> None:
    (here / "x.nii.gz").mkdir()
    assert len(plan_cases([here / "y.nii"], here / "x.nii.gz", picture=True)[0].files(True)) == 5


def test_asking_whether_a_place_can_be_written_leaves_nothing(here: Path) -> None:
    theirs = here / ".liverseg-write-test"
    theirs.write_text("a user's file")
    check_writable(here)
    check_writable(here / "a" / "b")
    check_writable(here / "c" / "x.nii.gz")
    assert content(here) == {".liverseg-write-test": b"a user's file"}
    assert [path.name for path in here.iterdir()] == [theirs.name]


def test_a_bad_input_leaves_no_empty_folder(here: Path, threshold_package: MakePackage) -> None:
    (here / "bad.nii").write_text("no image")
    package = str(threshold_package())
    for name in ("bad.nii", "missing.nii"):
        done = CliRunner().invoke(app, ["segment", name, "-o", "out/deep", "--model", package, "--device", "cpu"])
        assert done.exit_code == 1
    assert [path.name for path in here.iterdir()] == ["bad.nii"]


def test_a_link_keeps_the_name_by_which_it_is_passed(here: Path) -> None:
    save(here / "store" / "MD5E-s123.nii")
    (here / "case01.nii").symlink_to("store/MD5E-s123.nii")
    assert case_name(Path("case01.nii")) == "case01"
    assert case_name(Path()) == "here"


def test_a_set_is_written_whole_or_not_at_all(here: Path, result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    write_outputs(here / "out", "x", volume_of(result), result, picture=True)
    before = content(here / "out")
    assert len(before) == 5
    changed = replace(
        result,
        labelmap=np.zeros_like(result.labelmap),
        model="toy 2",
        measurements=Measurements(),
        labels=(label_for(1, "spleen"),),
    )
    replaced = Path.replace

    def busy(path: Path, target: Path) -> Path:
        """As where one file is open in a program that allows no other: the fourth of the set cannot be renamed."""
        if target.suffix == ".json":
            raise PermissionError(13, "Permission denied", str(target))
        return replaced(path, target)

    monkeypatch.setattr(Path, "replace", busy)
    with pytest.raises(OutputError, match=r"x_measurements\.json could not be written \(no permission\)"):
        write_outputs(here / "out", "x", volume_of(result), changed, picture=True)
    assert content(here / "out") == before
    with pytest.raises(OutputError, match="no permission"):
        write_outputs(here / "new", "x", volume_of(result), changed, picture=False)
    assert not (here / "new").exists()
    monkeypatch.undo()
    write_outputs(here / "out", "x", volume_of(result), changed, picture=True)
    after = content(here / "out")
    assert after.keys() == before.keys()
    assert all(after[name] != before[name] for name in before)
