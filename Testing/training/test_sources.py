"""Sources that show the same people, that draw some labels only, that tell pixel sizes in a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from Testing.tiny_run import tiny_recipe
from Training.augment.ct import RandLesiond
from Training.data.prepare import prepare
from Training.data.readers import load_index, prepared_cases, survey
from Training.errors import DataError
from Training.fit.batches import TrainingSamples, undivided_labels
from Training.fit.losses import SegmentationLoss, joined_logits
from Training.fit.module import SegmentationModule
from Training.recipe import Recipe, RecipeError, load_recipe
from Training.recipe.options import Loss
from Training.recipe.sources import FilesSource

SMALL = ["preprocess.pixdim=[4, 4, 6]", "patch_size=[8, 8, 6]", "inference.roi_size=[8, 8, 6]"]
PICTURES = {
    "kind": "files",
    "name": "slices",
    "cohort": "clinic",
    "image": "slices/{patient}_{slice}.png",
    "patients": {"101": "1", "102": "2"},
    "masks": [{"path": "masks/{patient}_{slice}.png", "above": 127}],
    "spacing": {"file": "sizes.csv", "x": "x_mm", "y": "y_mm"},
    "slab": 30,
    "undivided": {2: 1},
}
VOLUMES = {
    "kind": "files",
    "name": "ct",
    "cohort": "clinic",
    "image": "ct/{patient}_ct.nii.gz",
    "patients": {"3b": "3"},
    "masks": [{"path": "ct/{patient}_label.nii.gz", "values": {1: 1, 2: 2}}],
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Volumes of the patients 1, 2, 3 (twice) and 4, and slices of the first two under other names."""
    folder = tmp_path / "data"
    for name in ("ct", "slices", "masks"):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for patient in ("1", "2", "3", "3b", "4"):
        image = rng.integers(0, 100, (20, 20, 10)).astype(np.int16)
        label = np.zeros(image.shape, np.uint8)
        label[5:15, 5:15, 2:8], label[8:11, 8:11, 4:6] = 1, 2
        for part, array in (("ct", image), ("label", label)):
            nib.save(nib.Nifti1Image(array, np.diag([-2.0, -2.0, 3.0, 1.0])), folder / f"ct/{patient}_{part}.nii.gz")
    for patient in ("101", "102"):
        Image.fromarray(rng.integers(0, 255, (24, 20)).astype(np.uint8)).save(folder / f"slices/{patient}_7.png")
        mask = np.zeros((24, 20), np.uint8)
        mask[6:18, 5:15] = 255
        Image.fromarray(mask).save(folder / f"masks/{patient}_7.png")
    (folder / "sizes.csv").write_text("file,x_mm,y_mm\n101_7.png,2.0,3.0\n")
    return folder


def recipe_of(*sources: dict[str, Any], changes: tuple[str, ...] = ()) -> Recipe:
    text = yaml.safe_dump(list(sources), default_flow_style=True, width=10**6)
    return load_recipe("liver3d_phantom", [f"sources={text}", *SMALL, *changes])


def test_one_patient_of_two_sources_stays_on_one_side_of_every_fold(data: Path, tmp_path: Path) -> None:
    recipe = recipe_of(VOLUMES, PICTURES, changes=("split={folds: 2}",))
    prepare(recipe, data, tmp_path / "prepared")
    for fold in (0, 1):
        cases = load_index(
            tmp_path / "prepared", recipe_of(VOLUMES, PICTURES, changes=(f"split={{folds: 2, fold: {fold}}}",))
        )
        sides: dict[str, set[str]] = {}
        for case in cases:
            sides.setdefault(case.patient, set()).add(case.split)
        assert sorted(sides) == ["clinic_1", "clinic_2", "clinic_3", "clinic_4"]
        assert all(len(side) == 1 for side in sides.values())
        assert {case.split for case in cases} == {"train", "val"}


