"""From raw data to prepared cases: readers of every kind, the model's grid, the split, the folder."""

from __future__ import annotations

import errno
import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from LiverSegLib.engine.geometry import model_grid, to_model_grid
from LiverSegLib.errors import InputError
from LiverSegLib.io import read_slice
from LiverSegLib.io.grids import on_grid_of
from LiverSegLib.models.intensity import Normalize, ScalePercentiles
from LiverSegLib.phantom import make_phantom
from LiverSegLib.volume import Volume
from Training.__main__ import app
from Training.data.prepare import prepare
from Training.data.preprocess import convert
from Training.data.readers import Entry, RawCase, list_cases, load_index, prepared_cases
from Training.data.readers.templates import case_name, find
from Training.data.split import Division, divide
from Training.errors import DataError
from Training.recipe import Recipe, RecipeError, load_recipe
from Training.recipe.options import Split
from Training.recipe.sources import FilesSource, PhantomSource

LPS = np.diag([-2.0, -2.0, 3.0, 1.0])
VOLUMES = {
    "kind": "files",
    "name": "ct",
    "image": "{name}_ct.nii.gz",
    "masks": [{"path": "{name}_label.nii.gz", "values": {1: 1, 2: 2}}],
}
SMALL = [
    "preprocess.pixdim=[4, 4, 6]",
    "patch_size=[8, 8, 6]",
    "inference.roi_size=[8, 8, 6]",
    "sampling={}",
    "split={validation_fraction: 0.1}",
]

FLAT = ["spatial_dims=2", "patch_size=[8, 8]", "inference.roi_size=[-1, -1]", "preprocess.pixdim=[2, 2, -1]"]
NO_HU = "augment={contrast: 0, organ_contrast: 0, lesion: 0, mass: 0, fluid: 0, arms: 0, crop_field: 0}"


def save(path: Path, array: npt.NDArray[Any], affine: npt.NDArray[np.float64] = LPS) -> None:
    nib.save(nib.Nifti1Image(array, affine), path)


def volume(seed: int = 0) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint8]]:
    """A body with liver 1 and lesion 2 in air."""
    image = np.full((24, 20, 14), -1000, np.int16)
    image[6:18, 5:15] = np.random.default_rng(seed).integers(0, 100, (12, 10, 14))
    label = np.zeros(image.shape, np.uint8)
    label[8:14, 7:13, 3:10], label[9:12, 8:11, 4:8] = 1, 2
    return image, label


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for seed in range(5):
        image, label = volume(seed)
        save(folder / f"p{seed}_ct.nii.gz", image)
        save(folder / f"p{seed}_label.nii.gz", label)
    return folder


def recipe_of(*changes: str, source: dict[str, Any] | None = None) -> Recipe:
    sources = yaml.safe_dump([source or VOLUMES], default_flow_style=True, width=10**6)
    return load_recipe("liver3d_phantom", [f"sources={sources}", *SMALL, *changes])


def files(**keys: Any) -> FilesSource:
    return FilesSource(kind="files", name="source", **keys)


# --- templates


def test_a_field_matches_as_little_as_it_can_and_files_come_in_natural_order(tmp_path: Path) -> None:
    for name in ("a_1_slice10.dcm", "a_1_slice2.dcm", "b_slice1.dcm", ".b_slice3.dcm", "notes.txt"):
        (tmp_path / name).touch()
    found = list(find("{patient}_slice{number}.dcm", tmp_path, "test"))
    assert [fields for _, _, fields in found] == [
        {"patient": "a_1", "number": "2"},
        {"patient": "a_1", "number": "10"},
        {"patient": "b", "number": "1"},
    ]
    assert next(fields["number"] for _, _, fields in find("{a}_{number}.dcm", tmp_path, "test")) == "1_slice2"


def test_a_field_that_stands_twice_is_the_same_text_twice(tmp_path: Path) -> None:
    for path in ("p1/p1.png", "p1/p2.png"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    assert [text for _, text, _ in find("{name}/{name}.png", tmp_path, "test")] == ["p1/p1.png"]


def test_a_template_without_suffix_means_folders_where_there_are_any(tmp_path: Path) -> None:
    (tmp_path / "series1").mkdir()
    (tmp_path / "README").touch()
    assert [text for _, text, _ in find("{name}", tmp_path, "test")] == ["series1"]


@pytest.mark.parametrize(
    ("template", "text", "name"),
    [
        ("ct/{name}_ct.nii.gz", "ct/a_ct.nii.gz", "a"),
        ("images/{how}_{patient}_{slice}.jpg", "images/flipped_1_2.jpg", "flipped_1_2"),
        ("{patient}/t1/{slice}.png", "p1/t1/3.png", "p1_t1_3"),
    ],
)
def test_a_case_is_called_by_its_field_or_its_path(template: str, text: str, name: str, tmp_path: Path) -> None:
    (tmp_path / text).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / text).touch()
    _, _, fields = next(find(template, tmp_path, "test"))
    assert case_name(template, text, fields) == name


# --- readers


