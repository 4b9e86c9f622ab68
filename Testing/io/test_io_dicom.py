"""Reading DICOM: slices made here with pydicom, and one real series."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from LiverSegLib.errors import InputError
from LiverSegLib.io import read_volume

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset  # noqa: E402
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, JPEG2000Lossless, generate_uid  # noqa: E402

CT = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
MR = "1.2.840.10008.5.1.4.1.1.4"
REPORT = "1.2.840.10008.5.1.4.1.1.88.11"
SERIES = "1.2.3.4"
ROWS, COLUMNS, SLICES = 4, 5, 6
# Stored values that differ everywhere: [slice, row, column].
STORED = np.arange(SLICES * ROWS * COLUMNS, dtype=np.uint16).reshape(SLICES, ROWS, COLUMNS)
AFFINE = np.array([[-0.5, 0, 0, 100], [0, -0.75, 0, 50], [0, 0, 2, -200], [0, 0, 0, 1.0]])


def image(k: int, **changes: Any) -> FileDataset:
    """Slice `k` of a CT series whose grid is AFFINE; `changes` are header fields (None takes one away)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = changes.pop("SOPClassUID", CT)
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    pixels = np.asarray(changes.pop("pixels", STORED[k % SLICES]))
    fields = {
        "SOPClassUID": meta.MediaStorageSOPClassUID,
        "Modality": "CT",
        "PatientName": "Secret^Person",
        "SeriesInstanceUID": SERIES,
        "SeriesNumber": 2,
        "SeriesDescription": "portal venous",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        # A wrong number and thickness on purpose: they must not matter.
        "InstanceNumber": 1,
        "SliceThickness": 7.0,
        "ImagePositionPatient": [-100, -50, -200 + 2 * k],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [0.75, 0.5],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": pixels.shape[-2],
        "Columns": pixels.shape[-1],
        "BitsAllocated": pixels.dtype.itemsize * 8,
        "BitsStored": pixels.dtype.itemsize * 8,
        "HighBit": pixels.dtype.itemsize * 8 - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "RescaleSlope": 1,
        "RescaleIntercept": -1024,
        **changes,
    }
    for keyword, value in fields.items():
        if value is not None:
            setattr(dataset, keyword, value)
    dataset.PixelData = pixels.tobytes()
    return dataset


def save(folder: Path, dataset: FileDataset, name: str) -> Path:
    folder.mkdir(exist_ok=True)
    dataset.save_as(folder / name, enforce_file_format=True)
    return folder / name


def series(folder: Path, slices: tuple[int, ...] = tuple(range(SLICES)), **changes: Any) -> Path:
    """A series under names that sort in another order than the slices lie."""
    for k in slices:
        # 57 and 100 share no factor: a shuffle that is the same every time.
        save(folder, image(k, **changes), f"IM{k * 57 % 100:02d}-{changes.get('SeriesInstanceUID', SERIES)[-1]}")
    return folder