def test_named_patients_validate_and_all_others_train(data: Path, tmp_path: Path) -> None:
    recipe = recipe_of(VOLUMES, PICTURES, changes=("split={validate_on: [clinic_1]}",))
    cases = prepare(recipe, data, tmp_path / "prepared").cases
    assert {case.id for case in cases if case.split == "val"} == {"ct_1", "slices_101_7"}
    assert [entry.id for entry, _ in prepared_cases(tmp_path / "prepared", "val")] == ["ct_1", "slices_101_7"]
    with pytest.raises(DataError, match=r"validate_on names clinic_9, who is not in the data"):
        prepare(recipe_of(VOLUMES, changes=("split={validate_on: [clinic_9]}",)), data, tmp_path / "other")


def test_a_table_tells_pixel_sizes_and_a_slice_becomes_a_slab(data: Path) -> None:
    first, second = survey(FilesSource.model_validate(PICTURES), data).entries
    volume, told = first.load().volume, first.load().spacing_told
    assert told
    assert volume.array.shape == (20, 24, 6)  # x, y, and 30 mm in steps of 5
    assert np.allclose(volume.spacing, (2.0, 3.0, 5.0))
    assert (volume.array == volume.array[..., :1]).all()
    assert first.load().label.sum() == 6 * 12 * 10
    assert not second.load().spacing_told  # not in the table


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("file,x_mm\n101_7.png,2\n", "has no column y_mm"),
        ("file,x_mm,y_mm\n101_7.png,wide,2\n", "is no readable CSV file with numbers in x_mm and y_mm"),
        ("file,x_mm,y_mm\n101_7.png,0,2\n", "gives 101_7.png pixels of 0 x 2 mm"),
    ],
)
def test_a_bad_table_of_sizes_is_named(data: Path, table: str, words: str) -> None:
    (data / "sizes.csv").write_text(table)
    with pytest.raises(DataError, match=words):
        survey(FilesSource.model_validate(PICTURES), data)


def test_single_slices_need_a_slab_in_three_dimensions() -> None:
    with pytest.raises(RecipeError, match="set slab to mm"):
        recipe_of({**PICTURES, "slab": 0})
    with pytest.raises(RecipeError, match="undivided 3: 1 needs two of the labels"):
        recipe_of({**PICTURES, "undivided": {3: 1}})


@pytest.mark.parametrize(
    ("labels", "undivided", "scored"),
    [
        ({1: "liver", 2: "tumor"}, [0, 1, 1], [True, False]),  # the liver holds its tumors
        ({1: "liver_segment_1", 2: "liver_segment_2"}, [0, 1, 1], [False, False]),
        ({1: "liver", 2: "tumor"}, [0, 1, 2], [True, True]),
    ],
)
def test_what_an_image_does_not_tell_apart_is_not_validated_on_it(
    labels: dict[int, str], undivided: list[int], scored: list[bool]
) -> None:
    sources = [{"kind": "phantom", "count": 8, "labels": {1: 1, 2: 2}}]
    module = SegmentationModule(tiny_recipe(labels=labels, sources=sources)).eval()
    label = torch.ones(2, 1, 32, 32, dtype=torch.int64)
    label[:, :, :4, :4] = 2
    batch = {"image": torch.rand(2, 1, 32, 32), "label": label, "undivided": torch.tensor(undivided)}
    with torch.no_grad():
        module.validation_step(batch, 0)
    (image,) = module._images
    assert (image[:-1, 1] > 0).tolist() == scored
    assert image[-1, 1] == label.numel()


def test_where_tumor_is_not_drawn_liver_or_tumor_is_right() -> None:
    logits = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(1))
    label = torch.randint(0, 2, (2, 1, 4, 5), generator=torch.Generator().manual_seed(2))
    label[:, :, 0, 0] = 2  # a painted lesion counts as one in any source
    undivided = torch.tensor([[0, 1, 1], [0, 1, 2]])
    before, after = logits.softmax(1), joined_logits(logits, label, undivided).softmax(1)
    here = label[0, 0] == 1
    assert torch.allclose(after[0, 1][here], (before[0, 1] + before[0, 2])[here], atol=1e-6)
    assert (after[0, 2][here] == 0).all()
    assert torch.equal(after[0][:, ~here], before[0][:, ~here])
    assert torch.equal(after[1], before[1])


