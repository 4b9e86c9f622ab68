"""The command line as a user meets it: files, one sentence an error, exit codes, what is shown."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from LiverSegLib.cli.doctor import report
from LiverSegLib.cli.outputs import case_name, is_single_file

MakePackage = Callable[..., Path]
ROOT = Path(__file__).resolve().parents[2]


def liverseg(*arguments: object, cache: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LIVERSEG_CACHE": str(cache), "COLUMNS": "200"}
    command = [sys.executable, "-m", "LiverSegLib.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    """A CT-like box of 60 mL "liver" (100 HU) in fat (-100 HU), oblique."""
    array = np.full((40, 36, 30), -100, np.int16)
    array[10:30, 8:23, 5:25] = 100
    affine = nib.affines.from_matvec(2 * nib.eulerangles.euler2mat(0.1, 0.05, 0.2), [10, -20, 30])  # type: ignore[no-untyped-call]
    path = tmp_path / "box.nii.gz"
    nib.save(nib.Nifti1Image(array, affine), path)  # type: ignore[no-untyped-call, attr-defined]
    return path


def test_segment_writes_everything_that_the_readme_names(
    ct: Path, threshold_package: MakePackage, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = liverseg("segment", ct, "-o", out, "--model", threshold_package(), "--device", "cpu", cache=tmp_path)
    assert done.returncode == 0, done.stderr
    names = {p.name for p in out.iterdir()}
    assert names == {"box.seg.nrrd", "box_labels.nii.gz", "box_measurements.csv", "box_measurements.json", "box.png"}
    labels, image = nib.load(out / "box_labels.nii.gz"), nib.load(ct)  # type: ignore[attr-defined]
    assert np.array_equal(labels.affine, image.affine)
    assert labels.shape == image.shape
    measured = json.loads((out / "box_measurements.json").read_text())
    assert "liver" in json.dumps(measured)
    assert "liver" in done.stdout


def test_one_output_file_may_be_named(ct: Path, threshold_package: MakePackage, tmp_path: Path) -> None:
    out = tmp_path / "mine.seg.nrrd"
    done = liverseg("segment", ct, "-o", out, "--model", threshold_package(), cache=tmp_path)
    assert done.returncode == 0, done.stderr
    assert out.read_bytes().startswith(b"NRRD")


def test_an_error_is_one_sentence_and_its_traceback_is_in_the_log(tmp_path: Path) -> None:
    done = liverseg(
        "segment", tmp_path / "missing.nii.gz", "-o", tmp_path / "out", "--model", "nothing", cache=tmp_path
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert "nothing" in done.stderr
    assert "Traceback" in (tmp_path / "logs" / "liverseg.log").read_text()


def test_a_bad_input_does_not_stop_the_others(ct: Path, threshold_package: MakePackage, tmp_path: Path) -> None:
    bad = tmp_path / "bad.nii"
    bad.write_text("this is not an image")
    out = tmp_path / "out"
    done = liverseg("segment", bad, ct, "-o", out, "--model", threshold_package(), "--no-overlay", cache=tmp_path)
    assert done.returncode == 1
    assert "bad.nii" in done.stderr
    assert "1 of 2" in done.stderr
    assert (out / "box.seg.nrrd").is_file()


def test_output_that_cannot_be_written_is_said_before_the_work(
    ct: Path, threshold_package: MakePackage, tmp_path: Path
) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("in the way")
    done = liverseg("segment", ct, "-o", blocker / "out", "--model", threshold_package(), cache=tmp_path)
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert blocker.read_text() == "in the way"


def test_several_inputs_do_not_fit_into_one_file(ct: Path, tmp_path: Path) -> None:
    done = liverseg("segment", ct, ct, "-o", tmp_path / "one.nii.gz", cache=tmp_path)
    assert done.returncode == 2
    assert "one file" in done.stderr


def test_info_tells_what_a_model_is(threshold_package: MakePackage, tmp_path: Path) -> None:
    done = liverseg("info", threshold_package(), cache=tmp_path)
    assert done.returncode == 0
    for word in ("liver", "CT", "License", "Training data"):
        assert word in done.stdout


def test_doctor_runs_everywhere(tmp_path: Path) -> None:
    done = liverseg("doctor", cache=tmp_path)
    assert done.returncode == 0
    for word in ("torch", "monai", "Memory", "CPU arithmetic", "Model cache"):
        assert word in done.stdout


def test_doctor_rows_are_complete() -> None:
    assert all(len(row) == 3 and row[0] and row[1] for row in report())


@pytest.mark.parametrize(
    ("path", "name"),
    [("a/ct.nii.gz", "ct"), ("ct.seg.nrrd", "ct"), ("folder.v2", "folder.v2"), ("x.mha", "x"), ("UP.NII.GZ", "UP")],
)
def test_case_names_lose_only_image_endings(path: str, name: str) -> None:
    assert case_name(Path(path)) == name


def test_label_map_endings_are_single_files() -> None:
    assert is_single_file(Path("a.seg.nrrd"))
    assert is_single_file(Path("a.nii.gz"))
    assert not is_single_file(Path("folder"))
