"""Data sets that are wrong, each refused or reported by name before anything is trained."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
import yaml
from PIL import Image

from Training.data.findings import Finding
from Training.data.prepare import BadDataError, check, prepare
from Training.recipe import Recipe, load_recipe

AFFINE = np.diag([-2.0, -2.0, 3.0, 1.0])
SHAPE = (16, 14, 12)
VOLUMES = {
    "kind": "files",
    "name": "ct",
    "image": "ct/{name}_ct.nii.gz",
    "masks": [{"path": "ct/{name}_label.nii.gz", "values": {1: 1, 2: 2}}],
}
PICTURES = {
    "kind": "files",
    "name": "lungs",
    "image": "xray/{name}.png",
    "masks": [{"path": "xray/{name}-mask.png", "values": {128: 1, 255: 2}}],
}
MSD = {"kind": "msd", "name": "msd", "folder": "Task", "labels": {1: 1, 2: 2}}


def save(path: Path, array: npt.NDArray[Any], affine: npt.NDArray[np.float64] = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)


def ct(seed: int, shape: tuple[int, ...] = SHAPE) -> npt.NDArray[np.int16]:
    """Air around a body of 40 HU with noise."""
    image = np.random.default_rng(seed).normal(40, 20, shape)
    image[:2], image[-2:] = -1000, -1000
    return image.astype(np.int16)


def liver(shape: tuple[int, ...] = SHAPE) -> npt.NDArray[np.uint8]:
    """Liver 1 with a lesion 2."""
    label = np.zeros(shape, np.uint8)
    label[4:10, 4:10, 3:9] = 1
    label[5:8, 5:8, 4:7] = 2
    return label


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    """Four good CTs a to d; each test spoils them in one way."""
    for seed, name in enumerate("abcd"):
        save(tmp_path / f"ct/{name}_ct.nii.gz", ct(seed))
        save(tmp_path / f"ct/{name}_label.nii.gz", liver())
    return tmp_path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Four good pictures with masks."""
    folder = tmp_path / "xray"
    folder.mkdir()
    for seed, name in enumerate("abcd"):
        gray = np.random.default_rng(seed).integers(0, 255, (20, 24), dtype=np.uint8)
        mask = np.zeros((20, 24), np.uint8)
        mask[4:12, 4:12], mask[12:16, 4:12] = 128, 255
        Image.fromarray(gray).save(folder / f"{name}.png")
        Image.fromarray(mask).save(folder / f"{name}-mask.png")
    return tmp_path


@pytest.fixture
def msd(tmp_path: Path) -> Path:
    """A good folder of the Decathlon's layout."""
    training = []
    for seed, name in enumerate("abcd"):
        save(tmp_path / f"Task/imagesTr/{name}.nii.gz", ct(seed))
        save(tmp_path / f"Task/labelsTr/{name}.nii.gz", liver())
        training.append({"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"})
    (tmp_path / "Task/dataset.json").write_text(json.dumps({"training": training}))
    return tmp_path


def recipe_of(source: dict[str, Any], *changes: str, **keys: Any) -> Recipe:
    sources = yaml.safe_dump([{**source, **keys}], default_flow_style=True, width=10**6)
    flat = (
        []
        if source is not PICTURES
        else [
            "spatial_dims=2",
            "patch_size=[8, 8]",
            "inference.roi_size=[-1, -1]",
            "modality=DX",
            "preprocess={pixdim: [-1, -1, -1], normalize: percentiles}",
            "augment={contrast: 0, organ_contrast: 0, lesion: 0, mass: 0, fluid: 0, arms: 0, crop_field: 0}",
        ]
    )
    small = ["preprocess.pixdim=[2, 2, 3]", "patch_size=[8, 8, 8]", "inference.roi_size=[8, 8, 8]"]
    return load_recipe("liver3d_phantom", [f"sources={sources}", *small, *flat, *changes])


def findings(recipe: Recipe, data: Path, level: str = "error") -> list[Finding]:
    return [finding for finding in check(recipe, data).findings if finding.level == level]


def only(found: list[Finding], file: str, *words: str) -> None:
    """There is one finding, of this file, with these words."""
    assert [finding.file for finding in found] == [file], found
    for word in words:
        assert word in found[0].message


def test_good_data_has_no_findings(volumes: Path) -> None:
    assert check(recipe_of(VOLUMES), volumes).findings == []


