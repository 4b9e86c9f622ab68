"""An organ, then what a second model finds inside it."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest

from LiverSegLib.boxes import grown
from LiverSegLib.engine.segmenter import Segmenter
from LiverSegLib.engine.two_step import read_mask, segment_within, segment_within_mask
from LiverSegLib.errors import InputError, ModelError, SegmentationCancelled
from LiverSegLib.request import Settings
from LiverSegLib.volume import Volume
from Testing.label_names import rename

MakePackage = Callable[..., Path]
RAW = Settings(largest_component=False, fill_holes=False, lesions_inside=False)
ROOT = Path(__file__).resolve().parents[2]
# 2 mm voxels; everything below is drawn with values that the threshold packages tell apart.
AFFINE = np.diag([-2.0, -2.0, 2.0, 1.0])


@pytest.fixture
def models(threshold_package: MakePackage) -> tuple[Segmenter, Segmenter]:
    """An organ model (above 100: lung) and a lesion model (above 200: tumor)."""
    organ = threshold_package(name="organ", labels=1)
    lesion = threshold_package(name="lesion", labels=2)
    rename(organ, {"1": "lung"})
    rename(lesion, {"1": "lung", "2": "tumor"})
    return Segmenter(organ, "cpu", RAW), Segmenter(lesion, "cpu", RAW)


@pytest.fixture
def case() -> Volume:
    """An organ of 150 with a lesion of 250 inside."""
    array = np.full((32, 32, 32), -100, np.float32)
    array[4:20, 6:26, 6:26] = 150
    array[8:12, 12:16, 12:16] = 250
    return Volume(array, AFFINE, "the case")


def far_lesion() -> tuple[slice, ...]:
    """Where some tests put a lesion outside the organ, 8 mm from it and more."""
    return slice(24, 29), slice(12, 17), slice(12, 17)


def organ_mask(case: Volume) -> npt.NDArray[np.bool_]:
    return np.asarray(case.array > 100)


def test_what_lies_outside_the_organ_is_removed(models: tuple[Segmenter, Segmenter], case: Volume) -> None:
    mask = organ_mask(case)
    case.array[far_lesion()] = 250
    _, lesion = models
    assert (lesion.segment(case).mask("tumor")[far_lesion()]).mean() > 0.5

    result = segment_within_mask(mask, lesion, case, "lung")

    assert [(label.value, label.name) for label in result.labels] == [(1, "lung"), (2, "tumor")]
    assert not result.labelmap[~mask].any()
    assert (result.labelmap[8:12, 12:16, 12:16] == 2).all()
    assert ((result.labelmap > 0) == mask).all()
    assert len(result.measurements.lesions) == 1
    assert result.measurements.volume_ml("tumor") == pytest.approx((result.labelmap == 2).sum() * 0.008)


def test_two_models_are_joined(models: tuple[Segmenter, Segmenter], case: Volume) -> None:
    organ, lesion = models
    stages: list[str] = []

    result = segment_within(organ, lesion, case, progress=lambda step: stages.append(step.stage))

    alone = organ.segment(case)
    assert ((result.labelmap > 0) == (alone.labelmap > 0)).all()
    assert (result.labelmap == 2).any()
    assert stages.count("measure") == 4
    assert stages[0] == "prepare"
    assert result.model == f"{lesion.package.title} within {organ.package.title}"
    assert result.timings["network"] > 0
    np.testing.assert_array_equal(result.affine, case.affine)


def test_a_margin_keeps_what_is_near(models: tuple[Segmenter, Segmenter], case: Volume) -> None:
    mask = organ_mask(case)
    case.array[far_lesion()] = 250
    _, lesion = models
    found = [segment_within_mask(mask, lesion, case, margin_mm=mm).labelmap[far_lesion()] for mm in (0, 6, 14, 40)]
    counts = [int((labels > 0).sum()) for labels in found]
    assert counts[0] == counts[1] == 0
    assert 0 < counts[2] < counts[3]


def test_growing_is_the_distance_between_voxel_centers() -> None:
    mask = np.zeros((15, 15, 15), bool)
    mask[7, 7, 7] = True
    spacing = (1.0, 2.0, 3.0)
    index = np.argwhere(np.ones_like(mask)).reshape(*mask.shape, 3)
    for margin in (0.0, 1.0, 2.5, 6.1):
        near = np.linalg.norm((index - 7) * spacing, axis=-1) <= margin
        np.testing.assert_array_equal(grown(mask, spacing, margin), near)
    assert not grown(np.zeros_like(mask), (1.0, 1.0, 1.0), 5.0).any()


def test_an_empty_organ_leaves_nothing_and_says_so(models: tuple[Segmenter, Segmenter], case: Volume) -> None:
    result = segment_within_mask(np.zeros(case.array.shape, bool), models[1], case, "lung", margin_mm=5)
    assert not result.labelmap.any()
    assert "No lung was found in the case, so nothing inside it was looked for." in result.warnings


def test_the_liver_of_a_model_of_both_is_taken_with_its_lesions(
    threshold_package: MakePackage, models: tuple[Segmenter, Segmenter], case: Volume
) -> None:
    liver = Segmenter(threshold_package(name="both"), "cpu", RAW)
    result = segment_within(liver, models[1], case)
    assert [label.name for label in result.labels] == ["liver", "lung", "tumor"]
    assert (result.labelmap[8:12, 12:16, 12:16] == 3).all()


def test_an_organ_that_the_model_lacks_is_one_sentence(models: tuple[Segmenter, Segmenter], case: Volume) -> None:
    organ, lesion = models
    with pytest.raises(ModelError, match="segments 2 things, none of which is the liver"):
        segment_within(lesion, organ, case)


def test_both_models_can_be_stopped(models: tuple[Segmenter, Segmenter], case: Volume) -> None:
    seen: list[Any] = []
    with pytest.raises(SegmentationCancelled):
        segment_within(*models, case, progress=seen.append, should_stop=lambda: len(seen) > 12)
    assert len(seen) == 13


def save(path: Path, array: npt.NDArray[Any], affine: npt.NDArray[np.float64] = AFFINE) -> Path:
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def test_a_mask_on_another_grid_is_one_sentence(case: Volume, tmp_path: Path) -> None:
    mask = organ_mask(case).astype(np.uint8)
    assert (read_mask(save(tmp_path / "same.nii.gz", mask), case) == organ_mask(case)).all()
    turned = AFFINE @ np.array([[0, -1, 0, 31], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    stored = mask[::-1].transpose(1, 0, 2)
    assert (read_mask(save(tmp_path / "turned.nii.gz", stored, turned), case) == organ_mask(case)).all()
    with pytest.raises(InputError, match=r"small\.nii\.gz has 32x32x30 voxels but the case 32x32x32; resample"):
        read_mask(save(tmp_path / "small.nii.gz", mask[:, :, :30]), case)
    moved = AFFINE.copy()
    moved[0, 3] = 5
    with pytest.raises(InputError, match="lies elsewhere in space than the case"):
        read_mask(save(tmp_path / "moved.nii.gz", mask, moved), case)


@pytest.mark.parametrize("kind", ["package", "label map"])
def test_the_command_line_segments_within(
    models: tuple[Segmenter, Segmenter], case: Volume, tmp_path: Path, kind: str
) -> None:
    organ, lesion = (str(model.package.path) for model in models)
    mask = organ_mask(case)
    image = save(tmp_path / "image.nii.gz", case.array)
    within = organ if kind == "package" else str(save(tmp_path / "organ.nii.gz", mask.astype(np.uint8)))
    command = [
        sys.executable, "-m", "LiverSegLib.cli", "segment", str(image), "-o", str(tmp_path / "out"), "--model", lesion,
        "--within", within, "--margin", "2", "--no-overlay", "--device", "cpu",
    ]  # fmt: skip
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "LIVERSEG_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with (tmp_path / "out" / "image_measurements.csv").open() as file:
        names = [row["name"] for row in csv.DictReader(file) if row["kind"] == "segment"]
    assert names == (["lung", "tumor"] if kind == "package" else ["organ", "lung", "tumor"])