def test_a_liver_that_is_not_divided_may_be_any_of_its_segments() -> None:
    logits = torch.randn(2, 6, 3, 4, 5, generator=torch.Generator().manual_seed(1), requires_grad=True)
    label = torch.randint(0, 3, (2, 1, 3, 4, 5), generator=torch.Generator().manual_seed(2))
    undivided = torch.tensor([[0, 1, 1, 1, 4, 4], [0, 1, 2, 3, 4, 5]])
    before, joined = logits.softmax(1), joined_logits(logits, label, undivided)
    after, here = joined.softmax(1), label[0, 0] == 1
    assert torch.allclose(after[0, 1][here], before[0, 1:4].sum(0)[here], atol=1e-6)
    assert (after[0, 2:4][:, here] == 0).all()
    assert torch.equal(joined[0][:, ~here], logits[0][:, ~here])
    assert torch.equal(joined[1], logits[1])
    # What is added up there pushes each segment by its share.
    (-after[0, 1][here].log().sum()).backward()
    gradient = logits.grad
    assert gradient is not None
    share = before[0, 1:4] / before[0, 1:4].sum(0)
    expected = -(share * (1 - before[0, 1:4].sum(0)))[:, here]
    assert torch.allclose(gradient[0, 1:4][:, here], expected, atol=1e-6)


def test_the_loss_does_not_push_liver_and_tumor_apart_where_they_are_not_drawn() -> None:
    loss, label = SegmentationLoss(Loss()), torch.ones(1, 1, 6, 6)
    sure_of_tumor, sure_of_liver = torch.zeros(1, 3, 6, 6), torch.zeros(1, 3, 6, 6)
    sure_of_tumor[:, 2], sure_of_liver[:, 1] = 9.0, 9.0
    hidden = torch.tensor([[0, 1, 1]])
    assert loss(sure_of_tumor, label, hidden) == pytest.approx(float(loss(sure_of_liver, label, hidden)), abs=1e-5)
    assert loss(sure_of_tumor, label) > 2
    logits = sure_of_tumor.clone().requires_grad_()
    loss(logits, label, hidden).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_samples_say_what_their_source_does_not_draw(data: Path, tmp_path: Path) -> None:
    recipe = recipe_of(VOLUMES, PICTURES, changes=("split={validate_on: [clinic_4]}",))
    cases = prepare(recipe, data, tmp_path / "prepared").cases
    samples = TrainingSamples(recipe, tmp_path / "prepared", cases)
    found = {case.source: samples[(n, 3)]["undivided"].tolist() for n, case in enumerate(cases)}
    assert found == {"ct": [0, 1, 2], "slices": [0, 1, 1]}
    assert undivided_labels(recipe_of(VOLUMES)) == {"ct": {}}


def test_a_painted_lesion_is_as_long_along_thick_slices_as_across() -> None:
    image, liver = np.full((1, 80, 80, 40), 100.0, np.float32), np.ones((1, 80, 80, 40), np.uint8)
    extents = []
    for seed in range(12):
        paint = RandLesiond(1.0, aspect=2.0, tumor_label=2)
        paint.set_random_state(seed)
        drawn = paint({"image": image, "label": liver})["label"][0] == 2
        if drawn.any():
            at = np.argwhere(drawn)
            extents.append((at.max(0) - at.min(0) + 1) * [1, 1, 2])
    mean = np.mean(extents, axis=0)
    assert len(extents) >= 8
    assert 0.75 < mean[2] / mean[:2].mean() < 1.33
    assert (image == 100).all()
    assert (liver == 1).all()
