"""DICOM out: segmentations and reports of series made here, read again voxel by voxel and looked at by validators."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")
highdicom = pytest.importorskip("highdicom", reason="highdicom is not installed")

from LiverSegLib.errors import InputError  # noqa: E402
from LiverSegLib.io import read_label_map, read_volume  # noqa: E402
from LiverSegLib.io.dicom.seg import seg_names  # noqa: E402
from LiverSegLib.io.dicom.source import read_source  # noqa: E402
from LiverSegLib.io.dicom.write import write_dicom  # noqa: E402
from LiverSegLib.labels import labels_for, terms_of  # noqa: E402
from LiverSegLib.measure import measure  # noqa: E402
from LiverSegLib.quality import Quality  # noqa: E402
from LiverSegLib.volume import Result, Volume  # noqa: E402
from Testing.io import test_io_dicom as dicom  # noqa: E402

STUDY, PLACE = "1.2.3.40", "1.2.3.41"
ROWS, COLUMNS, SLICES = 20, 24, 6
WHOLE = {"StudyInstanceUID": STUDY, "FrameOfReferenceUID": PLACE, "PatientName": "Müller^Jürgen", "PatientID": "p7"}
WHOLE |= {"SpecificCharacterSet": "ISO_IR 100", "StudyDate": "20240131", "PatientSex": "F"}
LIVER = {1: "liver", 2: "tumor"}
VALIDATOR = shutil.which("dciodvfy")


def pixels(k: int) -> npt.NDArray[np.uint16]:
    return (1000 + np.arange(ROWS * COLUMNS, dtype=np.uint16).reshape(ROWS, COLUMNS) + 7 * k).astype(np.uint16)


def straight(folder: Path) -> Path:
    for k in range(SLICES):
        # Names that sort backwards.
        dicom.save(folder, dicom.image(k, pixels=pixels(k), **WHOLE), f"IM{SLICES - k}")
    return folder


def tilted(folder: Path) -> Path:
    """A gantry tilted by 15 degrees: the slices do not lie straight above each other."""
    turned = [1, 0, 0, 0, np.cos(0.26), -np.sin(0.26)]
    for k in range(SLICES):
        place = {"ImagePositionPatient": [-100, -50, -200 + 2 * k], "ImageOrientationPatient": turned}
        dicom.save(folder, dicom.image(k, pixels=pixels(k), **WHOLE, **place), f"IM{k}")
    return folder


def sagittal(folder: Path) -> Path:
    for k in range(SLICES):
        place = {"ImagePositionPatient": [3 * k, -50, 100], "ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}
        dicom.save(folder, dicom.image(k, pixels=pixels(k), **WHOLE, **place), f"IM{k}")
    return folder


def enhanced(folder: Path) -> Path:
    """One file of many frames, stored from the top down."""
    file = dicom.enhanced([-190.0, -194.0, -198.0])
    for keyword, value in WHOLE.items():
        setattr(file, keyword, value)
    dicom.save(folder, file, "all")
    return folder


def result_of(volume: Volume, names: dict[int, str] | None = None, **changes: Any) -> Result:
    """An organ with two lesions in it, away from some slices at both ends; its neighbors where there is a third."""
    labels = labels_for(names or LIVER)
    labelmap = np.zeros(volume.array.shape, np.uint8)
    wide, high, deep = np.array(labelmap.shape) // 4
    labelmap[wide:-wide, high : high + 2, max(deep, 1) : -1] = 1
    labelmap[wide, high, 1], labelmap[wide + 2 : wide + 4, high, 1] = 2, 2
    if len(labels) > 2:
        labelmap[0, 0, 2] = 3
    measured = measure(labelmap, volume.affine, labels, volume.array, "HU")
    whole = {"labelmap": labelmap, "affine": volume.affine, "labels": labels, "measurements": measured}
    return Result(**{**whole, "model": "liver_ct 1.2", **changes})


def written(folder: Path, result: Result, out: Path) -> tuple[Path, Path]:
    seg, report = out / "x_seg.dcm", out / "x_sr.dcm"
    write_dicom(seg, report, result, read_source(folder), version="1.2")
    return seg, report


@dataclass(frozen=True)
class Case:
    """A series, its result, and the two files of that."""

    folder: Path
    volume: Volume
    result: Result
    seg: Path
    report: Path


QUALITY = Quality(organ="liver", expected_dice=0.95, low=0.9, high=0.97)


@cache
def case_of(make: Callable[[Path], Path], folder: Path) -> Case:
    """Written once, looked at by several tests."""
    volume = read_volume(make(folder / make.__name__))
    result = result_of(volume, quality=QUALITY)
    (folder / f"{make.__name__}_out").mkdir()
    return Case(
        folder / make.__name__,
        volume,
        result,
        *written(folder / make.__name__, result, folder / f"{make.__name__}_out"),
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dicom")


@pytest.mark.parametrize("make", [straight, tilted, sagittal, enhanced])
def test_a_segmentation_is_read_again_voxel_by_voxel(place: Path, make: Callable[[Path], Path]) -> None:
    case = case_of(make, place)
    np.testing.assert_array_equal(read_label_map(case.seg, case.volume), case.result.labelmap)
    assert seg_names(case.seg) == LIVER


@pytest.mark.parametrize("make", [straight, tilted, enhanced])
def test_highdicom_finds_each_segment_on_the_source_images(place: Path, make: Callable[[Path], Path]) -> None:
    case = case_of(make, place)
    seg, source, result = highdicom.seg.segread(case.seg), read_source(case.folder), case.result

    if source.stored is None:
        uids = [header.SOPInstanceUID for header in source.headers]
        found = seg.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
    else:
        uid, count = source.headers[0].SOPInstanceUID, len(source.stored)
        frames = list(range(1, count + 1))
        found = seg.get_pixels_by_source_frame(uid, frames, assert_missing_frames_are_empty=True)

    whole = source.frames(result.labelmap)
    np.testing.assert_array_equal(found[..., 0], whole > 0)  # the liver with its lesions
    np.testing.assert_array_equal(found[..., 1], whole == 2)


def test_the_file_says_what_where_by_whom_and_of_whom(tmp_path: Path) -> None:
    folder = straight(tmp_path / "ct")
    result = result_of(read_volume(folder), {**LIVER, 3: "liver vessels"}, quality=QUALITY)

    seg = pydicom.dcmread(written(folder, result, tmp_path)[0])

    assert (seg.StudyInstanceUID, seg.FrameOfReferenceUID, seg.PatientID) == (STUDY, PLACE, "p7")
    assert str(seg.PatientName) == "Müller^Jürgen"
    assert seg.SeriesInstanceUID != dicom.SERIES
    assert seg.SegmentationType == "BINARY"
    liver, tumor, vessels = sorted(seg.SegmentSequence, key=lambda segment: segment.SegmentLabel)[:3]
    codes = [
        (
            segment.SegmentedPropertyCategoryCodeSequence[0].CodeValue,
            segment.SegmentedPropertyTypeCodeSequence[0].CodeValue,
        )
        for segment in (liver, tumor, vessels)
    ]
    assert codes == [("123037004", "10200004"), ("49755003", "108369006"), ("85756007", "85756007")]
    assert tumor.AnatomicRegionSequence[0].CodeValue == "10200004"
    made = liver.SegmentationAlgorithmIdentificationSequence[0]
    assert (made.AlgorithmName, made.AlgorithmVersion) == ("liver_ct 1.2", "1.2")
    assert liver.SegmentDescription == "Expected Dice of the liver: 0.95 (0.90 to 0.97)"
    assert len({segment.TrackingUID for segment in seg.SegmentSequence}) == 3
    color = highdicom.color.CIELabColor.from_dicom_value(liver.RecommendedDisplayCIELabValue)
    assert np.abs(np.subtract(color.to_rgb(), (221, 130, 101))).max() <= 2
    images = {item.ReferencedSOPInstanceUID for item in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    assert images <= {header.SOPInstanceUID for header in read_source(folder).headers}


def measured_in(report: Any) -> dict[str, dict[str, float]]:
    """The numbers of a report by tracking identifier and name of the measurement."""
    found = {}
    document = highdicom.sr.srread(report)
    content = document.content
    for group in (*content.get_volumetric_roi_measurement_groups(), *content.get_image_measurement_groups()):
        numbers = {}
        for number in group.get_measurements():
            how = f" {number.derivation.meaning}" if number.derivation is not None else ""
            numbers[f"{number.name.meaning}{how}"] = float(number.value)
        found[group.tracking_identifier] = numbers
    return found


def test_the_report_has_the_measurements_and_names_the_segments(place: Path) -> None:
    case = case_of(straight, place)
    seg, report, result = case.seg, case.report, case.result

    found = measured_in(report)
    liver, tumor = result.measurements.segments
    assert found["liver"]["Volume"] == pytest.approx(liver.volume_ml)
    assert found["liver"]["Attenuation Coefficient Mean"] == pytest.approx(liver.mean_intensity)
    assert found["liver"]["Expected Dice coefficient"] == 0.95
    assert found["tumor"]["Volume in percent of the organ with its lesions"] == pytest.approx(tumor.burden_percent)
    assert [found[f"tumor {n}"]["Maximum 3D diameter"] for n in (1, 2)] == pytest.approx(
        [lesion.longest_diameter_mm for lesion in result.measurements.lesions]
    )
    document, segmentation = highdicom.sr.srread(report), pydicom.dcmread(seg)
    groups = document.content.get_volumetric_roi_measurement_groups()
    assert [group.tracking_uid for group in groups] == [s.TrackingUID for s in segmentation.SegmentSequence]
    assert {group.referenced_segment.referenced_sop_instance_uid for group in groups} == {segmentation.SOPInstanceUID}
    assert [group.referenced_segment.referenced_segment_numbers for group in groups] == [[1], [2]]


def test_a_diameter_is_a_line_in_the_patient(place: Path) -> None:
    result, report = case_of(straight, place).result, case_of(straight, place).report

    groups = highdicom.sr.srread(report).content.get_image_measurement_groups()

    for group, lesion in zip(groups, result.measurements.lesions, strict=True):
        diameter = next(m for m in group.get_measurements() if m.name.value == "L0JK")
        (line,) = diameter.referenced_coordinates
        assert lesion.ends_ras is not None
        np.testing.assert_allclose(line.value, np.array(lesion.ends_ras) * [-1, -1, 1], atol=1e-4)
        assert np.linalg.norm(line.value[0] - line.value[1]) == pytest.approx(lesion.longest_diameter_mm, abs=1e-4)
        assert line.frame_of_reference_uid == PLACE


def errors_in(path: Path) -> list[str]:
    """What the validator finds wrong with a file; nothing where there is no validator."""
    if VALIDATOR is None:
        return []
    told = subprocess.run([VALIDATOR, str(path)], capture_output=True, text=True, check=False)
    return [line for line in (told.stdout + told.stderr).splitlines() if line.startswith(("Error", "Abort"))]


@pytest.mark.skipif(VALIDATOR is None, reason="dciodvfy is not installed (apt-get install dicom3tools)")
@pytest.mark.parametrize("make", [straight, tilted, sagittal, enhanced])
def test_a_validator_finds_no_error(place: Path, make: Callable[[Path], Path]) -> None:
    case = case_of(make, place)
    assert errors_in(case.seg) == errors_in(case.report) == []


def test_where_nothing_was_found_the_segments_are_empty(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = straight(tmp_path / "ct")
    volume = read_volume(folder)
    result = result_of(volume)
    nothing = np.zeros_like(result.labelmap)
    measured = measure(nothing, volume.affine, result.labels)
    seg, report = written(folder, replace(result, labelmap=nothing, measurements=measured), tmp_path)
    assert errors_in(seg) == errors_in(report) == []
    assert caplog.messages == []
    assert not read_label_map(seg, volume).any()
    assert seg_names(seg) == LIVER
    assert measured_in(report) == {"liver": {"Volume": 0.0}, "tumor": {"Volume": 0.0}}


def test_an_absent_label_keeps_its_number(tmp_path: Path) -> None:
    folder = straight(tmp_path / "ct")
    volume = read_volume(folder)
    result = result_of(volume, {1: "spleen", 2: "kidney", 3: "aorta"})
    labelmap = np.where(result.labelmap == 2, 0, result.labelmap)
    measured = measure(labelmap, volume.affine, result.labels)
    seg, report = written(folder, replace(result, labelmap=labelmap, measurements=measured), tmp_path)
    np.testing.assert_array_equal(read_label_map(seg, volume), labelmap)
    assert seg_names(seg) == {1: "spleen", 2: "kidney", 3: "aorta"}
    assert [name for name, found in measured_in(report).items() if not found["Volume"]] == ["kidney"]


def xray(folder: Path, **changes: Any) -> Path:
    fields: dict[str, Any] = {
        "Modality": "DX",
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1",
        "ImagePositionPatient": None,
    }
    fields |= {"ImageOrientationPatient": None, "PixelSpacing": None, "ImagerPixelSpacing": [0.2, 0.2]}
    whole = {key: value for key, value in WHOLE.items() if key != "FrameOfReferenceUID"}
    return dicom.save(folder, dicom.image(0, pixels=pixels(0), **{**fields, **whole, **changes}), "x.dcm")


@pytest.mark.parametrize("names", [{1: "lung"}, {1: "lung", 2: "heart"}], ids=len)
def test_an_xray_has_a_segmentation_too(tmp_path: Path, names: dict[int, str]) -> None:
    path = xray(tmp_path / "x")
    volume = read_volume(path)
    labelmap = np.zeros(volume.array.shape, np.uint8)
    labelmap[3:9, 4:8] = 1
    labelmap[12:15, 4:8] = len(names)
    labels = labels_for(names)
    result = Result(
        labelmap=labelmap, affine=volume.affine, labels=labels, measurements=measure(labelmap, volume.affine, labels)
    )
    seg, report = written(path, result, tmp_path)
    np.testing.assert_array_equal(read_label_map(seg, volume), labelmap)
    assert set(measured_in(report)) == set(names.values())
    assert errors_in(seg) == errors_in(report) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"Modality": ""}, "has no Modality, as after some anonymizers"),
        ({"FrameOfReferenceUID": None}, "has no FrameOfReferenceUID"),
    ],
)
def test_what_nothing_can_refer_to_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    for k in range(3):
        dicom.save(tmp_path / "ct", dicom.image(k, **{**WHOLE, **changes}), f"IM{k}")
    with pytest.raises(InputError, match=words):
        read_source(tmp_path / "ct")


def test_images_of_no_study_get_one_that_is_always_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "ct"
    for k in range(8):
        dicom.save(folder, dicom.image(k, **{**WHOLE, "StudyInstanceUID": "", "SeriesInstanceUID": ""}), f"IM{k}")
    first, again = read_source(folder), read_source(folder)
    assert "has no StudyInstanceUID and no SeriesInstanceUID, as after some anonymizers" in first.note
    uids = [(h.StudyInstanceUID, h.SeriesInstanceUID) for source in (first, again) for h in source.headers]
    assert len(set(uids)) == 1
    assert uids[0][0] != uids[0][1]

    volume = read_volume(folder)
    seg, report = written(folder, result_of(volume), tmp_path)
    np.testing.assert_array_equal(read_label_map(seg, volume), result_of(volume).labelmap)
    assert pydicom.dcmread(seg).StudyInstanceUID == pydicom.dcmread(report).StudyInstanceUID == uids[0][0]
    assert errors_in(seg) == errors_in(report) == []
    assert read_source(straight(tmp_path / "whole")).note == ""


def test_a_result_of_another_series_is_refused(tmp_path: Path) -> None:
    one, other = straight(tmp_path / "one"), tilted(tmp_path / "other")
    with pytest.raises(InputError, match="is not the series that was segmented"):
        written(one, result_of(read_volume(other)), tmp_path)
    assert not list(tmp_path.glob("*.dcm"))


def test_a_series_without_one_slice_is_refused(tmp_path: Path) -> None:
    folder = straight(tmp_path / "ct")
    (folder / "IM3").unlink()
    with pytest.raises(InputError, match="lacks slices between"):
        read_source(folder)


def test_a_segmentation_of_another_place_is_refused(place: Path) -> None:
    seg, volume = case_of(straight, place).seg, case_of(straight, place).volume
    moved = replace(volume, affine=volume.affine + np.array([[0, 0, 0, 7.3]] * 3 + [[0] * 4]))
    with pytest.raises(InputError, match=r"x_seg\.dcm lies elsewhere"):
        read_label_map(seg, moved)


def test_terms_of_a_label_are_those_of_its_entry() -> None:
    liver, tumor, other = labels_for({1: "liver", 2: "tumor", 3: "something"})
    assert (terms_of(liver).kind, terms_of(liver).region) == (("10200004", "Liver"), None)
    assert (terms_of(tumor).kind, terms_of(tumor).region) == (("108369006", "Neoplasm"), ("10200004", "Liver"))
    assert terms_of(other).kind == ("85756007", "Tissue")


@pytest.mark.slow
def test_a_real_series_with_many_labels_is_read_again_voxel_by_voxel(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "dicom/ct20"
    volume = read_volume(folder)
    labelmap = np.asarray(read_label_map(shared_data / "dicom/ct20_multiorgan.nii.gz", volume)).astype(np.uint8)
    present = [int(value) for value in np.unique(labelmap) if value]
    # As a model has them: in rising order without gaps.
    labelmap = np.searchsorted([0, *present], labelmap).astype(np.uint8)
    labels = labels_for({number: f"organ {value}" for number, value in enumerate(present, start=1)})
    measured = measure(labelmap, volume.affine, labels, volume.array, "HU")
    result = Result(labelmap=labelmap, affine=volume.affine, labels=labels, measurements=measured)
    seg, report = written(folder, result, tmp_path)
    np.testing.assert_array_equal(read_label_map(seg, volume), labelmap)
    assert errors_in(seg) == errors_in(report) == []
