"""Data sets as others lay them out: nnU-Net version 2, one file a structure, BIDS; from files to a training batch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
import yaml
from PIL import Image

from Training.data.prepare import BadDataError, prepare
from Training.data.readers import list_cases, survey
from Training.errors import DataError
from Training.fit.batches import CaseData
from Training.recipe import Recipe, load_recipe
from Training.recipe.sources import IGNORE, BidsSource, NnunetSource, TotalSegmentatorSource

LPS = np.diag([-2.0, -2.0, 3.0, 1.0])
NO_HU = "augment={contrast: 0, organ_contrast: 0, lesion: 0, mass: 0, fluid: 0, arms: 0, crop_field: 0}"
SMALL = [
    "preprocess.pixdim=[4, 4, 6]",
    "patch_size=[8, 8, 8]",
    "inference.roi_size=[8, 8, 8]",
    "sampling={}",
    "split={validation_fraction: 0.3}",
    "optimization.batch_size=2",
]
SHAPE = (24, 20, 14)


def save(path: Path, array: npt.NDArray[Any], affine: npt.NDArray[np.float64] = LPS) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)


def ct(seed: int) -> npt.NDArray[np.int16]:
    image = np.full(SHAPE, -1000, np.int16)
    image[6:18, 5:15] = np.random.default_rng(seed).integers(0, 100, (12, 10, 14))
    return image


def drawn() -> npt.NDArray[np.uint8]:
    """Liver 1 with a lesion 2."""
    label = np.zeros(SHAPE, np.uint8)
    label[8:14, 7:13, 3:10], label[9:12, 8:11, 4:8] = 1, 2
    return label


def recipe_of(source: dict[str, Any], *changes: str) -> Recipe:
    text = yaml.safe_dump([source], default_flow_style=True, width=10**6, sort_keys=False)
    return load_recipe("liver3d_phantom", [f"sources={text}", *SMALL, *changes])


def batch_of(recipe: Recipe, data: Path, out: Path) -> dict[str, Any]:
    """The first training batch of what was prepared."""
    prepare(recipe, data, out)
    return next(iter(CaseData(recipe, out, workers=0).train_dataloader()))


def nnunet(folder: Path, labels: dict[str, Any], channels: dict[str, str] | None = None, **more: Any) -> Path:
    """A raw folder of five cases."""
    channels = channels or {"0": "CT"}
    for seed in range(5):
        for number in range(len(channels)):
            save(folder / f"imagesTr/liver_{seed}_{number:04d}.nii.gz", ct(10 * number + seed))
        save(folder / f"labelsTr/liver_{seed}.nii.gz", drawn())
    content = {"channel_names": channels, "labels": labels, "numTraining": 5, "file_ending": ".nii.gz", **more}
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


NNUNET: dict[str, Any] = {
    "kind": "nnunet",
    "name": "raw",
    "folder": "Dataset001_Liver",
    "labels": {"liver": 1, "tumor": 2},
}


def test_a_raw_folder_of_nnunet_is_trained_on(tmp_path: Path) -> None:
    nnunet(tmp_path / "Dataset001_Liver", {"background": 0, "liver": 1, "tumor": 2})
    recipe = recipe_of(NNUNET)
    assert [entry.name for entry in list_cases(recipe.sources[0], tmp_path)] == [f"liver_{n}" for n in range(5)]
    batch = batch_of(recipe, tmp_path, tmp_path / "out")
    assert batch["image"].shape == batch["label"].shape == (2, 1, 8, 8, 8)
    assert set(batch["label"].unique().tolist()) <= {0, 1, 2}
    by_value = recipe_of({**NNUNET, "labels": {1: 1, 2: 1}}, "labels={1: liver}")
    prepared = prepare(by_value, tmp_path, tmp_path / "joined")
    assert prepared.facts[0].voxels[1] == np.count_nonzero(drawn())


def test_what_nnunet_ignores_is_ignored(tmp_path: Path) -> None:
    nnunet(tmp_path / "Dataset001_Liver", {"background": 0, "liver": 1, "ignore": 2})
    recipe = recipe_of({**NNUNET, "labels": {"liver": 1}}, "labels={1: liver}")
    raw = list_cases(recipe.sources[0], tmp_path)[0].load()
    assert np.array_equal(raw.label == IGNORE, drawn() == 2)
    assert (raw.label == 1).sum() == (drawn() == 1).sum()


def test_cases_that_dataset_json_lists_are_taken_as_listed(tmp_path: Path) -> None:
    folder = nnunet(tmp_path / "Dataset001_Liver", {"background": 0, "liver": 1, "tumor": 2})
    cases = {"one": {"images": ["imagesTr/liver_3_0000.nii.gz"], "label": "labelsTr/liver_3.nii.gz"}}
    content = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps({**content, "dataset": cases}))
    (entry,) = list_cases(NnunetSource(**NNUNET), tmp_path)
    assert (entry.name, entry.image) == ("one", folder / "imagesTr/liver_3_0000.nii.gz")
    cases["one"]["label"] = "../../elsewhere.nii.gz"
    (folder / "dataset.json").write_text(json.dumps({**content, "dataset": cases}))
    with pytest.raises(DataError, match="leaves"):
        survey(NnunetSource(**NNUNET), tmp_path)


def test_pictures_of_a_raw_folder_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "Dataset001_Liver"
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    gray = np.random.default_rng(0).integers(0, 255, (20, 24)).astype(np.uint8)
    Image.fromarray(gray).save(folder / "imagesTr/a_0000.png")
    Image.fromarray((gray > 99).astype(np.uint8)).save(folder / "labelsTr/a.png")
    content = {"channel_names": {"0": "gray"}, "labels": {"background": 0, "liver": 1}, "file_ending": ".png"}
    (folder / "dataset.json").write_text(json.dumps(content))
    raw = list_cases(NnunetSource(**{**NNUNET, "labels": {"liver": 1}}), tmp_path)[0].load()
    assert not raw.spacing_told
    assert np.array_equal(raw.volume.array[..., 0].T, gray)
    assert np.array_equal(raw.label[..., 0].T, gray > 99)


@pytest.mark.parametrize(
    ("labels", "change", "words"),
    [
        ({"background": 0, "whole": [1, 2], "tumor": 2}, {"labels": {"whole": 1}}, "regions overlap"),
        ({"background": 0, "liver": 1, "tumor": 2}, {"labels": {"spleen": 1}}, "no label spleen"),
        ({"background": 0, "liver": 1, "tumor": 2}, {"channels": ["MR"]}, "no channel MR"),
    ],
)
def test_a_raw_folder_that_lacks_what_the_source_names(
    labels: dict[str, Any], change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    nnunet(tmp_path / "Dataset001_Liver", labels)
    with pytest.raises(DataError, match=words):
        survey(NnunetSource(**{**NNUNET, **change}), tmp_path)


def test_missing_files_of_a_raw_folder_are_named(tmp_path: Path) -> None:
    folder = nnunet(tmp_path / "Dataset001_Liver", {"background": 0, "liver": 1, "tumor": 2}, {"0": "T1", "1": "T2"})
    (folder / "imagesTr/liver_1_0001.nii.gz").unlink()
    (folder / "imagesTr/liver_2_0000.nii.gz").unlink()
    (folder / "labelsTr/liver_3.nii.gz").unlink()
    for name in ("liver_4_0000", "liver_4_0001"):
        (folder / f"imagesTr/{name}.nii.gz").unlink()
    found = survey(NnunetSource(**NNUNET), tmp_path)
    told = [str(problem) for problem in found.problems]
    assert [("liver_1" in told[0]), ("0001 (T2)" in told[0])] == [True, True]
    assert "liver_2_0001.nii.gz has no channel 0000 (T1)" in told[1]
    assert "labelsTr/liver_3.nii.gz" in told[2]
    assert len(told) == 3
    assert "liver_4.nii.gz is a label without an image" in str(found.remarks[0])


def test_channels_that_the_recipe_does_not_want_are_told(tmp_path: Path) -> None:
    nnunet(tmp_path / "Dataset001_Liver", {"background": 0, "liver": 1, "tumor": 2}, {"0": "T1", "1": "T2"})
    with pytest.raises(BadDataError, match="has 2 channels but the recipe 1 channel"):
        prepare(recipe_of(NNUNET), tmp_path, tmp_path / "out")
    second = list_cases(NnunetSource(**{**NNUNET, "channels": ["T2"]}), tmp_path)[0].load()
    assert np.array_equal(second.volume.array, ct(10))


def test_a_folder_of_the_decathlon_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text('{"training": [], "labels": {}}')
    with pytest.raises(DataError, match="kind: msd"):
        survey(NnunetSource(**{**NNUNET, "folder": "."}), tmp_path)
    (tmp_path / "dataset.json").write_text('{"labels": {}}')
    with pytest.raises(DataError, match="with channel_names, labels and file_ending"):
        survey(NnunetSource(**{**NNUNET, "folder": "."}), tmp_path)


# --- one file a structure

STRUCTURES: dict[str, Any] = {
    "kind": "totalsegmentator",
    "name": "ts",
    "folder": "Totalsegmentator_dataset",
    "labels": {"liver": 1, "kidney_*": 2},
}


@pytest.fixture
def structures(tmp_path: Path) -> Path:
    """Five cases of liver and two kidneys, of which the right one overlaps the liver."""
    label = drawn()
    right = np.zeros(SHAPE, np.uint8)
    right[13:16, 7:13, 3:6] = 1
    for seed in range(5):
        folder = tmp_path / f"Totalsegmentator_dataset/s000{seed}"
        save(folder / "ct.nii.gz", ct(seed))
        save(folder / "segmentations/liver.nii.gz", (label == 1).astype(np.uint8))
        save(folder / "segmentations/kidney_left.nii.gz", (label == 2).astype(np.uint8))
        save(folder / "segmentations/kidney_right.nii.gz", right)
    (tmp_path / "Totalsegmentator_dataset/meta.csv").write_text("image_id;age\n")
    return tmp_path


def test_structures_become_the_labels_that_are_named(structures: Path) -> None:
    recipe = recipe_of(STRUCTURES, "labels={1: liver, 2: kidneys}")
    entries = list_cases(recipe.sources[0], structures)
    assert [entry.patient for entry in entries] == [f"ts_s000{n}" for n in range(5)]
    label = entries[0].load().label
    assert (label == 2).sum() == (drawn() == 2).sum() + 3 * 6 * 3  # the later name wins where both are
    assert (label == 1).sum() == (drawn() == 1).sum() - 1 * 6 * 3
    batch = batch_of(recipe, structures, structures / "out")
    assert batch["image"].shape == batch["label"].shape == (2, 1, 8, 8, 8)


def test_structures_that_are_not_there_are_told(structures: Path) -> None:
    (structures / "Totalsegmentator_dataset/s0002/segmentations/liver.nii.gz").unlink()
    found = survey(TotalSegmentatorSource(**STRUCTURES), structures)
    (problem,) = found.problems
    assert "s0002" in str(problem)
    assert "no file of liver" in str(problem)
    accepted = survey(TotalSegmentatorSource(**{**STRUCTURES, "missing": "background"}), structures)
    assert accepted.problems == []
    assert set(np.unique(accepted.entries[2].load().label)) == {0, 2}
    with pytest.raises(DataError, match=r"has the structure spleen; correct the name \(there are kidney_left"):
        survey(TotalSegmentatorSource(**{**STRUCTURES, "labels": {"liver": 1, "spleen": 2}}), structures)


# --- BIDS

BIDS: dict[str, Any] = {
    "kind": "bids",
    "name": "bids",
    "folder": "study",
    "derivatives": "derivatives/manual",
    "labels": {1: 1, 2: 2},
}
NO_CT = ("modality=MR", "preprocess.normalize=percentiles", NO_HU)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Two subjects with two sessions, one with two runs, and one whose label map is missing."""
    names = ["sub-1_ses-a", "sub-1_ses-b", "sub-2_ses-a", "sub-3_run-1", "sub-3_run-2", "sub-4"]
    for seed, name in enumerate(names):
        subject, *rest = name.split("_")
        folder = f"{subject}/{rest[0]}/anat" if rest and rest[0].startswith("ses") else f"{subject}/anat"
        save(tmp_path / f"study/{folder}/{name}_T1w.nii.gz", ct(seed))
        save(tmp_path / f"study/{folder}/{name}_T2w.nii.gz", ct(50 + seed))
        if name != "sub-4":
            label = drawn() * np.uint8(seed != 4)
            save(tmp_path / f"study/derivatives/manual/{folder}/{name}_desc-manual_dseg.nii.gz", label)
    return tmp_path