def test_good_pictures_have_no_findings(pictures: Path) -> None:
    assert check(recipe_of(PICTURES), pictures).findings == []


def test_a_good_decathlon_folder_has_no_findings(msd: Path) -> None:
    assert check(recipe_of(MSD), msd).findings == []


# --- volumes: each entry spoils the data in one way, and names the file and words of the error


def missing_mask(data: Path) -> None:
    (data / "ct/b_label.nii.gz").unlink()


def other_shape(data: Path) -> None:
    save(data / "ct/b_label.nii.gz", liver((16, 14, 11)))


def shifted_label(data: Path) -> None:
    affine = AFFINE.copy()
    affine[2, 3] = 6.0
    save(data / "ct/b_label.nii.gz", liver(), affine)


def other_spacing(data: Path) -> None:
    save(data / "ct/b_label.nii.gz", liver(), np.diag([-2.0, -2.0, 2.5, 1.0]))


def label_seven(data: Path) -> None:
    label = liver()
    label[0, 0, 0] = 7
    save(data / "ct/b_label.nii.gz", label)


def broken_numbers_as_label(data: Path) -> None:
    save(data / "ct/b_label.nii.gz", liver().astype(np.float32) * 0.5)


def nan_in_label(data: Path) -> None:
    label = liver().astype(np.float32)
    label[0, 0, 0] = np.nan
    save(data / "ct/b_label.nii.gz", label)


def nan_in_image(data: Path) -> None:
    image = ct(1).astype(np.float32)
    image[3, 3, 3] = np.nan
    save(data / "ct/b_ct.nii.gz", image)


def constant_image(data: Path) -> None:
    save(data / "ct/b_ct.nii.gz", np.full(SHAPE, 7, np.int16))


def truncated_image(data: Path) -> None:
    path = data / "ct/b_ct.nii.gz"
    path.write_bytes(path.read_bytes()[:-200])


def truncated_label(data: Path) -> None:
    path = data / "ct/b_label.nii.gz"
    path.write_bytes(path.read_bytes()[:-20])


def empty_file(data: Path) -> None:
    (data / "ct/b_ct.nii.gz").write_bytes(b"")


def text_as_image(data: Path) -> None:
    (data / "ct/b_ct.nii.gz").write_text("not an image")


def four_dimensions(data: Path) -> None:
    save(data / "ct/b_ct.nii.gz", np.stack([ct(1)] * 2, axis=-1))


def two_dimensions(data: Path) -> None:
    save(data / "ct/b_ct.nii.gz", ct(1)[:, :, 0])


def singular_affine(data: Path) -> None:
    affine = np.array([[2.0, 2, 0, 0], [0, 0, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1]])
    image = nib.Nifti1Image(ct(1), affine)
    nib.save(image, data / "ct/b_ct.nii.gz")


@pytest.mark.parametrize(
    ("spoil", "file", "words"),
    [
        (missing_mask, "ct/b_label.nii.gz", "no mask"),
        (other_shape, "ct/b_label.nii.gz", "different grids"),
        (shifted_label, "ct/b_label.nii.gz", "different grids"),
        (other_spacing, "ct/b_label.nii.gz", "not the same grid"),
        (label_seven, "ct/b_label.nii.gz", "label 7"),
        (broken_numbers_as_label, "ct/b_label.nii.gz", "whole numbers"),
        (nan_in_label, "ct/b_label.nii.gz", "whole numbers"),
        (nan_in_image, "ct/b_ct.nii.gz", "NaN"),
        (constant_image, "ct/b_ct.nii.gz", "constant"),
        (truncated_image, "ct/b_ct.nii.gz", "damaged"),
        (truncated_label, "ct/b_label.nii.gz", "damaged"),
        (empty_file, "ct/b_ct.nii.gz", "empty"),
        (text_as_image, "ct/b_ct.nii.gz", "damaged"),
        (four_dimensions, "ct/b_ct.nii.gz", "4D"),
        (two_dimensions, "ct/b_ct.nii.gz", "2D"),
        (singular_affine, "ct/b_ct.nii.gz", "affine"),
    ],
)
def test_a_bad_volume_is_refused_by_name(volumes: Path, spoil: Callable[[Path], None], file: str, words: str) -> None:
    spoil(volumes)
    only(findings(recipe_of(VOLUMES), volumes), file, words)


