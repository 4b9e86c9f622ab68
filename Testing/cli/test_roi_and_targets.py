"""`liverseg segment --roi ... --targets ...`, as it is typed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest

from LiverSegLib.cli.request_options import parse_roi
from LiverSegLib.errors import InputError
from LiverSegLib.request import RasBox
from Testing.cli.test_cli import liverseg

MakePackage = Callable[..., Path]
AFFINE = np.diag([-2.0, -2.0, 2.0, 1.0])


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    """A liver (above 100) with a lesion (above 200) in its second half along i, 2 mm voxels, LPS."""
    array = np.full((40, 30, 20), -100, np.int16)
    array[5:35, 5:25, 5:15] = 150
    array[22:30, 10:18, 7:13] = 250
    path = tmp_path / "ct.nii.gz"
    nib.save(nib.Nifti1Image(array, AFFINE), path)  # type: ignore[no-untyped-call, attr-defined]
    return path


def labels_in(folder: Path) -> npt.NDArray[Any]:
    return np.asarray(nib.load(folder / "ct_labels.nii.gz").dataobj)  # type: ignore[attr-defined]


def test_numbers_in_mm_limit_the_work(ct: Path, threshold_package: MakePackage, tmp_path: Path) -> None:
    package = threshold_package(labels=2)
    box = "-36,0.5,-100,100,-10,100"  # the first 19 columns along i: x = -2 i
    arguments = ("--model", package, "--device", "cpu", "--no-overlay", "--no-postprocess")
    done = liverseg("segment", ct, "-o", tmp_path / "out", *arguments, "--roi", box, cache=tmp_path)
    assert done.returncode == 0, done.stderr
    found = labels_in(tmp_path / "out")
    assert found.shape == (40, 30, 20)
    assert (found[8:17, 8:22, 8:12] == 1).all()
    assert not found[19:].any()


def test_a_file_of_slicer_and_targets(ct: Path, threshold_package: MakePackage, tmp_path: Path) -> None:
    package = threshold_package(labels=2)
    roi = {
        "type": "ROI",
        "coordinateSystem": "LPS",
        "roiType": "Box",
        "center": [56.0, 30.0, 20.0],
        "orientation": [1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0],
        "size": [32.0, 100.0, 100.0],
    }
    file = tmp_path / "R.mrk.json"
    file.write_text(json.dumps({"markups": [roi]}))
    arguments = ("--model", package, "--device", "cpu", "--no-overlay", "--no-postprocess", "--roi", file)
    done = liverseg("segment", ct, "-o", tmp_path / "out", *arguments, "--targets", "Tumor", cache=tmp_path)
    assert done.returncode == 0, done.stderr
    found = labels_in(tmp_path / "out")
    assert not found[:20].any()
    assert (found[24:28, 12:16, 9:11] == 2).all()
    assert not (found == 1).any()
    measured = json.loads((tmp_path / "out" / "ct_measurements.json").read_text())
    assert [segment["name"] for segment in measured["segments"]] == ["tumor"]
    assert len(measured["lesions"]) == 1


def test_what_cannot_be_done_is_one_sentence(ct: Path, threshold_package: MakePackage, tmp_path: Path) -> None:
    arguments = ("segment", ct, "-o", tmp_path / "out", "--model", threshold_package(labels=2), "--device", "cpu")
    done = liverseg(*arguments, "--roi", "500,600,0,10,0,10", "--targets", "tumor", cache=tmp_path)
    assert done.returncode == 1
    assert "The region of interest lies outside ct.nii.gz" in done.stderr
    done = liverseg(*arguments, "--targets", "spleen", cache=tmp_path)
    assert done.returncode == 1
    assert "does not segment 'spleen'; choose among liver, tumor" in done.stderr
    assert not (tmp_path / "out").exists()


def test_numbers_become_a_box() -> None:
    assert parse_roi("-10, 10, 0, 40, 5, 6") == RasBox(center=(0, 20, 5.5), size=(20, 40, 1))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("1,2,3,4,5", "give xmin,xmax,ymin,ymax,zmin,zmax in RAS mm, or a .mrk.json file"),
        ("a,b,c,d,e,f", "is not understood"),
        ("0,inf,0,1,0,1", "is not understood"),
        ("0,1,5,2,0,1", "ends at y = 2 and starts at 5; exchange the two"),
        ("missing.mrk.json", "missing.mrk.json cannot be read"),
    ],
)
def test_what_is_no_region_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        parse_roi(text)