def enhanced(positions: list[float]) -> FileDataset:
    """One multi-frame CT with its frames at these heights, slope and orientation shared by all."""
    dataset = image(0, SOPClassUID=ENHANCED_CT, pixels=STORED[: len(positions)], ImagePositionPatient=None)
    for keyword in ("ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept"):
        delattr(dataset, keyword)
    dataset.NumberOfFrames = len(positions)

    def group(name: str, **values: Any) -> Dataset:
        item, groups = Dataset(), Dataset()
        for keyword, value in values.items():
            setattr(item, keyword, value)
        setattr(groups, name, [item])
        return groups

    shared = group("PlaneOrientationSequence", ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    shared.update(group("PixelMeasuresSequence", PixelSpacing=[0.75, 0.5]))
    shared.update(group("PixelValueTransformationSequence", RescaleSlope=1, RescaleIntercept=-1024))
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = [
        group("PlanePositionSequence", ImagePositionPatient=[-100, -50, z]) for z in positions
    ]
    return dataset


def expected(slices: int = SLICES) -> np.ndarray:
    return (STORED[:slices].astype(np.int16) - 1024).transpose(2, 1, 0)


def test_slices_are_ordered_by_position_whatever_their_names_and_numbers(tmp_path: Path) -> None:
    folder = series(tmp_path / "case")

    volume = read_volume(folder)

    names = [path.name for path in sorted(folder.iterdir())]
    assert names != [f"IM{k * 57 % 100:02d}-4" for k in range(SLICES)]
    np.testing.assert_array_equal(volume.array, expected())
    np.testing.assert_array_equal(volume.affine, AFFINE)
    assert volume.array.dtype == np.int16
    assert (volume.name, volume.modality) == ("case", "CT")


def test_a_folder_may_hold_other_things_and_a_subfolder(tmp_path: Path) -> None:
    series(tmp_path / "DICOM")
    (tmp_path / "DICOMDIR").write_bytes(b"x" * 200)
    (tmp_path / "notes.txt").write_text("hello")
    save(tmp_path, image(0, SOPClassUID=REPORT, Modality="SR"), "report")
    save(tmp_path, image(90, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), "scout")

    np.testing.assert_array_equal(read_volume(tmp_path).array, expected())


def test_one_file_stands_for_its_series(tmp_path: Path) -> None:
    series(tmp_path)
    other = series(tmp_path, slices=(0, 1, 2), SeriesInstanceUID="1.2.3.5")

    assert read_volume(tmp_path / "IM57-4").array.shape == (COLUMNS, ROWS, SLICES)
    assert read_volume(other / "IM57-5").array.shape == (COLUMNS, ROWS, 3)


def test_gantry_tilt_becomes_shear_in_the_affine(tmp_path: Path) -> None:
    for k in range(SLICES):
        save(tmp_path, image(k, ImagePositionPatient=[-100, -50 + 0.5 * k, -200 + 2 * k]), f"{k}.dcm")

    volume = read_volume(tmp_path)

    np.testing.assert_allclose(volume.affine[:3, 2], (0, -0.5, 2))
    np.testing.assert_allclose(volume.affine @ (0, 0, SLICES - 1, 1), (100, 50 - 0.5 * 5, -190, 1))


def test_oblique_mr(tmp_path: Path) -> None:
    # Sagittal: rows run to the posterior, columns to the feet, the normal to the right.
    for k in range(3):
        changes: dict[str, Any] = {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}
        changes["ImagePositionPatient"] = [10 - 3 * k, -20, 30]
        save(tmp_path, image(k, SOPClassUID=MR, Modality="MR", RescaleIntercept=0, **changes), f"{k}.dcm")

    volume = read_volume(tmp_path)

    assert volume.modality == "MR"
    np.testing.assert_allclose(volume.affine[:3], np.array([[0, 0, 3, -10], [-0.5, 0, 0, 20], [0, -0.75, 0, 30]]))
    np.testing.assert_array_equal(volume.array, STORED[:3].transpose(2, 1, 0))


def test_every_slice_is_rescaled_with_its_own_slope(tmp_path: Path) -> None:
    for k in range(3):
        save(tmp_path, image(k, RescaleSlope=k + 1, RescaleIntercept=-10 * k), f"{k}.dcm")

    volume = read_volume(tmp_path)

    scaled = [STORED[k].astype(int) * (k + 1) - 10 * k for k in range(3)]
    np.testing.assert_array_equal(volume.array, np.array(scaled).transpose(2, 1, 0))
    assert volume.array.dtype == np.int16


@pytest.mark.parametrize("changes", [{"RescaleSlope": 0.5}, {"RescaleIntercept": 40000}])
def test_values_that_do_not_fit_int16_become_float32(tmp_path: Path, changes: dict[str, float]) -> None:
    series(tmp_path, slices=(0, 1))
    save(tmp_path, image(2, **changes), "last.dcm")

    volume = read_volume(tmp_path)

    slope, intercept = changes.get("RescaleSlope", 1), changes.get("RescaleIntercept", -1024)
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array[:, :, :2], expected(2))
    np.testing.assert_array_equal(volume.array[:, :, 2], STORED[2].T * slope + intercept)