def test_everything_wrong_is_told_at_once_and_no_folder_is_made(volumes: Path) -> None:
    label_seven(volumes)
    (volumes / "ct/c_label.nii.gz").unlink()
    with pytest.raises(BadDataError, match=r"2 errors.*label 7.*c_label") as caught:
        prepare(recipe_of(VOLUMES), volumes, volumes / "out")
    assert {finding.file for finding in caught.value.report.errors} == {"ct/b_label.nii.gz", "ct/c_label.nii.gz"}
    assert sorted(path.name for path in volumes.iterdir()) == [".out-partial", "ct"]


def test_a_mask_without_an_image_is_told(volumes: Path) -> None:
    (volumes / "ct/b_ct.nii.gz").unlink()
    only(findings(recipe_of(VOLUMES), volumes, "warning"), "ct/b_label.nii.gz", "without an image")


def test_an_empty_label_is_told(volumes: Path) -> None:
    save(volumes / "ct/b_label.nii.gz", np.zeros(SHAPE, np.uint8))
    only(findings(recipe_of(VOLUMES), volumes, "warning"), "ct/b_ct.nii.gz", "empty")


def test_a_label_that_no_case_has_is_refused(volumes: Path) -> None:
    for name in "abcd":
        save(volumes / f"ct/{name}_label.nii.gz", (liver() > 0).astype(np.uint8))
    only(findings(recipe_of(VOLUMES), volumes), "", "No case has tumor")


def test_a_label_that_no_training_case_has_is_refused(volumes: Path) -> None:
    (volumes / "split.json").write_text(json.dumps({"train": ["a", "b", "c"], "val": ["d"]}))
    for name in "abc":
        save(volumes / f"ct/{name}_label.nii.gz", (liver() > 0).astype(np.uint8))
    only(findings(recipe_of(VOLUMES, "split={file: split.json}"), volumes), "", "No training case has tumor")


def test_the_same_image_twice_is_told(volumes: Path) -> None:
    (volumes / "split.json").write_text(json.dumps({"train": ["a", "b", "c"], "val": ["d"]}))
    # The same values as another type, in another order in memory.
    save(volumes / "ct/b_ct.nii.gz", np.asfortranarray(ct(0).astype(np.float32)))
    found = findings(recipe_of(VOLUMES, "split={file: split.json}"), volumes, "warning")
    only(found, "ct/b_ct.nii.gz", "the same as ct/a_ct.nii.gz")


def test_the_same_image_on_both_sides_of_the_split_is_a_leak(volumes: Path) -> None:
    (volumes / "split.json").write_text(json.dumps({"train": ["a", "b", "c"], "val": ["d"]}))
    save(volumes / "ct/d_ct.nii.gz", ct(0))
    found = findings(recipe_of(VOLUMES, "split={file: split.json}"), volumes)
    only(found, "ct/d_ct.nii.gz", "in val", "ct/a_ct.nii.gz, in train")


def test_the_same_image_stored_in_another_orientation_is_a_leak(volumes: Path) -> None:
    (volumes / "split.json").write_text(json.dumps({"train": ["a", "b", "c"], "val": ["d"]}))
    image = nib.load(volumes / "ct/a_ct.nii.gz")
    for part in ("ct", "label"):
        stored = nib.load(volumes / f"ct/a_{part}.nii.gz")
        turned = stored.as_reoriented(np.array([[2, 1], [0, -1], [1, -1]]))
        nib.save(turned, volumes / f"ct/d_{part}.nii.gz")
    assert nib.load(volumes / "ct/d_ct.nii.gz").shape != image.shape
    found = findings(recipe_of(VOLUMES, "split={file: split.json}"), volumes)
    only(found, "ct/d_ct.nii.gz", "in val", "ct/a_ct.nii.gz, in train")


