"""The command line and DICOM: what `--dicom`, `--report` and `--series` write, and what they refuse before the work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("highdicom", reason="highdicom is not installed")

from LiverSegLib.cli.commands import app
from LiverSegLib.errors import InputError, OutputError
from LiverSegLib.io import read_label_map, read_volume
from LiverSegLib.io.dicom.source import read_source
from LiverSegLib.io.dicom.write import write_dicom
from LiverSegLib.io.plain_nifti import write_plain_nifti
from Testing.io import test_io_dicom as dicom
from Testing.io.test_dicom_out import result_of

MakePackage = Callable[..., Path]
WHOLE = {"StudyInstanceUID": "1.2.3.40", "FrameOfReferenceUID": "1.2.3.41"}


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LIVERSEG_CACHE", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")


def liverseg(*arguments: object) -> str:
    """What a command shows; its error is raised."""
    return CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False).output


def series(folder: Path, number: int, slices: int, **changes: Any) -> Path:
    """A box of "liver" (150 HU) in fat (-100 HU) with a lesion (250 HU), 1 x 1 x 2 mm."""
    for k in range(slices):
        pixels = np.full((36, 40), 924, np.uint16)
        if 0 < k < slices - 1:
            pixels[8:28, 10:30] = 1174
            pixels[14:20, 14:20] = 1274
        fields = {"SeriesInstanceUID": f"1.2.9.{number}", "SeriesNumber": number, "PixelSpacing": [1, 1], **WHOLE}
        dicom.save(folder, dicom.image(k, pixels=pixels, **{**fields, **changes}), f"{number}-{k}")
    return folder


def test_a_dicom_series_gets_dicom_and_a_report(threshold_package: MakePackage, tmp_path: Path) -> None:
    folder, out = series(tmp_path / "ct", 1, 12), tmp_path / "out"
    options = ("--model", threshold_package(), "--device", "cpu", "--no-overlay")
    liverseg("segment", folder, "-o", out, *options, "--dicom", "--report")
    assert {path.name for path in out.iterdir()} >= {"ct_seg.dcm", "ct_sr.dcm", "ct_report.html", "ct_labels.nii.gz"}
    volume = read_volume(folder)
    labels = read_label_map(out / "ct_labels.nii.gz", volume)
    assert set(np.unique(labels)) == {0, 1, 2}
    np.testing.assert_array_equal(read_label_map(out / "ct_seg.dcm", volume), labels)
    page = (out / "ct_report.html").read_text(encoding="utf-8")
    for told in ("Toy model 1.2.3", "CC0-1.0", "Liver tumor 1"):
        assert told in page

    # What was written is a mask to look within, and is replaced by a later run; nobody else's files are.
    liverseg("segment", folder, "-o", tmp_path / "two", *options, "--within", out / "ct_seg.dcm")
    found = read_label_map(tmp_path / "two/ct_labels.nii.gz", volume)
    np.testing.assert_array_equal(found > 0, labels > 0)
    liverseg("segment", folder, "-o", out, *options, "--dicom")
    (out / "ct_report.html").write_text("<p>mine</p>")
    with pytest.raises(OutputError, match=r"ct_report\.html was not written by LiverSeg"):
        liverseg("segment", folder, "-o", out, *options, "--report")


def test_what_is_no_dicom_is_refused_before_the_work(tmp_path: Path) -> None:
    path = tmp_path / "ct.nii.gz"
    path.write_bytes(b"anything")
    with pytest.raises(InputError, match=r"ct\.nii\.gz is no DICOM, .* leave out --dicom"):
        liverseg("segment", path, "-o", tmp_path / "out", "--dicom", "--model", "nothing")
    with pytest.raises(OutputError, match="name a folder with -o"):
        liverseg("segment", path, "-o", tmp_path / "a.nii.gz", "--report")


def test_series_are_listed_and_one_is_segmented(threshold_package: MakePackage, tmp_path: Path) -> None:
    folder = series(series(tmp_path / "study", 3, 8, SeriesDescription="portal"), 4, 5, SeriesDescription="native")
    listed = liverseg("info", folder)
    for told in ("portal", "native", "40 x 36", "best"):
        assert told in listed
    options = ("-o", tmp_path / "out", "--model", threshold_package(), "--no-overlay", "--device", "cpu")
    with pytest.raises(InputError, match="3: portal, 8 slices; 4: native, 5 slices"):
        liverseg("segment", folder, *options)
    liverseg("segment", folder, *options, "--series", "4")
    chosen = read_volume(folder, series="4")
    assert read_label_map(tmp_path / "out/study_labels.nii.gz", chosen).shape == (40, 36, 5)

    # The results of one series are not replaced by those of another.
    with pytest.raises(OutputError, match="holds the results of another image"):
        liverseg("segment", folder, *options, "--series", "3")


def test_one_segment_of_a_dicom_seg_is_looked_within(threshold_package: MakePackage, tmp_path: Path) -> None:
    folder = series(tmp_path / "ct", 1, 8)
    volume = read_volume(folder)
    result = result_of(volume, {1: "liver", 2: "tumor", 3: "spleen"})
    seg = tmp_path / "a.dcm"
    write_dicom(seg, tmp_path / "b.dcm", result, read_source(folder))
    options = ("--model", threshold_package(), "--device", "cpu", "--no-overlay", "-o", tmp_path / "out")
    liverseg("segment", folder, *options, "--within", f"{seg}#Liver")
    found = read_label_map(tmp_path / "out/ct_labels.nii.gz", volume)
    np.testing.assert_array_equal(found > 0, (result.labelmap == 1) | (result.labelmap == 2))
    with pytest.raises(InputError, match=r"a\.dcm has no segment kidney; choose one of: liver, .*spleen"):
        liverseg("segment", folder, *options, "--within", f"{seg}#kidney")
    with pytest.raises(InputError, match=r"ct_labels\.nii\.gz is no DICOM SEG, .* leave out #liver"):
        liverseg(
            "segment", folder, *options[:-1], tmp_path / "b", "--within", f"{tmp_path / 'out/ct_labels.nii.gz'}#liver"
        )


def test_a_report_of_what_is_there_already(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    folder, out = series(tmp_path / "ct", 1, 8), tmp_path / "reports"
    volume = read_volume(folder)
    labels = np.where(np.asarray(volume.array) > 200, 4, np.where(np.asarray(volume.array) > 100, 3, 0))
    path = tmp_path / "labels.nii.gz"
    write_plain_nifti(path, labels.astype(np.uint8), volume.affine)
    with pytest.raises(InputError, match=r"no voxel of the values liver=1, tumor=2; tell .* with --values"):
        liverseg("report", folder, path, "-o", out)
    told = liverseg("report", folder, path, "-o", out, "--values", "liver=3,tumor=4")
    page = out / "ct_report.html"
    assert str(page) in told
    text = page.read_text(encoding="utf-8")
    lesion = (labels == 4).sum() * 2 / 1000  # voxels of 2 cubic mm
    for words in (f"{lesion:.2f}</td>", "Liver tumor 1", "Drawn or changed by hand, or from elsewhere"):
        assert words in text
    liverseg("report", folder, path, "-o", page, "--values", "liver=3,tumor=4")
    page.write_text("<p>mine</p>")
    with pytest.raises(OutputError, match=r"ct_report\.html was not written by LiverSeg"):
        liverseg("report", folder, path, "-o", page, "--values", "liver=3,tumor=4")


def test_a_report_of_a_dicom_seg_knows_its_segments(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    folder = series(tmp_path / "ct", 1, 8)
    result = result_of(read_volume(folder))
    write_dicom(tmp_path / "a.dcm", tmp_path / "b.dcm", result, read_source(folder))
    liverseg("report", folder, tmp_path / "a.dcm", "-o", tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Liver tumor 2" in text
    assert f"{result.measurements.lesions[0].volume_ml:.2f}</td>" in text