def test_a_bids_tree_is_trained_on(study: Path) -> None:
    recipe = recipe_of(BIDS, *NO_CT)
    found = survey(recipe.sources[0], study)
    assert [entry.id for entry in found.entries] == [
        "bids_sub-1_ses-a",
        "bids_sub-1_ses-b",
        "bids_sub-2_ses-a",
        "bids_sub-3_run-1",
        "bids_sub-3_run-2",
    ]
    assert [entry.patient for entry in found.entries] == [f"bids_sub-{n}" for n in (1, 1, 2, 3, 3)]
    assert not found.entries[4].load().label.any()  # the second run has a label map of its own
    assert "sub-4_T1w.nii.gz has no label map dseg" in str(found.remarks[0])
    batch = batch_of(recipe, study, study / "out")
    assert batch["image"].shape == batch["label"].shape == (2, 1, 8, 8, 8)


def test_label_maps_of_several_people_are_chosen_by_entities(study: Path) -> None:
    second = study / "study/derivatives/manual/sub-2/ses-a/anat/sub-2_ses-a_desc-second_dseg.nii.gz"
    save(second, drawn() * 0)
    (problem,) = survey(BidsSource(**BIDS), study).problems
    assert "choose by entities" in str(problem)
    chosen = survey(BidsSource(**BIDS, entities={"desc": "second"}), study)
    assert [entry.masks for entry in chosen.entries] == [(second,)]


def test_a_label_map_belongs_to_one_image(study: Path) -> None:
    folder = study / "study/derivatives/manual/sub-3/anat"
    for run in (1, 2):
        (folder / f"sub-3_run-{run}_desc-manual_dseg.nii.gz").unlink()
    save(folder / "sub-3_dseg.nii.gz", drawn())
    (problem,) = survey(BidsSource(**BIDS), study).problems
    assert "fits sub-3_run-1_T1w.nii.gz and sub-3_run-2_T1w.nii.gz" in str(problem)


def test_missing_parts_of_a_bids_tree_are_told(study: Path) -> None:
    with pytest.raises(DataError, match="derivatives/other is missing"):
        survey(BidsSource(**{**BIDS, "derivatives": "derivatives/other"}), study)
    (study / "study/sub-2/ses-a/anat/sub-2_ses-a_T2w.nii.gz").unlink()
    (problem,) = survey(BidsSource(**{**BIDS, "images": ["T1w", "T2w"]}), study).problems
    assert "no channel sub-2_ses-a_T2w.nii.gz" in str(problem)