def test_a_sheared_grid_is_told(volumes: Path) -> None:
    tilted = np.diag([-2.0, -2.0, 3.0, 1.0])
    tilted[1, 2] = 3 * np.tan(np.radians(12))
    save(volumes / "ct/b_ct.nii.gz", ct(1), tilted)
    save(volumes / "ct/b_label.nii.gz", liver(), tilted)
    only(findings(recipe_of(VOLUMES), volumes, "warning"), "ct/b_ct.nii.gz", "sheared by 12 degrees")


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
@pytest.mark.parametrize("target", ["../elsewhere.nii.gz", "b_ct.nii.gz"], ids=["dangling", "loop"])
def test_an_image_that_is_a_link_to_nowhere_is_refused(target: str, volumes: Path) -> None:
    (volumes / "ct/b_ct.nii.gz").unlink()
    (volumes / "ct/b_ct.nii.gz").symlink_to(target)
    only(findings(recipe_of(VOLUMES), volumes), "ct/b_ct.nii.gz", "b_ct.nii.gz")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"train": ["a", "b", "d"], "val": ["c", "d"]}, "patient d in train and in val"),
        ({"train": ["a", "b", "c"], "val": ["d", "e"]}, "patient e, who is not in the data"),
        ({"train": ["a", "b"], "val": ["d"]}, "leaves out the patients ct_c"),
        ({"train": 3}, "no JSON file with lists"),
    ],
)
def test_a_bad_split_file_is_refused(volumes: Path, content: dict[str, Any], words: str) -> None:
    (volumes / "split.json").write_text(json.dumps(content))
    only(findings(recipe_of(VOLUMES, "split={file: split.json}"), volumes), "split.json", words)


def test_a_missing_split_file_is_named(volumes: Path) -> None:
    only(findings(recipe_of(VOLUMES, "split={file: mine.json}"), volumes), "mine.json", "mine.json")


def test_a_set_of_one_case_is_refused(volumes: Path) -> None:
    for name in "bcd":
        (volumes / f"ct/{name}_ct.nii.gz").unlink()
        (volumes / f"ct/{name}_label.nii.gz").unlink()
    only(findings(recipe_of(VOLUMES), volumes), "", "one patient only")


def test_an_empty_validation_is_refused(volumes: Path) -> None:
    only(findings(recipe_of(VOLUMES, "split={validation_fraction: 0}"), volumes), "", "left for val")


def test_an_empty_training_is_refused(volumes: Path) -> None:
    assert "left for train" in findings(recipe_of(VOLUMES, "split={val: 4}"), volumes)[0].message


def test_more_patients_asked_for_than_there_are_is_refused(volumes: Path) -> None:
    only(findings(recipe_of(VOLUMES, "split={train: 105, val: 26}"), volumes), "", "105", "there are 4")


def test_more_folds_than_patients_are_refused(volumes: Path) -> None:
    only(findings(recipe_of(VOLUMES, "split={folds: 5}"), volumes), "", "only 4 patients")


def test_an_excluded_case_that_is_not_there_is_refused(volumes: Path) -> None:
    only(findings(recipe_of(VOLUMES, exclude=["z"]), volumes), "", "excludes z")


def test_what_the_recipe_excludes_is_in_the_report(volumes: Path) -> None:
    label_seven(volumes)
    prepare(recipe_of(VOLUMES, exclude=["b"]), volumes, volumes / "out")
    assert json.loads((volumes / "out/report.json").read_text())["excluded"] == {"ct": ["b"]}
    assert "Left out of ct by the recipe: b" in (volumes / "out/report.md").read_text()


def test_a_folder_without_a_case_is_refused(volumes: Path) -> None:
    source = {**VOLUMES, "image": "ct/{name}.nrrd"}
    assert "holds no case" in findings(recipe_of(source), volumes)[0].message


def test_a_missing_folder_is_named(volumes: Path) -> None:
    source = {**VOLUMES, "image": "mri/{name}.nrrd"}
    only(findings(recipe_of(source), volumes), "mri", "--data")


@pytest.mark.parametrize("image", ["../ct/{name}_ct.nii.gz", "/etc/{name}"])
def test_a_path_that_leaves_the_data_is_refused(volumes: Path, image: str) -> None:
    assert "leaves" in findings(recipe_of({**VOLUMES, "image": image}), volumes)[0].message


def test_two_cases_of_one_name_are_refused(volumes: Path) -> None:
    entry = {"image": "Task/imagesTr/a.nii.gz", "label": "Task/labelsTr/a.nii.gz"}
    (volumes / "Task").mkdir()
    (volumes / "Task/dataset.json").write_text(json.dumps({"training": [entry, entry]}))
    found = findings(recipe_of(MSD), volumes)
    assert "both called a" in found[0].message