def test_monochrome1_inverts_the_display_and_not_the_values(tmp_path: Path) -> None:
    series(tmp_path, PhotometricInterpretation="MONOCHROME1")

    np.testing.assert_array_equal(read_volume(tmp_path).array, expected())


@pytest.mark.parametrize(
    ("changes", "distance"), [({"SpacingBetweenSlices": 3}, 3), ({}, 7), ({"SliceThickness": None}, 1)]
)
def test_one_slice_takes_its_thickness_from_the_header(tmp_path: Path, changes: Any, distance: float) -> None:
    series(tmp_path, slices=(0,), **changes)

    volume = read_volume(tmp_path)

    assert volume.array.shape == (COLUMNS, ROWS, 1)
    assert volume.spacing == (0.5, 0.75, distance)


def test_enhanced_multiframe(tmp_path: Path) -> None:
    path = save(tmp_path, enhanced([-196, -200, -198]), "multi.dcm")

    volume = read_volume(path)

    np.testing.assert_array_equal(volume.array, expected(3)[:, :, [1, 2, 0]])
    np.testing.assert_array_equal(volume.affine, AFFINE)


def test_positions_rounded_to_a_tenth_are_no_gap(tmp_path: Path) -> None:
    for k in range(SLICES):
        save(tmp_path, image(k, ImagePositionPatient=[-100, -50, round(0.75 * k, 1)]), f"{k}.dcm")

    assert read_volume(tmp_path).spacing[2] == pytest.approx(0.76)


def other_series(folder: Path) -> None:
    series(folder)
    series(folder, slices=(0, 1), SeriesInstanceUID="1.2.3.5", SeriesNumber=3, SeriesDescription="bone")


def doubled(folder: Path) -> None:
    series(folder)
    save(folder, image(3), "copy.dcm")


def two_phases(folder: Path) -> None:
    series(folder / "one")
    series(folder / "two")


def displaced(folder: Path) -> None:
    series(folder, slices=(0, 1, 3, 4))
    save(folder, image(2, ImagePositionPatient=[-90, -50, -196]), "aside.dcm")


def mixed(folder: Path) -> None:
    series(folder)
    save(folder, image(9, ImageOrientationPatient=[0, 1, 0, 0, 0, -1]), "sagittal.dcm")


def truncated(folder: Path, keep: Callable[[int], int]) -> None:
    path = series(folder) / "IM57-4"
    content = path.read_bytes()
    path.write_bytes(content[: keep(len(content))])


def damaged_field(folder: Path) -> None:
    path = save(folder, image(0), "a.dcm")
    # Rows, (0028,0010), with a type that DICOM does not have.
    path.write_bytes(path.read_bytes().replace(b"\x28\x00\x10\x00US", b"\x28\x00\x10\x00ZZ"))


def compressed_rubbish(folder: Path) -> None:
    dataset = image(0)
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    dataset.PixelData = pydicom.encaps.encapsulate([b"rubbish!"])
    save(folder, dataset, "a.dcm")


def deflated(folder: Path) -> None:
    dataset = image(0)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    save(folder, dataset, "a.dcm")


def color(folder: Path) -> None:
    save(folder, image(0, pixels=np.zeros((3, 4, 4), np.uint8), SamplesPerPixel=3), "a.dcm")


