"""Training samples: where patches come from, what augmentation does to them, and in which order they come."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

from Testing.tiny_run import NO_AUGMENT, tiny_recipe, write_prepared
from Training.augment.pipeline import RandZoomCropd, augmentation, margin
from Training.data.folder import PreparedFolder
from Training.data.patches import BLOCK, StoredCase, StoredCases, cut, draw_center
from Training.data.readers import Case, load_index
from Training.fit.batches import EpochSampler, TrainingSamples, epoch_draws, validation_cases, validation_images
from Training.recipe import RecipeError
from Training.recipe.options import Sampling

CASES = [
    Case(id=f"case{n}", patient=f"patient{n // 2}", source="phantom", split="train", voxels=[900, 100, 24])
    for n in range(10)
]


def one_voxel(name: str, patient: str, source: str, split: str, volume: str = "") -> Case:
    return Case(id=name, patient=patient, source=source, split=split, voxels=[1], volume=volume)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prepared(tmp_path_factory.mktemp("tiny") / "prepared")


@pytest.fixture
def case() -> StoredCase:
    """60 x 50 voxels: label 1 in a box of 20 x 20, label 2 in 2 x 2 of it."""
    label = np.zeros((60, 50), np.uint8)
    label[10:30, 10:30] = 1
    label[20:22, 20:22] = 2
    image = np.arange(3000, dtype=np.int16).reshape(60, 50)
    return StoredCase(image=image, label=label, voxels=[int(n) for n in np.bincount(label.ravel())])


def shares(case: StoredCase, sampling: Sampling) -> list[float]:
    rng = np.random.default_rng(0)
    drawn = [case.label[draw_center(case, sampling, rng)] for _ in range(4000)]
    return [drawn.count(value) / 4000 for value in range(3)]


def test_centers_lie_on_each_label_with_its_probability(case: StoredCase) -> None:
    assert shares(case, Sampling(labels={0: 0.2, 1: 0.3, 2: 0.5})) == pytest.approx([0.2, 0.3, 0.5], abs=0.03)


def test_a_label_that_a_case_lacks_gives_its_share_to_the_others(case: StoredCase) -> None:
    case.label[case.label == 2] = 1
    case.voxels[1:] = [400, 0]
    assert shares(case, Sampling(labels={0: 0.2, 1: 0.3, 2: 0.5})) == pytest.approx([0.4, 0.6, 0.0], abs=0.03)


def test_foreground_is_the_share_of_centers_on_any_label(case: StoredCase) -> None:
    # Those that are not forced onto a label lie anywhere, also on one.
    anywhere = 400 / 3000
    assert shares(case, Sampling(foreground=0.67))[0] == pytest.approx(0.33 * (1 - anywhere), abs=0.03)


def test_an_empty_case_is_sampled_anywhere() -> None:
    empty = StoredCase(image=np.zeros((30, 30), np.int16), label=np.zeros((30, 30), np.uint8), voxels=[900, 0, 0])
    rng = np.random.default_rng(0)
    rows = {draw_center(empty, Sampling(labels={1: 1.0}), rng)[0] for _ in range(300)}
    assert min(rows) < 3
    assert max(rows) > 26


@pytest.mark.parametrize("center", [(0, 0), (59, 49), (30, 25), (13, 40)])
def test_a_patch_is_cut_where_it_was_drawn_and_stays_inside(case: StoredCase, center: tuple[int, int]) -> None:
    patch = cut(case.image, center, (16, 12), (0, 0), -1000)
    assert patch.shape == (16, 12)
    assert patch.min() >= 0
    assert case.image[center] in patch
    wide = cut(case.image, center, (16, 12), (2, 3), -1000)
    assert np.array_equal(wide[2:-2, 3:-3], patch)


def test_a_patch_larger_than_the_case_holds_it_in_its_middle(case: StoredCase) -> None:
    patch = cut(case.image, (3, 3), (64, 56), (0, 0), -1000)
    assert np.array_equal(patch[2:62, 3:53], case.image)
    patch[2:62, 3:53] = -1000
    assert (patch == -1000).all()


def sampler(epoch: int, done: int = 0, rank: int = 0, world: int = 1, **optimization: Any) -> list[tuple[int, int]]:
    recipe = tiny_recipe(optimization=optimization)
    return list(EpochSampler(CASES, recipe, lambda: (epoch, done), rank, world))


def test_every_case_comes_once_an_epoch_in_a_new_order() -> None:
    first, second = ([index for index, _ in sampler(n, samples_per_epoch=None)] for n in range(2))
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    assert sampler(0, samples_per_epoch=None) == sampler(0, samples_per_epoch=None)


def test_processes_together_see_what_one_would() -> None:
    one = sampler(3, batch_size=4, samples_per_epoch=24)
    two = [sampler(3, rank=rank, world=2, batch_size=2, samples_per_epoch=24) for rank in range(2)]
    together = [draw for start in range(0, 12, 2) for part in two for draw in part[start : start + 2]]
    assert together == one
    assert len({seed for _, seed in one}) == 24


def test_an_epoch_goes_on_after_the_batches_that_are_done() -> None:
    assert sampler(2, done=2, samples_per_epoch=10) == sampler(2, samples_per_epoch=10)[4:]


def test_the_last_batch_is_filled_up_with_other_views() -> None:
    draws = sampler(0, samples_per_epoch=None, batch_size=4)
    assert len(draws) == 12
    assert [index for index, _ in draws[10:]] == [index for index, _ in draws[:2]]
    assert len({seed for _, seed in draws}) == 12


def test_sources_are_drawn_by_weight_and_patients_evenly() -> None:
    recipe = tiny_recipe(
        sources=[
            {"kind": "phantom", "name": name, "count": 1, "weight": weight}
            for name, weight in (("much", 3.0), ("little", 1.0))
        ],
        optimization={"samples_per_epoch": 8000},
    )
    cases = [one_voxel(f"a{n}", "one", "much", "train") for n in range(16)]
    cases += [one_voxel("b", "two", "much", "train"), one_voxel("c", "three", "little", "train")]
    drawn = [index for index, _ in epoch_draws(cases, recipe, 0)]
    assert drawn.count(17) / 8000 == pytest.approx(0.25, abs=0.02)
    # Sixteen slices of one patient weigh as much as four single ones.
    assert drawn.count(16) / 8000 == pytest.approx(0.75 / 5, abs=0.02)


def test_validation_takes_at_most_24_slices_of_a_patient() -> None:
    cases = [one_voxel(str(n), "one", "s", "val") for n in range(100)] + [one_voxel("x", "two", "s", "val")]
    chosen = validation_cases(cases)
    assert len(chosen) == 25
    assert (chosen[0].id, chosen[23].id) == ("0", "99")


def test_cases_are_mapped_and_their_positions_remembered_within_a_budget(prepared: Path) -> None:
    cases = load_index(prepared, tiny_recipe())
    stored = StoredCases(PreparedFolder(prepared), positions_mb=2.5 * 32 * 32 * 4 / 2**20)
    read = [stored(found) for found in cases]
    assert all(isinstance(found.image, np.memmap) for found in read)
    assert stored(cases[7]).positions(1) is stored(cases[7]).positions(1)  # found once
    assert list(stored._kept) == [cases[6].id, cases[7].id]
    forgotten = read[0].positions(1)
    assert np.array_equal(stored(cases[0]).positions(1), forgotten)


def test_slices_of_a_volume_validate_together() -> None:
    cases = [one_voxel(f"a_{n:03d}", "one", "s", "val", "a") for n in range(3)]
    cases += [one_voxel("x", "two", "s", "val"), one_voxel("y", "two", "s", "val")]
    assert [[case.id for case in image] for image in validation_images(cases)] == [
        ["a_000", "a_001", "a_002"],
        ["x"],
        ["y"],
    ]


def test_positions_are_a_few_of_the_right_voxels() -> None:
    label = np.zeros((300, 300), np.uint8)
    label[:150] = 1
    stored = StoredCase(image=label, label=label, voxels=[45000, 45000, 0])
    for value in (0, 1):
        found = stored.positions(value)
        assert len(found) == 10_000
        assert (label.ravel()[found] == value).all()
    assert len(stored.positions(2)) == 0


@pytest.mark.parametrize("order", ["C", "F"])
def test_positions_are_those_that_a_search_of_the_whole_label_gives(order: Literal["C", "F"]) -> None:
    label = np.random.default_rng(5).choice(np.arange(4, dtype=np.uint8), (70, 90, 110), p=[0.4, 0.5995, 0.0005, 0])
    stored = StoredCase(image=label, label=np.asarray(label, order=order), voxels=[])
    assert label.size > 2 * BLOCK
    few = np.flatnonzero(label == 2)
    assert len(few) > 200
    assert np.array_equal(stored.positions(2), few)
    many = stored.positions(1)
    assert (len(many), len(set(many))) == (10_000, 10_000)
    assert (label.ravel()[many] == 1).all()
    assert many.max() > 0.99 * label.size
    assert len(stored.positions(3)) == 0


def sample(prepared: Path, seed: int = 1, **changes: Any) -> dict[str, Any]:
    recipe = tiny_recipe(**changes)
    return TrainingSamples(recipe, prepared, load_index(prepared, recipe))[0, seed]


EVERYTHING = {
    "affine": 1,
    "elastic": 1,
    "any_rotation": 1,
    "crop": 1,
    "gamma": 1,
    "brightness": 1,
    "blur": 1,
    "low_resolution": 1,
    "noise": 1,
    "flip": {"x": 0.5, "y": 0.5},
}


@pytest.mark.parametrize("patch", [24, 32, 48])
def test_a_sample_is_a_patch_in_the_window_and_the_same_for_its_seed(patch: int, prepared: Path) -> None:
    changes = {"augment": EVERYTHING, "patch_size": [patch, patch]}
    first, again, other = (sample(prepared, seed, **changes) for seed in (1, 1, 2))
    assert first["image"].shape == first["label"].shape == (1, patch, patch)
    assert first["image"].dtype == torch.float32
    assert first["label"].dtype == torch.uint8
    assert set(first["label"].unique().tolist()) <= {0, 1, 2}
    assert 0 <= float(first["image"].min()) <= float(first["image"].max()) <= 1
    assert torch.equal(first["image"], again["image"])
    assert torch.equal(first["label"], again["label"])
    assert not torch.equal(first["image"], other["image"])


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("normalize", ["window", "percentiles", "zscore"])
@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_any_kind_of_image_can_be_augmented(dims: int, normalize: str, modality: str) -> None:
    size = [20] * dims
    recipe = tiny_recipe(
        spatial_dims=dims,
        modality=modality,
        patch_size=size,
        inference={"roi_size": size},
        augment=EVERYTHING,
        preprocess={"normalize": normalize, "pixdim": [3, 3, 3]},
    )
    wide = [n + 2 * m for n, m in zip(size, margin(recipe), strict=True)]
    rng = np.random.default_rng(0)
    image = rng.normal(0, 1, (1, *wide)).astype(np.float32) * (100 if normalize == "window" else 1)
    label = (np.indices(wide).sum(0, keepdims=True) % 7 < 3).astype(np.uint8)
    after = augmentation(recipe).set_random_state(3)({"image": image, "label": label})
    assert after["image"].shape == after["label"].shape == (1, *size)
    assert bool(after["image"].isfinite().all())
    assert float(after["image"].std()) > 0.05
    assert set(after["label"].unique().tolist()) == {0, 1}


def noise_of(**changes: Any) -> float:
    recipe = tiny_recipe(augment={**NO_AUGMENT, "noise": 1.0, "flip": {}}, **changes)
    transform = augmentation(recipe)
    gray = 0.5 * (recipe.preprocess.window[0] + recipe.preprocess.window[1])
    level = gray if recipe.preprocess.normalize == "window" else 0.5
    image = np.full((1, 32, 32), level, np.float32)
    found = [transform.set_random_state(n)({"image": image, "label": image.astype(np.uint8)}) for n in range(30)]
    return float(np.mean([float(result["image"].std()) for result in found]))


def test_noise_is_as_strong_in_any_unit() -> None:
    """In what the network sees; 400 HU are the window of the tiny recipe."""
    of_ct = noise_of(modality="CT", preprocess={"window": [-100, 300]})
    assert of_ct == pytest.approx(0.035, abs=0.015)
    for changes in (
        {"modality": "DX", "preprocess": {"window": [0, 255]}},
        {"modality": "DX", "preprocess": {"window": [0, 60000]}},
        {"modality": "MR", "preprocess": {"normalize": "percentiles"}},
    ):
        assert noise_of(**changes) == pytest.approx(of_ct, rel=0.05)


def test_the_margin_keeps_air_out_of_turned_patches() -> None:
    changes = {"augment": {**NO_AUGMENT, "affine": 1.0, "rotate_degrees": 15, "scale": [1, 1], "shift": 0, "shear": 0}}
    recipe = tiny_recipe(patch_size=[32, 32], **changes)
    wide = 32 + 2 * margin(recipe)[0]
    image = np.full((1, wide, wide), 100.0, np.float32)
    for seed in range(10):
        after = augmentation(recipe).set_random_state(seed)({"image": image, "label": image.astype(np.uint8)})
        assert float(after["image"].min()) == pytest.approx(0.5, abs=1e-4)


def test_what_augmentation_leaves_alone_is_exactly_the_middle() -> None:
    recipe = tiny_recipe(augment={**NO_AUGMENT, "affine": 1e-9, "noise": 0, "flip": {}}, preprocess={"window": [0, 1]})
    edge = margin(recipe)[0]
    image = np.random.default_rng(0).random((1, 32 + 2 * edge, 32 + 2 * edge)).astype(np.float32)
    label = (image > 0.5).astype(np.uint8)
    after = augmentation(recipe).set_random_state(0)({"image": image, "label": label})
    inside = (slice(None), slice(edge, -edge), slice(edge, -edge))
    assert np.allclose(after["image"], image[inside], atol=1e-3)
    assert np.array_equal(after["label"], label[inside])


@pytest.mark.parametrize(("axis", "place"), [("x", 0), ("y", 1)])
def test_flips_turn_the_anatomical_axis(axis: str, place: int) -> None:
    for axcodes, at in (("LPS", place), ("PLS", 1 - place)):
        recipe = tiny_recipe(augment={**NO_AUGMENT, "noise": 0, "flip": {axis: 1.0}}, preprocess={"axcodes": axcodes})
        label = np.zeros((1, 32, 32), np.uint8)
        label[0, :5, :9] = 1
        after = augmentation(recipe)({"image": label.astype(np.float32), "label": label})
        assert np.array_equal(after["label"], np.flip(label, 1 + at))


def test_a_flip_along_an_axis_that_slices_lack_is_one_sentence() -> None:
    with pytest.raises(RecipeError, match=r"augment\.flip names the axis z"):
        augmentation(tiny_recipe(augment={"flip": {"z": 0.5}}))


def test_zooming_in_keeps_image_and_label_together() -> None:
    label = np.zeros((1, 40, 40), np.uint8)
    label[0, 10:30, 12:28] = 1
    zoom: Any = RandZoomCropd(1.0).set_random_state(2)
    after = zoom({"image": label.astype(np.float32), "label": label})
    assert after["image"].shape == (1, 40, 40)
    assert int(after["label"].sum()) > int(label.sum())
    differ = (after["image"][0] > 0.5) != (after["label"][0] > 0)
    assert float(differ.float().mean()) < 0.05


def test_gamma_and_brightness_keep_to_the_window() -> None:
    recipe = tiny_recipe(augment={**NO_AUGMENT, "noise": 0, "flip": {}, "gamma": 1.0, "brightness": 1.0})
    image = np.linspace(-100, 300, 1024, dtype=np.float32).reshape(1, 32, 32)
    plain = (image + 100) / 400
    for seed in range(8):
        after = augmentation(recipe).set_random_state(seed)({"image": image, "label": image.astype(np.uint8)})["image"]
        assert 0 <= float(after.min()) <= float(after.max()) <= 1
        assert not np.allclose(after, plain, atol=0.01)
        assert bool((after.flatten().diff() >= 0).all())  # gray values keep their order