def test_values_that_are_no_hu_are_told(volumes: Path) -> None:
    save(volumes / "ct/b_ct.nii.gz", np.clip(ct(1) + 1024, 0, None))
    only(findings(recipe_of(VOLUMES), volumes, "warning"), "ct/b_ct.nii.gz", "HU")


def test_a_label_in_air_is_told(volumes: Path) -> None:
    label = np.zeros(SHAPE, np.uint8)
    label[:2] = 1
    save(volumes / "ct/b_label.nii.gz", label)
    only(findings(recipe_of(VOLUMES), volumes, "warning"), "ct/b_ct.nii.gz", "100% of the label lies in air")


def test_an_inverted_mask_is_told(volumes: Path) -> None:
    label = np.ones(SHAPE, np.uint8)
    label[8, 8, 8] = 0
    save(volumes / "ct/b_label.nii.gz", label)
    only(findings(recipe_of(VOLUMES), volumes, "warning"), "ct/b_ct.nii.gz", "inverted")


def test_an_odd_orientation_is_told(volumes: Path) -> None:
    turned = np.diag([2.0, -2.0, 3.0, 1.0])
    save(volumes / "ct/b_ct.nii.gz", ct(1), turned)
    save(volumes / "ct/b_label.nii.gz", liver(), turned)
    found = findings(recipe_of(VOLUMES), volumes, "warning")
    only(found, "", "3 LPS", "1 RPS", "ct/b_ct.nii.gz")


def test_an_odd_spacing_is_told(volumes: Path) -> None:
    wide = np.diag([-2.0, -2.0, 30.0, 1.0])
    save(volumes / "ct/b_ct.nii.gz", ct(1), wide)
    save(volumes / "ct/b_label.nii.gz", liver(), wide)
    found = findings(recipe_of(VOLUMES), volumes, "warning")
    assert {finding.file for finding in found} == {"ct/b_ct.nii.gz"}
    assert any("30 mm" in finding.message for finding in found)
    assert any("far from the others" in finding.message for finding in found)


def test_a_patch_larger_than_every_case_is_told(volumes: Path) -> None:
    found = findings(recipe_of(VOLUMES, "patch_size=[8, 8, 16]"), volumes, "warning")
    only(found, "", "patch_size 16", "axis 2 (12)")


# --- pictures


def truncated_picture(data: Path) -> None:
    path = data / "xray/b.png"
    path.write_bytes(path.read_bytes()[:60])


def mask_of_another_size(data: Path) -> None:
    Image.fromarray(np.full((24, 20), 128, np.uint8)).save(data / "xray/b-mask.png")


def color_mask(data: Path) -> None:
    mask = np.zeros((20, 24, 3), np.uint8)
    mask[4:12, 4:12, 0] = 255
    Image.fromarray(mask).save(data / "xray/b-mask.png")


def gray_edges_in_the_mask(data: Path) -> None:
    mask = np.zeros((20, 24), np.uint8)
    mask[4:12, 4:12] = 77
    Image.fromarray(mask).save(data / "xray/b-mask.png")


@pytest.mark.parametrize(
    ("spoil", "file", "words"),
    [
        (truncated_picture, "xray/b.png", "damaged"),
        (mask_of_another_size, "xray/b-mask.png", "20x24x1, its image b.png of 24x20x1"),
        (color_mask, "xray/b-mask.png", "color picture"),
        (gray_edges_in_the_mask, "xray/b-mask.png", "label 77"),
    ],
)
def test_a_bad_picture_is_refused_by_name(pictures: Path, spoil: Callable[[Path], None], file: str, words: str) -> None:
    spoil(pictures)
    only(findings(recipe_of(PICTURES), pictures), file, words)


def lossy(pictures: Path, levels: tuple[int, ...], values: dict[int, int]) -> list[Finding]:
    """The errors of pictures whose masks are JPEGs of these gray levels."""
    for name in "abcd":
        mask = np.kron(np.array([levels]), np.ones((16, 16))).astype(np.uint8)
        Image.fromarray(mask).save(pictures / f"xray/{name}-mask.jpg", quality=90)
        gray = np.random.default_rng(ord(name)).integers(0, 255, mask.shape, dtype=np.uint8)
        Image.fromarray(gray).save(pictures / f"xray/{name}.png")
        (pictures / f"xray/{name}-mask.png").unlink()
    return findings(recipe_of(PICTURES, masks=[{"path": "xray/{name}-mask.jpg", "values": values}]), pictures)