def picture(path: Path, array: npt.NDArray[Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(array).save(path)


def test_a_picture_lies_left_and_posterior_and_masks_beside_images_are_no_images(tmp_path: Path) -> None:
    gray = np.arange(12, dtype=np.uint8).reshape(3, 4)
    picture(tmp_path / "1.png", gray)
    picture(tmp_path / "1-mask.png", np.where(gray > 5, 255, 0).astype(np.uint8))
    (entry,) = list_cases(files(image="{name}.png", masks=[{"path": "{name}-mask.png", "above": 127}]), tmp_path)
    case = entry.load()
    assert (entry.name, entry.patient, case.spacing_told) == ("1", "source_1", False)
    assert np.array_equal(case.volume.array[..., 0], gray.T)
    assert np.array_equal(case.volume.affine, np.diag([-1, -1, 1, 1]))
    assert np.array_equal(case.label[..., 0], (gray.T > 5).astype(np.uint8))


def test_turned_slices_are_turned_back_and_gray_stands_for_the_window(tmp_path: Path) -> None:
    gray = np.array([[0, 51], [102, 255], [51, 2]], np.uint8)
    for how, axis in (("flipped", 1), ("mirrored", 0)):
        picture(tmp_path / f"{how}_7_1.png", np.flip(gray, axis))
        picture(tmp_path / f"m/{how}_7_1.png", np.flip(np.where(gray > 100, 255, 0).astype(np.uint8), axis))
    source = files(
        image="{how}_{patient}_{slice}.png",
        masks=[{"path": "m/{how}_{patient}_{slice}.png", "above": 127}],
        window=(0, 250),
        black=-100,
        rows="x",
        flip={"flipped": "y", "mirrored": "x"},
    )
    for entry in list_cases(source, tmp_path):
        case = entry.load()
        assert entry.patient == "source_7"
        assert np.allclose(case.volume.array[..., 0], [[-100, 50], [100, 250], [50, -100]])
        assert np.array_equal(case.label[..., 0], [[0, 0], [1, 1], [0, 0]])


def test_colors_of_an_image_become_their_luminance(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", np.full((4, 4, 3), (255, 0, 0), np.uint8))
    picture(tmp_path / "m/a.png", np.full((4, 4, 3), 255, np.uint8))
    (entry,) = list_cases(files(image="{name}.png", masks=[{"path": "m/{name}.png", "values": {255: 1}}]), tmp_path)
    case = entry.load()
    assert np.all(case.volume.array == 76)  # 0.299 * 255
    assert np.all(case.label == 1)


def test_left_and_right_masks_are_joined_and_the_later_wins(tmp_path: Path) -> None:
    picture(tmp_path / "i/a.png", np.arange(16, dtype=np.uint8).reshape(4, 4))
    left, right = np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8)
    left[:, :3], right[:, 2:] = 255, 255
    picture(tmp_path / "l/a.png", left)
    picture(tmp_path / "r/a.png", right)
    masks = [{"path": "l/{name}.png", "above": 127}, {"path": "r/{name}.png", "above": 127, "label": 2}]
    (entry,) = list_cases(files(image="i/{name}.png", masks=masks), tmp_path)
    assert np.array_equal(entry.load().label[:, 0, 0], [1, 1, 2, 2])


@pytest.mark.parametrize("axcodes", ["RAS", "LPS", "PIR", "SLA", "ALI"])
def test_a_mask_in_another_axis_order_is_turned_onto_its_image(axcodes: str, tmp_path: Path) -> None:
    image, label = volume()
    save(tmp_path / "a_ct.nii.gz", image)
    stored = nib.Nifti1Image(label, LPS)
    wanted = nib.orientations.axcodes2ornt(tuple(axcodes))
    turn = nib.orientations.ornt_transform(nib.orientations.io_orientation(LPS), wanted)
    nib.save(stored.as_reoriented(turn), tmp_path / "a_label.nii.gz")
    (entry,) = list_cases(FilesSource.model_validate(VOLUMES), tmp_path)
    assert np.array_equal(entry.load().label, label)


def test_a_mirrored_mask_is_another_grid() -> None:
    image, label = volume()
    mirrored = np.diag([2.0, -2.0, 3.0, 1.0])
    with pytest.raises(InputError, match="different grids"):
        on_grid_of(Volume(image, LPS, "image"), Volume(label, mirrored, "mask"))


def write_dicom(path: Path, pixels: npt.NDArray[np.uint16], **tags: Any) -> None:
    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = generate_uid()
    data = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    data.Rows, data.Columns = pixels.shape
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation, data.SamplesPerPixel = 15, 0, 1
    data.PhotometricInterpretation, data.Modality = "MONOCHROME2", "CT"
    for key, value in tags.items():
        setattr(data, key, value)
    data.PixelData = pixels.tobytes()
    path.parent.mkdir(exist_ok=True)
    pydicom.dcmwrite(path, data)


def test_a_dicom_slice_keeps_its_size_and_place_and_takes_a_picture_as_mask(tmp_path: Path) -> None:
    pixels = np.arange(20, dtype=np.uint16).reshape(4, 5)
    place: dict[str, Any] = {
        "PixelSpacing": [0.5, 0.75],
        "ImageOrientationPatient": [1, 0, 0, 0, -1, 0],
        "ImagePositionPatient": [10, 20, 30],
        "RescaleSlope": 2,
        "RescaleIntercept": -1000,
    }
    write_dicom(tmp_path / "p_1.dcm", pixels, **place)
    np.save(tmp_path / "p_1.npy", (pixels % 3).astype(np.int64))
    masks = [{"path": "{patient}_{n}.npy", "values": {1: 1, 2: 3}}]
    (entry,) = list_cases(files(image="{patient}_{n}.dcm", masks=masks), tmp_path)
    case = entry.load()
    assert case.spacing_told
    assert case.volume.modality == "CT"
    assert np.array_equal(case.volume.array[..., 0], 2.0 * pixels.T - 1000)
    assert np.allclose(case.volume.affine @ [1, 2, 0, 1], [-10.75, -19, 30, 1])  # x left 0.75, y anterior 2 * 0.5
    assert np.array_equal(case.label[..., 0], np.array([0, 1, 3])[pixels.T % 3])


def test_a_dicom_slice_that_tells_no_size_says_so(tmp_path: Path) -> None:
    write_dicom(tmp_path / "a.dcm", np.ones((4, 5), np.uint16))
    read, told = read_slice(tmp_path / "a.dcm")
    assert read.spacing == (1, 1, 1)
    assert not told


def dicom_series(folder: Path, slices: int) -> None:
    from pydicom.uid import generate_uid

    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    for k in range(slices):
        pixels = np.random.default_rng(k).integers(0, 100, (6, 8)).astype(np.uint16)
        write_dicom(
            folder / f"{k}.dcm",
            pixels,
            PixelSpacing=[0.5, 0.75],
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            ImagePositionPatient=[10, 20, 30 + 2 * k],
            SliceThickness=2,
            StudyInstanceUID=study,
            SeriesInstanceUID=series,
            FrameOfReferenceUID=frame,
            PatientID="p",
            PatientName="",
            PatientBirthDate="",
            PatientSex="",
            StudyID="",
            StudyDate="",
            StudyTime="",
            AccessionNumber="",
            InstanceNumber=k + 1,
            RescaleSlope=1,
            RescaleIntercept=0,
            ReferringPhysicianName="",
            Manufacturer="",
        )


def write_seg(path: Path, folder: Path, masks: npt.NDArray[np.uint8], names: list[str]) -> None:
    """A SEG of the slices of `folder`; masks [slice, row, column], an empty slice is left out of the file."""
    import highdicom as hd
    import pydicom
    from pydicom.sr.codedict import codes

    described = [
        hd.seg.SegmentDescription(
            number, name, codes.SCT.Organ, codes.SCT.Liver, hd.seg.SegmentAlgorithmTypeValues.MANUAL
        )
        for number, name in enumerate(names, 1)
    ]
    seg = hd.seg.Segmentation(
        [pydicom.dcmread(file) for file in sorted(folder.iterdir())],
        masks,
        hd.seg.SegmentationTypeValues.BINARY,
        described,
        hd.UID(),
        1,
        hd.UID(),
        1,
        "tests",
        "tests",
        "1",
        "1",
    )
    seg.save_as(path)


def seg_source() -> FilesSource:
    return files(image="series/{name}", masks=[{"path": "{name}.seg.dcm", "values": {1: 1, 2: 2}}])


def test_a_dicom_seg_of_some_slices_is_placed_on_its_series(tmp_path: Path) -> None:
    (tmp_path / "series").mkdir()
    dicom_series(tmp_path / "series/a", 6)
    masks = np.zeros((6, 6, 8), np.uint8)
    masks[2, 1:3, 4:7], masks[4, 5, 0] = 1, 2
    write_seg(tmp_path / "a.seg.dcm", tmp_path / "series/a", masks, ["liver", "tumor"])
    (entry,) = list_cases(seg_source(), tmp_path)
    assert np.array_equal(entry.load().label, masks.transpose(2, 1, 0))


def test_a_dicom_seg_of_one_slice_is_placed_on_its_series(tmp_path: Path) -> None:
    (tmp_path / "series").mkdir()
    dicom_series(tmp_path / "series/a", 3)
    masks = np.zeros((3, 6, 8), np.uint8)
    masks[1, 1:3, 4:7] = 1
    write_seg(tmp_path / "a.seg.dcm", tmp_path / "series/a", masks, ["liver"])
    (entry,) = list_cases(seg_source(), tmp_path)
    assert np.array_equal(entry.load().label, masks.transpose(2, 1, 0))


def test_a_dicom_seg_of_slices_that_the_series_lacks_is_refused(tmp_path: Path) -> None:
    (tmp_path / "series").mkdir()
    dicom_series(tmp_path / "series/a", 6)
    masks = np.ones((6, 6, 8), np.uint8)
    write_seg(tmp_path / "a.seg.dcm", tmp_path / "series/a", masks, ["liver"])
    for k in (0, 1):
        (tmp_path / f"series/a/{k}.dcm").unlink()
    (entry,) = list_cases(seg_source(), tmp_path)
    with pytest.raises(DataError, match=r"a\.seg\.dcm .* different grids") as caught:
        entry.load()
    assert caught.value.file == tmp_path / "a.seg.dcm"


def test_damaged_dicom_names_its_file(tmp_path: Path) -> None:
    masks = [{"path": "{name}.npy", "values": {1: 1}}]
    np.save(tmp_path / "a.npy", np.ones((4, 5), np.uint8))
    path = tmp_path / "a.dcm"
    write_dicom(path, np.ones((4, 5), np.uint16))
    whole = path.read_bytes()
    for content, words in ((whole[:-10], "truncated or has damaged pixel data"), (b"no DICOM", "damaged")):
        path.write_bytes(content)
        (entry,) = list_cases(files(image="{name}.dcm", masks=masks), tmp_path)
        with pytest.raises(DataError, match=words) as caught:
            entry.load()
        assert caught.value.file == path


def test_a_palette_mask_holds_its_indices(tmp_path: Path) -> None:
    picture(tmp_path / "i/a.png", np.arange(16, dtype=np.uint8).reshape(4, 4))
    indices = np.array([[0, 1], [2, 1]], np.uint8).repeat(2, 0).repeat(2, 1)
    mask = Image.fromarray(indices, "P")
    mask.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    (tmp_path / "m").mkdir()
    mask.save(tmp_path / "m/a.png")
    masks = [{"path": "m/{name}.png", "values": {1: 1, 2: 2}}]
    (entry,) = list_cases(files(image="i/{name}.png", masks=masks), tmp_path)
    assert np.array_equal(entry.load().label[..., 0], indices.T)


def test_a_phantom_of_a_source_is_the_one_of_its_seed_with_the_recipes_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    coarse = partial(make_phantom, spacing=(8.0, 8.0, 8.0))
    monkeypatch.setattr("LiverSegLib.phantom.make_phantom", coarse)
    source = PhantomSource(kind="phantom", count=2, seed=4, hard_fraction=0.0, labels={2: 1})
    case = list_cases(source, Path())[1].load()
    phantom = coarse(5, mass=False, ascites=False, arms=False, coverage="abdomen")
    assert np.array_equal(case.volume.array, phantom.volume.array)
    assert np.array_equal(case.label, phantom.labelmap == 2)


# --- conversion


def case_of(image: npt.NDArray[Any], label: npt.NDArray[np.uint8], told: bool = True) -> RawCase:
    return RawCase(Volume(image, LPS), label, told)


def test_the_image_is_what_inference_sees() -> None:
    image, label = volume()
    recipe = recipe_of()
    grid = model_grid(Volume(image, LPS), "LPS", (4.0, 4.0, 6.0))
    expected = to_model_grid(image, grid, "cpu")  # type: ignore[arg-type]
    prepared, mask = convert(case_of(image, label), recipe)
    assert prepared.dtype == np.int16
    assert np.array_equal(prepared, np.round(expected.numpy()).astype(np.int16))
    assert mask.shape == prepared.shape
    for normalize, transform in (("percentiles", ScalePercentiles(0.5, 99.5)), ("zscore", Normalize(nonzero=True))):
        changed = recipe_of(f"preprocess.normalize={normalize}", NO_HU)
        prepared, _ = convert(case_of(image, label), changed)
        assert prepared.dtype == np.float32
        assert np.allclose(prepared, transform(expected.clone()).numpy(), atol=1e-5)


def test_a_narrow_window_keeps_fractions() -> None:
    image, label = volume()
    fractions = image.astype(np.float32) / 1000
    prepared, _ = convert(case_of(fractions, label), recipe_of("preprocess.window=[0, 1]"))
    assert prepared.dtype == np.float32
    assert len(np.unique(prepared)) > 50


@pytest.mark.parametrize(("axcodes", "first"), [("LPS", (0, 0, 0)), ("RAS", (23, 19, 0))])
def test_a_label_smaller_than_the_grid_does_not_vanish(axcodes: str, first: tuple[int, ...]) -> None:
    image, label = volume()
    label[label == 2] = 1
    label[8, 7, 3] = 2
    recipe = recipe_of("preprocess.pixdim=[6, 6, 9]", f"preprocess.axcodes={axcodes}")
    _, mask = convert(case_of(image, label), recipe)
    at = np.argwhere(mask == 2)
    assert len(at) == 1
    distance = np.abs(at[0] * [6, 6, 9] - np.abs(np.array([8, 7, 3]) - first) * [2, 2, 3])
    assert np.all(distance <= [3, 3, 4.5])


def test_the_air_around_the_body_is_left_out() -> None:
    image, label = volume()
    keep = ["preprocess.pixdim=[-1, -1, -1]", "preprocess.crop_foreground=true"]
    prepared, mask = convert(case_of(image, label), recipe_of(*keep))
    assert prepared.shape == (12 + 2 * 4, 10 + 2 * 4, 14)  # a margin of 4 where there is one
    assert (mask > 0).sum() == (label > 0).sum()
    assert np.array_equal(prepared, image[2:22, 1:19])


def test_cases_are_cut_or_padded_around_their_middle() -> None:
    image, label = volume()
    keep = ["preprocess.pixdim=[-1, -1, -1]", "preprocess.crop_or_pad=[10, 30, -1]"]
    prepared, mask = convert(case_of(image, label), recipe_of(*keep))
    assert prepared.shape == mask.shape == (10, 30, 14)
    x, y = (image.shape[0] - 10) // 2, (30 - image.shape[1]) // 2
    inside = slice(y, y + image.shape[1])
    assert np.array_equal(prepared[:, inside], image[x : x + 10])
    assert np.array_equal(mask[:, inside], label[x : x + 10])
    assert set(np.unique(prepared[:, :y])) == {-1000}
    assert not mask[:, :y].any()


def test_a_slice_is_not_padded_to_a_volume() -> None:
    with pytest.raises(RecipeError, match="-1 for the third axis"):
        load_recipe("unet2d_bn", ["preprocess.crop_or_pad=[64, 64, 10]"])


def test_pictures_of_any_size_come_onto_the_size_that_the_recipe_names() -> None:
    image, label = volume()
    size = ["preprocess.pixdim=[-1, -1, -1]", "preprocess.size=[12, 10, -1]"]
    prepared, mask = convert(case_of(image, label, told=False), recipe_of(*size))
    assert prepared.shape == mask.shape == (12, 10, 14)


def test_a_picture_that_tells_no_size_is_not_resampled() -> None:
    image, label = volume()
    prepared, _ = convert(case_of(image, label, told=False), recipe_of())
    assert np.array_equal(prepared, image)


# --- the prepared folder


def test_the_prepared_folder_holds_everything(data: Path, tmp_path: Path) -> None:
    recipe = recipe_of()
    cases = prepare(recipe, data, tmp_path / "out").cases
    out = tmp_path / "out"
    names = {"recipe.yaml", "index.json", "split.json", "report.json", "report.md", "cases"}
    assert {path.name for path in out.iterdir()} == names
    assert load_recipe(out / "recipe.yaml") == recipe
    assert load_index(out, recipe) == cases
    assert [case.id for case in cases] == [f"ct_p{n}" for n in range(5)]
    for case in cases:
        image = np.load(out / f"cases/{case.id}_image.npy")
        label = np.load(out / f"cases/{case.id}_label.npy")
        assert (image.dtype, label.dtype, image.shape) == (np.int16, np.uint8, label.shape)
        assert case.voxels == np.bincount(label.ravel(), minlength=3).tolist()
        assert case.foreground == (label > 0).sum()
    report = json.loads((out / "report.json").read_text())
    tumor = report["statistics"]["ct"]["labels"]["tumor"]
    assert tumor == {"images": 5, "voxels": 5 * 36, "ml": [0.432, 0.432, 0.432]}
    assert report["statistics"]["ct"]["orientation"] == {"LPS": 5}
    assert "| ct | train | 4 | 4 | 4 | 0 |" in (out / "report.md").read_text()


def test_a_single_value_may_mean_background(data: Path, tmp_path: Path) -> None:
    source = {**VOLUMES, "masks": [{"path": "{name}_label.nii.gz", "values": {1: 1, 2: 0}}]}
    cases = prepare(recipe_of("labels={1: liver}", source=source), data, tmp_path / "out").cases
    _, label = volume()
    assert cases[0].voxels[1:] == [int(np.count_nonzero(np.load(tmp_path / "out/cases/ct_p0_label.npy") == 1))]
    _, raw = next(prepared_cases(tmp_path / "out", "all"))
    assert np.array_equal(raw.label, label == 1)


def test_slices_without_the_organ_are_a_source(data: Path, tmp_path: Path) -> None:
    image, _ = volume()
    save(data / "trunk.nii.gz", image)
    empty = {"kind": "empty", "name": "none", "image": "trunk.nii.gz", "slices": [2, 5]}
    sources = f"sources={json.dumps([VOLUMES, empty])}"
    flat = ["spatial_dims=2", "patch_size=[8, 8]", "inference.roi_size=[-1, -1]", "preprocess.pixdim=[2, 2, -1]"]
    cases = [c for c in prepare(recipe_of(*flat, sources), data, tmp_path / "out").cases if c.source == "none"]
    assert [case.id for case in cases] == ["none_none_000", "none_none_001", "none_none_002"]
    assert all(case.foreground == 0 and case.split == "train" for case in cases)
    assert np.array_equal(np.load(tmp_path / "out/cases/none_none_000_image.npy"), image[..., 2])
    beyond = f"sources={json.dumps([VOLUMES, {**empty, 'slices': [0, 999]}])}"
    with pytest.raises(DataError, match="999"):
        prepare(recipe_of(*flat, beyond), data, tmp_path / "out")


def test_a_2d_recipe_gets_the_slices_of_volumes(data: Path, tmp_path: Path) -> None:
    cases = prepare(recipe_of(*FLAT), data, tmp_path / "out").cases
    assert len(cases) == 5 * 14
    assert {case.volume for case in cases} == {f"ct_p{n}" for n in range(5)}
    assert cases[3].id == "ct_p0_003"
    image, label = volume(0)
    assert np.array_equal(np.load(tmp_path / "out/cases/ct_p0_003_image.npy"), image[..., 3])
    assert np.array_equal(np.load(tmp_path / "out/cases/ct_p0_003_label.npy"), label[..., 3])


def test_raw_cases_of_a_split_are_found_again(data: Path, tmp_path: Path) -> None:
    recipe = recipe_of()
    cases = prepare(recipe, data, tmp_path / "out").cases
    for split in ("train", "val"):
        found = list(prepared_cases(tmp_path / "out", split))
        assert [entry.patient for entry, _ in found] == [case.patient for case in cases if case.split == split]
        assert all(raw.volume.array.shape == raw.label.shape == (24, 20, 14) for _, raw in found)
    with pytest.raises(DataError, match="test"):
        next(prepared_cases(tmp_path / "out", "test"))


def test_raw_pictures_lie_on_the_grid_that_the_model_expects(tmp_path: Path) -> None:
    for n in range(3):
        picture(tmp_path / f"{n}.png", np.random.default_rng(n).integers(0, 255, (9, 9), dtype=np.uint8))
        picture(tmp_path / f"m/{n}.png", np.eye(9, dtype=np.uint8) * 255)
    source = {"kind": "files", "name": "x", "image": "{name}.png", "masks": [{"path": "m/{name}.png", "above": 9}]}
    recipe = recipe_of(
        "labels={1: liver}", "spatial_dims=2", "patch_size=[8, 8]", "inference.roi_size=[-1, -1]", source=source
    )
    prepare(recipe, tmp_path, tmp_path / "out")
    _, raw = next(prepared_cases(tmp_path / "out", "all"))
    assert raw.volume.spacing == (4, 4, 6)
    assert np.array_equal(raw.label[..., 0], np.eye(9))


def test_a_failure_leaves_the_earlier_folder_as_it_was(data: Path, tmp_path: Path) -> None:
    recipe, out = recipe_of(), tmp_path / "out"
    prepare(recipe, data, out)
    before = (out / "index.json").read_bytes()
    save(data / "p1_label.nii.gz", np.full((24, 20, 14), 9, np.uint8))
    with pytest.raises(DataError, match="label 9"):
        prepare(recipe, data, out)
    assert (out / "index.json").read_bytes() == before
    assert len(list((out / "cases").iterdir())) == 10
    assert {path.name for path in tmp_path.iterdir()} == {"data", "out", ".out-partial"}


def test_one_bad_case_costs_one_case(data: Path, tmp_path: Path) -> None:
    """What was converted is taken by the next try, except where a file or the grid has changed since."""
    out, good = tmp_path / "out", (data / "p1_label.nii.gz").read_bytes()
    save(data / "p1_label.nii.gz", np.full((24, 20, 14), 9, np.uint8))
    with pytest.raises(DataError, match="label 9"):
        prepare(recipe_of(), data, out)
    kept = tmp_path / ".out-partial" / "cases"
    written = {path.name: path.stat().st_mtime_ns for path in kept.iterdir()}
    assert len(written) == 8
    (kept / "ct_gone_image.npy").touch()
    (data / "p1_label.nii.gz").write_bytes(good)
    os.utime(data / "p2_label.nii.gz")
    cases = prepare(recipe_of(), data, out).cases
    assert load_index(out, recipe_of()) == cases
    again = {path.name: path.stat().st_mtime_ns for path in (out / "cases").iterdir()}
    assert len(again) == 10
    assert {name for name in written if again[name] != written[name]} == {"ct_p2_image.npy", "ct_p2_label.npy"}
    assert {path.name for path in tmp_path.iterdir()} == {"data", "out"}
    assert not (out / "done").exists()
    fresh = tmp_path / "fresh"
    assert prepare(recipe_of(), data, fresh).cases == cases
    for name in ("report.json", "index.json", "split.json", *(f"cases/{name}" for name in again)):
        assert (fresh / name).read_bytes() == (out / name).read_bytes(), name


def test_another_grid_takes_nothing_of_what_was_converted(data: Path, tmp_path: Path) -> None:
    good = (data / "p1_label.nii.gz").read_bytes()
    save(data / "p1_label.nii.gz", np.full((24, 20, 14), 9, np.uint8))
    with pytest.raises(DataError, match="label 9"):
        prepare(recipe_of(), data, tmp_path / "out")
    (data / "p1_label.nii.gz").write_bytes(good)
    coarse = recipe_of("preprocess.pixdim=[5, 5, 5]")
    prepare(coarse, data, tmp_path / "out")
    prepare(coarse, data, tmp_path / "fresh")
    for path in (tmp_path / "fresh" / "cases").iterdir():
        assert (tmp_path / "out" / "cases" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    "changes",
    [[], ["preprocess.crop_foreground=true"], ["preprocess.crop_or_pad=[9, 6, 4]"], FLAT],
    ids=["3d", "cropped", "cut", "2d"],
)
def test_a_check_tells_what_preparing_tells_without_resampling(
    changes: list[str], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from Training.data import prepare as module
    from Training.data import preprocess as conversion

    recipe = recipe_of(*changes)
    prepared = prepare(recipe, data, tmp_path / "out")

    def never(*_: Any) -> None:
        raise AssertionError("a check resampled an image")

    monkeypatch.setattr(conversion, "to_model_grid", never)
    checked = module.check(recipe, data)
    assert checked.counts() == prepared.counts()
    assert checked.findings == prepared.findings
    assert checked.facts == prepared.facts
    assert [case.id for case in checked.cases] == [case.id for case in prepared.cases]


def test_ctrl_c_leaves_no_half_folder(data: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int, name: str) -> None:
        assert (total, name) == (5, f"ct_p{done}")
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(recipe_of(), data, tmp_path / "out", stop)
    # The three that were converted wait for the next try.
    assert {path.name for path in tmp_path.iterdir()} == {"data", ".out-partial"}
    assert len(list((tmp_path / ".out-partial" / "cases").iterdir())) == 6
    assert len(prepare(recipe_of(), data, tmp_path / "out").cases) == 5
    assert {path.name for path in tmp_path.iterdir()} == {"data", "out"}


def test_a_full_disk_is_one_sentence(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(DataError, match=r"out cannot be written: the disk is full"):
        prepare(recipe_of(), data, tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"data"}


def test_a_folder_of_something_else_is_not_replaced(data: Path) -> None:
    with pytest.raises(DataError, match="no prepared folder"):
        prepare(recipe_of(), data, data)
    assert len(list(data.iterdir())) == 10


def test_a_file_in_the_way_is_one_sentence(data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        prepare(recipe_of(), data, tmp_path / "file/out")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"cases": 3}'])
def test_a_damaged_index_is_one_sentence(content: str, tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text(content)
    with pytest.raises(DataError, match="run prepare again"):
        load_index(tmp_path, recipe_of())


def test_data_prepared_for_other_labels_is_refused(data: Path, tmp_path: Path) -> None:
    prepare(recipe_of(), data, tmp_path / "out")
    with pytest.raises(DataError, match="labels"):
        load_index(tmp_path / "out", recipe_of("labels={1: liver, 2: cyst}"))


def test_the_next_fold_needs_no_new_preparation(data: Path, tmp_path: Path) -> None:
    prepare(recipe_of("split={folds: 5, fold: 0}"), data, tmp_path / "out")
    held_out = []
    for fold in range(5):
        recipe = recipe_of(f"split={{folds: 5, fold: {fold}}}")
        cases = load_index(tmp_path / "out", recipe)
        assert [case.split for case in cases].count("val") == 1
        held_out += [case.patient for case in cases if case.split == "val"]
        assert [entry.patient for entry, _ in prepared_cases(tmp_path / "out", "val", recipe)] == held_out[-1:]
    assert sorted(held_out) == [f"ct_p{n}" for n in range(5)]
    assert json.loads((tmp_path / "out/split.json").read_text())["folds"] == [[name] for name in held_out]


# --- the split


def patients(**counts: int) -> dict[str, list[str]]:
    return {source: [f"{source}_{n}" for n in range(count)] for source, count in counts.items()}


def in_part(division: Division, part: str) -> list[str]:
    return sorted(patient for patient, its in division.of.items() if its == part)


def sizes(split: Split, **counts: int) -> tuple[int, int, int]:
    division = divide(patients(**counts), split, 3, Path())
    assert sorted(division.of) == sorted(name for mine in patients(**counts).values() for name in mine)
    train, val, test = (len(in_part(division, name)) for name in ("train", "val", "test"))
    return train, val, test


def test_fractions_are_taken_of_each_source_and_two_patients_train() -> None:
    assert sizes(Split(validation_fraction=0.2), a=10, b=5, c=2) == (14, 3, 0)
    assert sizes(Split(validation_fraction=0.1, test_fraction=0.2), a=20) == (14, 2, 4)
    assert sizes(Split(validation_fraction=0.01), a=3) == (2, 1, 0)


def test_the_split_of_the_starter_stays() -> None:
    names = sorted(f"msd_slices_{n}" for n in range(96))
    expected = np.random.default_rng([7, 96]).permutation(names)[:12]
    split = load_recipe("liver2d_starter").split
    assert in_part(divide({"msd_slices": names}, split, 7, Path()), "val") == sorted(expected)


def test_counts_are_of_all_patients_and_the_rest_tests() -> None:
    assert sizes(Split(train=105, val=26), a=131) == (105, 26, 0)
    assert sizes(Split(train=5, val=2), a=6, b=4) == (5, 2, 3)
    assert sizes(Split(val=1), a=2) == (1, 1, 0)


def test_folds_take_turns_over_all_patients_and_leave_the_test_alone() -> None:
    seen: list[str] = []
    for fold in range(4):
        division = divide(patients(a=9, b=3), Split(folds=4, fold=fold, test_fraction=0.1), 0, Path())
        assert len(in_part(division, "test")) == 2
        seen += in_part(division, "val")
        assert division.folds[fold] == in_part(division, "val")
    assert len(seen) == len(set(seen)) == 10


def test_the_seed_decides_and_the_order_of_the_files_does_not() -> None:
    split = Split(validation_fraction=0.3)
    one = divide(patients(a=20), split, 0, Path()).of
    assert one == divide({"a": patients(a=20)["a"][::-1]}, split, 0, Path()).of
    assert one != divide(patients(a=20), split, 1, Path()).of


def test_a_written_split_is_read_again(tmp_path: Path) -> None:
    division = divide(patients(a=6, b=4), Split(validation_fraction=0.3), 0, tmp_path)
    division.write(tmp_path / "split.json", 0)
    assert divide(patients(a=6, b=4), Split(file="split.json"), 9, tmp_path).of == division.of


# --- the command


def run_prepare(data: Path, recipe: Recipe, *arguments: str) -> Any:
    path = data.parent / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    return CliRunner().invoke(app, ["prepare", str(path), "--data", str(data), *arguments])


def test_check_only_reports_and_writes_nothing(data: Path) -> None:
    before = set(data.parent.rglob("*"))
    result = run_prepare(data, recipe_of(), "--check-only", "-o", str(data.parent / "out"))
    assert result.exit_code == 0, result.output
    assert "train" in result.output
    assert set(data.parent.rglob("*")) - before == {data.parent / "recipe.yaml"}


def test_the_command_shows_all_findings_and_fails(data: Path) -> None:
    (data / "p1_label.nii.gz").unlink()
    save(data / "p2_label.nii.gz", np.full((24, 20, 14), 9, np.uint8))
    result = run_prepare(data, recipe_of(), "-o", str(data.parent / "out"))
    assert result.exit_code == 1
    output = result.output.replace("\n", "")
    assert "p1_label.nii.gz" in output
    assert "label 9" in output
    assert ".out-partial" in output
    assert not (data.parent / "out").exists()


def test_the_command_prepares(data: Path) -> None:
    out = data.parent / "out"
    result = run_prepare(data, recipe_of(), "-o", str(out))
    assert result.exit_code == 0, result.output
    assert len(load_index(out, recipe_of())) == 5


# --- real data


def load_all(source: FilesSource, data: Path) -> tuple[list[Entry], list[RawCase]]:
    entries = list_cases(source, data)
    return entries, [entry.load() for entry in entries]


def test_real_x_rays_are_read(shared_data: Path) -> None:
    source = files(image="xray/{name}.jpg", masks=[{"path": "xray/{name}-mask.png", "above": 127}])
    entries, cases = load_all(source, shared_data)
    assert [entry.name for entry in entries] == ["1", "2", "3", "4"]
    assert all(case.volume.array.shape == (512, 512, 1) for case in cases)
    assert all(0.1 < case.label.mean() < 0.5 for case in cases)


def test_real_mr_and_a_dicom_series_are_read(shared_data: Path) -> None:
    masks = [{"path": "mr/{name}_label.nii.gz", "values": {1: 1}}]
    assert len(list_cases(files(image="mr/{name}_image.nii.gz", masks=masks), shared_data)) == 4
    masks = [{"path": "dicom/{name}_multiorgan.nii.gz", "values": {5: 1}, "others": "background"}]
    _, (case,) = load_all(files(image="dicom/{name}", masks=masks), shared_data)
    assert case.volume.modality == "CT"
    # The labels are stored LAS, the series LPS; a liver is about 60 HU.
    assert 40 < case.volume.array[case.label > 0].mean() < 160


def test_a_real_dicom_seg_is_the_same_as_its_nrrd(shared_data: Path) -> None:
    labels = []
    for name in ("liver.dcm", "liver_seg.nrrd"):
        masks = [{"path": f"{{name}}-seg/{name}", "values": {1: 1}}]
        _, (case,) = load_all(files(image="{name}-seg/ct", masks=masks), shared_data)
        labels.append(case.label)
    assert labels[0].sum() > 10_000
    assert np.array_equal(labels[0], labels[1])


def test_real_dicom_slices_are_read(shared_data: Path) -> None:
    name = "{patient}_slice{slice}.dcm"
    masks = [{"path": f"slices-dicom/masks/{name}", "values": {6: 1}, "others": "background"}]
    entries, cases = load_all(files(image=f"slices-dicom/images/{name}", masks=masks), shared_data)
    assert {entry.patient for entry in entries} == {"source_amos_0001", "source_amos_0013"}
    assert sum(case.label.any() for case in cases) == 21
