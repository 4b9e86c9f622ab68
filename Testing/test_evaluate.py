"""Evaluation: the same engine, references stored in another axis order, the tail test, the tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml

from LiverSegLib.engine.segmenter import Segmenter
from LiverSegLib.volume import Volume
from Training.alter import ALTERATIONS, altered
from Training.evaluate import LabelledVolume, dice, evaluate, load_cases, markdown, on_grid_of, summary
from Training.phantom import make_phantom
from Training.prepare import DataError


@pytest.fixture(scope="module")
def case() -> LabelledVolume:
    phantom = make_phantom(12, spacing=(5, 5, 5), phase="portal")
    return LabelledVolume("phantom", phantom.volume, phantom.labelmap > 0)


def test_dice_is_one_for_two_empty_masks() -> None:
    nothing = np.zeros((2, 2, 2), bool)
    assert dice(nothing, nothing) == 1.0
    assert dice(nothing, ~nothing) == 0.0


def test_a_label_stored_in_another_axis_order_is_turned() -> None:
    array = np.arange(24).reshape(2, 3, 4)
    volume = Volume(array, np.diag([2.0, 3, 4, 1]), "image")
    stored = nib.Nifti1Image(array.astype(np.int32), volume.affine)  # type: ignore[no-untyped-call]
    turned = stored.as_reoriented(np.array([[2, 1], [0, -1], [1, -1]]))  # type: ignore[no-untyped-call]
    label = Volume(np.asarray(turned.dataobj), turned.affine, "label")
    assert label.array.shape != array.shape
    assert np.array_equal(on_grid_of(volume, label), array)


@pytest.mark.parametrize("change", ["shape", "origin", "spacing"])
def test_a_label_on_another_grid_is_refused(change: str) -> None:
    volume = Volume(np.zeros((4, 4, 4)), np.eye(4), "image")
    affine = np.eye(4)
    if change == "origin":
        affine[0, 3] = 3
    if change == "spacing":
        affine = np.diag([1.5, 1, 1, 1])
    label = Volume(np.zeros((4, 4, 5 if change == "shape" else 4)), affine, "label")
    with pytest.raises(DataError, match="image"):
        on_grid_of(volume, label)


def test_every_alteration_keeps_image_and_reference_together(case: LabelledVolume) -> None:
    found = {other.name: other for other in altered(case)}
    assert len(found) == len(ALTERATIONS)
    plain = found["phantom, as it is"]
    assert plain.reference is not None
    for name, other in found.items():
        assert other.reference is not None
        assert other.volume.array.shape == other.reference.shape
        assert other.reference.any(), name
        if not name.endswith("as it is"):
            same = other.volume.array.shape == plain.volume.array.shape
            assert not same or not np.array_equal(other.volume.array, plain.volume.array), name


def test_alterations_are_the_same_twice(case: LabelledVolume) -> None:
    for one, two in zip(altered(case), altered(case), strict=True):
        assert np.array_equal(one.volume.array, two.volume.array), one.name


def test_scores_are_written_and_read_into_a_card(
    case: LabelledVolume, threshold_package: Callable[..., Path], tmp_path: Path
) -> None:
    segmenter = Segmenter(threshold_package(), "cpu")
    unlabelled = LabelledVolume("no reference", case.volume, None)
    scores = evaluate([case, unlabelled], segmenter, tmp_path, "title", "command")
    assert scores[0].dice is not None
    assert 0 <= scores[0].dice <= 1
    assert scores[1].dice is None
    assert (tmp_path / "phantom.png").is_file()
    written = json.loads((tmp_path / "scores.json").read_text())
    assert written["summary"]["dice_mean"] == pytest.approx(scores[0].dice)
    assert written["summary"]["cases"] == 1
    assert "| phantom |" in markdown(scores)
    assert summary([scores[1]]) == {}


def test_a_folder_without_a_listing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"dataset\.json"):
        next(load_cases(tmp_path, Path()))


def test_cases_come_from_a_yaml_list(case: LabelledVolume, tmp_path: Path) -> None:
    assert case.reference is not None
    for name, array in (("a", case.volume.array), ("b", case.reference.astype(np.uint8) * 5)):
        nib.save(nib.Nifti1Image(array, case.volume.affine), tmp_path / f"{name}.nii.gz")  # type: ignore[no-untyped-call, attr-defined]
    listing = tmp_path / "cases.yaml"
    listing.write_text(yaml.safe_dump([{"name": "one", "image": "a.nii.gz", "label": "b.nii.gz", "values": [5]}]))
    (loaded,) = load_cases(listing, tmp_path)
    assert loaded.reference is not None
    assert np.array_equal(loaded.reference, case.reference)
    listing.write_text(yaml.safe_dump([{"name": "one", "picture": "a.nii.gz"}]))
    with pytest.raises(DataError, match="not a list of cases"):
        next(load_cases(listing, tmp_path))
