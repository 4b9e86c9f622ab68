"""The command line and DICOM: what `--dicom`, `--report` and `--series` write, and what they refuse before the work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("highdicom", reason="highdicom is not installed")

from LiverSegLib.io import read_label_map, read_volume
from Testing.cli.test_cli import liverseg
from Testing.io import test_io_dicom as dicom

MakePackage = Callable[..., Path]
WHOLE = {"StudyInstanceUID": "1.2.3.40", "FrameOfReferenceUID": "1.2.3.41"}


def series(folder: Path, number: int, slices: int, **changes: Any) -> Path:
    """A box of "liver" (100 HU) in fat (-100 HU), 1 x 1 x 2 mm."""
    for k in range(slices):
        pixels = np.full((36, 40), 924, np.uint16)
        if 0 < k < slices - 1:
            pixels[8:23, 10:30] = 1124
        fields = {"SeriesInstanceUID": f"1.2.9.{number}", "SeriesNumber": number, "PixelSpacing": [1, 1], **WHOLE}
        dicom.save(folder, dicom.image(k, pixels=pixels, **{**fields, **changes}), f"{number}-{k}")
    return folder


def test_a_dicom_series_gets_dicom_and_a_report(threshold_package: MakePackage, tmp_path: Path) -> None:
    folder, out, package = series(tmp_path / "ct", 1, 8), tmp_path / "out", threshold_package()
    options = ("--model", package, "--device", "cpu", "--no-overlay", "--dicom", "--report")
    done = liverseg("segment", folder, "-o", out, *options, cache=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in out.iterdir()} >= {"ct_seg.dcm", "ct_sr.dcm", "ct_report.html", "ct_labels.nii.gz"}
    volume = read_volume(folder)
    labels = read_label_map(out / "ct_labels.nii.gz", volume)
    assert labels.any()
    np.testing.assert_array_equal(read_label_map(out / "ct_seg.dcm", volume), labels)
    assert "threshold" in (out / "ct_report.html").read_text(encoding="utf-8")

    # Ours are replaced, and nobody else's.
    again = liverseg("segment", folder, "-o", out, *options, cache=tmp_path)
    assert again.returncode == 0, again.stderr
    (out / "ct_report.html").write_text("<p>mine</p>")
    third = liverseg("segment", folder, "-o", out, *options, cache=tmp_path)
    assert third.returncode == 1
    assert "ct_report.html was not written by LiverSeg" in third.stderr


def test_a_written_seg_is_a_mask_to_look_within(threshold_package: MakePackage, tmp_path: Path) -> None:
    folder, out, package = series(tmp_path / "ct", 1, 8), tmp_path / "out", threshold_package()
    options = ("--model", package, "--device", "cpu", "--no-overlay")
    assert liverseg("segment", folder, "-o", out, *options, "--dicom", cache=tmp_path).returncode == 0
    within = ("--within", out / "ct_seg.dcm")
    done = liverseg("segment", folder, "-o", tmp_path / "two", *options, *within, cache=tmp_path)
    assert done.returncode == 0, done.stderr
    volume = read_volume(folder)
    found = read_label_map(tmp_path / "two/ct_labels.nii.gz", volume)
    np.testing.assert_array_equal(found > 0, read_label_map(out / "ct_seg.dcm", volume) > 0)


def test_what_is_no_dicom_is_refused_before_the_work(tmp_path: Path) -> None:
    path = tmp_path / "ct.nii.gz"
    path.write_bytes(b"anything")
    done = liverseg("segment", path, "-o", tmp_path / "out", "--dicom", "--model", "nothing", cache=tmp_path)
    assert done.returncode == 1
    assert "ct.nii.gz is no DICOM" in done.stderr
    assert "leave out --dicom" in done.stderr
    done = liverseg("segment", path, "-o", tmp_path / "a.nii.gz", "--report", cache=tmp_path)
    assert done.returncode == 1
    assert "name a folder with -o" in done.stderr


def test_series_are_listed_and_one_is_segmented(threshold_package: MakePackage, tmp_path: Path) -> None:
    folder = series(series(tmp_path / "study", 3, 8, SeriesDescription="portal"), 4, 5, SeriesDescription="native")
    listed = liverseg("info", folder, cache=tmp_path)
    assert listed.returncode == 0, listed.stderr
    for told in ("portal", "native", "40 x 36", "best"):
        assert told in listed.stdout
    options = ("-o", tmp_path / "out", "--model", threshold_package(), "--no-overlay", "--device", "cpu")
    none = liverseg("segment", folder, *options, cache=tmp_path)
    assert none.returncode == 1
    assert "3: portal, 8 slices; 4: native, 5 slices" in none.stderr
    one = liverseg("segment", folder, *options, "--series", "4", cache=tmp_path)
    assert one.returncode == 0, one.stderr
    chosen = read_volume(folder, series="4")
    assert read_label_map(tmp_path / "out/study_labels.nii.gz", chosen).shape == (40, 36, 5)

    # The results of one series are not replaced by those of another.
    other = liverseg("segment", folder, *options, "--series", "3", cache=tmp_path)
    assert other.returncode == 1
    assert "holds the results of another image" in other.stderr