def test_a_jpeg_mask_of_clear_levels_is_read(pictures: Path) -> None:
    assert lossy(pictures, (0, 120, 240), {120: 1, 240: 2}) == []


def test_a_jpeg_mask_whose_levels_are_too_close_is_refused(pictures: Path) -> None:
    found = lossy(pictures, (0, 1, 2), {1: 1, 2: 2})
    assert [finding.file for finding in found] == [f"xray/{name}-mask.jpg" for name in "abcd"]
    assert "save the mask as PNG" in found[0].message


def test_a_jpeg_mask_of_other_levels_is_refused(pictures: Path) -> None:
    found = lossy(pictures, (0, 60, 240), {120: 1, 240: 2})
    assert "33% of the pixels are far from the recipe's levels 0, 120, 240" in found[0].message


def arrays(pictures: Path, mask: npt.NDArray[Any]) -> list[Finding]:
    """The errors of pictures of which one has this array as mask."""
    for name in "abcd":
        good = np.zeros((20, 24), np.uint8)
        good[2:8, 2:8], good[10:12, 2:8] = 1, 2
        np.save(pictures / f"xray/{name}.npy", mask if name == "b" else good, allow_pickle=True)
        (pictures / f"xray/{name}-mask.png").unlink()
    masks = [{"path": "xray/{name}.npy", "values": {1: 1, 2: 2}}]
    return findings(recipe_of(PICTURES, masks=masks), pictures)


def test_an_array_of_objects_is_never_unpickled(pictures: Path) -> None:
    only(arrays(pictures, np.array([{"a": 1}], dtype=object)), "xray/b.npy", "no plain .npy array")


def test_an_array_of_three_dimensions_is_no_mask(pictures: Path) -> None:
    only(arrays(pictures, np.zeros((3, 20, 24), np.uint8)), "xray/b.npy", "3x20x24")


# --- Decathlon folders


def test_an_image_that_the_list_names_must_be_there(msd: Path) -> None:
    (msd / "Task/imagesTr/b.nii.gz").unlink()
    only(findings(recipe_of(MSD), msd), "Task/imagesTr/b.nii.gz", "does not exist")


def test_a_label_that_the_list_names_must_be_there(msd: Path) -> None:
    (msd / "Task/labelsTr/b.nii.gz").unlink()
    only(findings(recipe_of(MSD), msd), "Task/labelsTr/b.nii.gz", "does not exist")


def test_an_image_that_the_list_forgets_is_told(msd: Path) -> None:
    save(msd / "Task/imagesTr/e.nii.gz", ct(8))
    only(findings(recipe_of(MSD), msd, "warning"), "Task/imagesTr/e.nii.gz", "not listed")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "no readable dataset.json"),
        ('{"training": []}', "empty training list"),
        ('{"training": ["a.nii.gz"]}', "without an image and a label"),
        ('{"training": [{"image": "../secret.nii.gz", "label": "b.nii.gz"}]}', "leaves"),
        ('{"training": [{"image": "/etc/passwd", "label": "b.nii.gz"}]}', "leaves"),
    ],
)
def test_a_bad_list_is_refused(msd: Path, content: str, words: str) -> None:
    (msd / "Task/dataset.json").write_text(content)
    found = findings(recipe_of(MSD), msd)
    assert words in found[0].message
    assert "dataset.json" in found[0].message


def test_a_folder_of_nnunet_2_is_refused_with_what_to_write_instead(msd: Path) -> None:
    for seed, name in enumerate("abcd"):
        save(msd / f"Task/imagesTr/{name}_0000.nii.gz", ct(seed))
        (msd / f"Task/imagesTr/{name}.nii.gz").unlink()
    content = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "liver": 1, "tumor": 2},
        "numTraining": 4,
        "file_ending": ".nii.gz",
    }
    (msd / "Task/dataset.json").write_text(json.dumps(content))
    found = findings(recipe_of(MSD), msd)
    only(found, "Task/dataset.json", "nnU-Net version 2", "kind: nnunet", "labels: {liver: 1}")
    # What the sentence says to write does read the folder.
    (folder,) = re.findall(r"'([^']+)'", found[0].message)
    source = {"kind": "nnunet", "name": "ct", "folder": folder, "labels": {"liver": 1, "tumor": 2}}
    assert findings(recipe_of(source), msd) == []
