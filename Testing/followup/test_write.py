"""Files of a comparison, and `liverseg compare` as it is typed."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from LiverSegLib.cli.commands import app
from LiverSegLib.cli.given_labels import labels_of
from LiverSegLib.errors import InputError, OutputError
from LiverSegLib.followup import TimePoint, compare
from LiverSegLib.followup.write import write_comparison
from Testing.followup.patients import places, scan


def patient() -> tuple[TimePoint, TimePoint]:
    one, two, three, *_ = places(4)
    return scan([(one, 12), (two, 9)], "earlier"), scan([(one, 7), (three, 8)], "later")


def test_table_numbers_and_page_tell_the_same(tmp_path: Path) -> None:
    first, second = patient()
    first = replace(first, name="<b>earlier</b>")
    found = compare(first, second, transform=np.eye(4))
    files = write_comparison(tmp_path / "new", found, first, second)
    assert sorted(files) == sorted((tmp_path / "new").iterdir())
    with files[0].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["shrunk", "gone", "new"]
    numbers = json.loads(files[1].read_text())
    assert [row["status"] for row in numbers["lesions"]] == ["shrunk", "gone", "new"]
    assert numbers["registration"]["baseline_to_followup_ras"] == np.eye(4).tolist()
    page = files[2].read_text()
    assert "<b>" not in page
    assert page.count("<img") == 3
    # A lesion that is gone: in the middle of the left picture it has its color, in that of the right one the liver's.
    with Image.open(files[4]) as picture:
        colors = np.asarray(picture.convert("RGB")).astype(float)
    left, right = (colors[150:170, start : start + 20].mean(axis=(0, 1)) for start in (150, 476))
    assert np.abs(left - right).max() > 20
    assert write_comparison(tmp_path / "new", found, first, second) == files
    files[2].write_text("mine")
    with pytest.raises(OutputError, match="not written by LiverSeg"):
        write_comparison(tmp_path / "new", found, first, second)


def test_the_command_compares_given_label_maps(tmp_path: Path) -> None:
    arguments = []
    for point in patient():
        assert point.volume is not None
        for name, array in ((f"{point.name}.nii.gz", point.volume.array), (f"{point.name}_l.nii.gz", point.labelmap)):
            nib.save(nib.Nifti1Image(np.asarray(array), point.affine), tmp_path / name)
        arguments.append(str(tmp_path / f"{point.name}.nii.gz"))
    out = tmp_path / "out"
    given = [
        "--baseline-labels",
        str(tmp_path / "earlier_l.nii.gz"),
        "--followup-labels",
        str(tmp_path / "later_l.nii.gz"),
    ]
    done = CliRunner().invoke(app, ["compare", *arguments, "-o", str(out), *given])
    assert done.exit_code == 0, (done.output, done.exception)
    assert "shrunk" in done.output
    assert (out / "followup.html").is_file()


@pytest.mark.parametrize("text", ["", "liver", "liver=x", "liver=1,tumor=1", "liver=0", "liver=300"])
def test_values_that_are_not_understood_are_told(text: str) -> None:
    with pytest.raises(InputError, match="not understood"):
        labels_of(text)