BAD_FOLDERS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no images": (lambda f: (f / "a.txt").write_text("hello"), "holds no DICOM images"),
    "only a localizer": (lambda f: save(f, image(0, ImageType=["A", "B", "LOCALIZER"]), "a"), "only localizer"),
    "two series": (other_series, r"2 series \(2: portal venous, 6 slices; 3: bone, 2 slices\); pass a folder"),
    "missing slice": (
        lambda f: series(f, slices=(0, 1, 2, 4, 5)),
        r"lacks slices between slices 3 and 4 of 5 \(IM14-4 and IM28-4\), where 4.00 mm lie instead of 2.00",
    ),
    "uneven": (
        lambda f: series(f) and save(f, image(6, ImagePositionPatient=[-100, -50, -189]), "b"),
        "uneven slices between slices 6 and 7",
    ),
    "doubled": (doubled, "two images at the same position .IM71-4 and copy.dcm|copy.dcm and IM71-4"),
    "two phases": (two_phases, "2 images at every position"),
    "displaced": (displaced, "slice 3 of 5 .aside.dcm. is displaced"),
    "mixed": (mixed, "mixed series.*sagittal.dcm"),
    "color": (color, "color image"),
    "palette": (lambda f: series(f, PhotometricInterpretation="PALETTE COLOR"), "color image"),
    "no position": (lambda f: series(f, ImagePositionPatient=None), "does not tell where its slice lies"),
    "no pixel spacing": (lambda f: series(f, PixelSpacing=[0, 0]), "pixel spacing of zero"),
    "bad direction": (lambda f: series(f, ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), "damaged orientation"),
    "two numbers": (lambda f: series(f, ImagePositionPatient=[1, 2]), "2 instead of 3 numbers"),
    "frames without places": (lambda f: save(f, image(0, NumberOfFrames=6, pixels=STORED), "a"), "6 frames without"),
    "table of values": (lambda f: series(f, ModalityLUTSequence=[]), "look-up table"),
    "truncated pixels": (lambda f: truncated(f, lambda size: size - 9), "truncated"),
    "truncated header": (lambda f: truncated(f, lambda _: 500), "truncated DICOM image"),
    "truncated mark": (lambda f: truncated(f, lambda _: 140), "damaged DICOM file"),
    "damaged field": (damaged_field, "damaged DICOM file"),
    "deflated": (deflated, "deflated DICOM file; export the series uncompressed"),
    "absurd size": (lambda f: series(f, Rows=65535, Columns=65535), "declares 8589672450 bytes of voxels"),
    "compressed rubbish": (compressed_rubbish, "JPEG 2000 Image Compression.*export the series uncompressed"),
}


@pytest.mark.parametrize("case", BAD_FOLDERS)
def test_bad_folder_is_told_in_one_sentence_without_the_patient(tmp_path: Path, case: str) -> None:
    make, sentence = BAD_FOLDERS[case]
    make(tmp_path)

    with pytest.raises(InputError, match=sentence) as caught:
        read_volume(tmp_path)

    message = str(caught.value)
    assert tmp_path.name in message
    assert message.endswith(".")
    assert "\n" not in message
    assert "Secret" not in message


def test_without_pydicom_the_sentence_says_what_to_install(tmp_path: Path, monkeypatch: Any) -> None:
    series(tmp_path)
    monkeypatch.setitem(sys.modules, "pydicom", None)

    with pytest.raises(InputError, match=r"pip install 'liverseg\[dicom\]'"):
        read_volume(tmp_path)


def test_a_real_compressed_series_reads_as_in_simpleitk() -> None:
    folder = Path(__file__).resolve().parents[3] / "shared" / "data" / "dicom" / "ct20"
    if not folder.is_dir():
        pytest.skip("needs the real images in ../shared/data")

    volume = read_volume(folder)

    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    reference = reader.Execute()
    np.testing.assert_array_equal(volume.array, sitk.GetArrayViewFromImage(reference).transpose(2, 1, 0))
    last = [n - 1 for n in reference.GetSize()]
    ras = np.array(reference.TransformIndexToPhysicalPoint(last)) * (-1, -1, 1)
    np.testing.assert_allclose(volume.affine @ (*last, 1), (*ras, 1), atol=1e-4)
