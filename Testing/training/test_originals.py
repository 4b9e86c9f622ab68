"""The recipes that repeat five published systems: the numbers that define each, and every variant run small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from LiverSegLib.models import read_package
from LiverSegLib.networks import build_network
from Testing.recipe_data import SMALL, draw_slice, write_dicom_slice, write_dicom_slices, write_slices2d
from Testing.training.test_recipes import history, make_model, segment
from Training.augment.pipeline import rotations
from Training.fit.module import SegmentationModule
from Training.fit.schedules import learning_rate_factor
from Training.recipe import Recipe, load_recipe

ORIGINALS = sorted(name for name in SMALL if name.endswith("_original"))


def weights(recipe: Recipe) -> int:
    network = build_network(recipe.network.name, recipe.network_arguments())
    return sum(parameter.numel() for parameter in network.parameters())


def layers(recipe: Recipe) -> dict[str, int]:
    """How many modules of each class the network has."""
    names = [type(m).__name__ for m in build_network(recipe.network.name, recipe.network_arguments()).modules()]
    return {name: names.count(name) for name in dict.fromkeys(names)}


def test_the_first_3d_unet_pools_and_transposes() -> None:
    recipe = load_recipe("liver3d_monai_original")
    found = layers(recipe)
    assert (found["MaxPool3d"], found["ConvTranspose3d"], found["ReLU"]) == (4, 4, 18)
    assert recipe.preprocess == load_recipe("liver3d_monai").preprocess  # one prepared folder for both


def test_the_tumor_network_has_its_numbers() -> None:
    recipe = load_recipe("liver_tumor3d_original")
    assert weights(recipe) == 5_836_099
    assert not any("Norm" in name for name in layers(recipe))
    network = build_network(recipe.network.name, recipe.network_arguments())
    corners = [m.align_corners for m in network.modules() if isinstance(m, torch.nn.Upsample)]
    assert corners == [True] * 3
    assert recipe.sampling.labels == {0: 0.2, 1: 0.3, 2: 0.5}
    prep, o = recipe.preprocess, recipe.optimization
    assert (prep.output, prep.crop_or_pad, recipe.patch_size) == ((-1, 1), (256, 256, 100), (96, 96, 96))
    assert (recipe.loss.kind, recipe.loss.activation, recipe.loss.dice_weight) == ("bce_dice", "sigmoid", 0)
    assert (o.optimizer, o.learning_rate, o.batch_size, o.schedule) == ("adam", 1e-4, 2, "constant")
    assert (recipe.split.train, recipe.split.val, o.samples_per_epoch) == (105, 26, 5 * 105)
    assert rotations(recipe) == pytest.approx([np.deg2rad(10)] * 3)
    assert recipe.augment.scale == (0.9, 1.1)


def test_the_pyramid_has_its_numbers() -> None:
    recipe = load_recipe("pyramid2d_multi_original")
    o, a = recipe.optimization, recipe.augment
    assert (o.max_epochs, o.batch_size, o.learning_rate, o.cudnn_benchmark) == (500, 5, 1e-4, True)
    assert (o.schedule, o.milestones, o.gamma) == ("multistep", [1000], 0.1)
    assert {learning_rate_factor(o, 500 * 7)(step) for step in range(0, 3500, 99)} == {1.0}  # it never falls
    assert (a.rotate_degrees, a.crop_size, a.affine, a.elastic, a.crop) == (5, (0.5, 0.8), 0.5, 0.5, 0.5)
    network = SegmentationModule(recipe).network
    assert {m.p for m in network.modules() if isinstance(m, torch.nn.Dropout)} == {0.3}
    assert recipe.loss.heads == [1.0, 1.0]
    assert (recipe.preprocess.size, recipe.patch_size) == ((256, 256, -1), (256, 256))


def test_the_three_2d_networks_have_their_numbers() -> None:
    names = [f"unet2d_{name}_original" for name in ("vgg16", "bn", "attention")]
    alike = [load_recipe(name).model_dump(exclude={"name", "network", "card"}) for name in names]
    assert alike[0] == alike[1] == alike[2]
    recipe = load_recipe(names[2])
    o = recipe.optimization
    assert (o.checkpoint_every, o.batch_size, o.max_epochs, o.gamma) == (1, 2, 50, 0.92)
    assert (recipe.split.validation_fraction, recipe.split.test_fraction) == (0.1, 0)
    assert (recipe.preprocess.size, recipe.patch_size) == ((512, 512, -1), (512, 512))


@pytest.mark.parametrize("name", ORIGINALS)
def test_a_variant_says_only_what_differs(name: str) -> None:
    """Data, labels and license are those of the recipe beside it."""
    ours, theirs = load_recipe(name.removesuffix("_original")), load_recipe(name)
    assert (theirs.labels, theirs.sources, theirs.modality) == (ours.labels, ours.sources, ours.modality)
    assert theirs.card.title != ours.card.title
    assert theirs.card.license == ours.card.license


def test_the_pyramid_variant_runs_from_dicom_slices_to_segments(tmp_path: Path) -> None:
    data = write_dicom_slices(tmp_path / "raw")
    changes = [*SMALL["pyramid2d_multi_original"], "optimization.validate_every=1"]
    package = make_model("pyramid2d_multi_original", data, tmp_path, changes)
    picture = tmp_path / "new.dcm"
    write_dicom_slice(picture, draw_slice(7)[0].T, "new", 1)
    assert segment(package, picture, tmp_path / "out").shape == (64, 64, 1)


def test_the_attention_variant_keeps_a_checkpoint_of_every_epoch(tmp_path: Path) -> None:
    data = write_slices2d(tmp_path / "raw")
    changes = [*SMALL["unet2d_attention_original"], "optimization.max_epochs=2"]
    package = make_model("unet2d_attention_original", data, tmp_path, changes)
    kept = sorted(path.name for path in (tmp_path / "run" / "checkpoints").glob("epoch_*.ckpt"))
    assert kept == ["epoch_0.ckpt", "epoch_1.ckpt"]
    assert read_package(package).arguments["gate"] is True
    rows = history(tmp_path / "run")
    assert all(row["train_f_score"] and row["val_f_score"] for row in rows)
    picture = next((data / "slices2d" / "images").glob("*.jpg"))
    assert segment(package, picture, tmp_path / "out").shape == (64, 64, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["unet2d_vgg16_original", "unet2d_bn_original"])
def test_the_other_2d_variants_run_from_jpeg_slices_to_segments(name: str, tmp_path: Path) -> None:
    data = write_slices2d(tmp_path / "raw")
    package = make_model(name, data, tmp_path, SMALL[name])
    picture = next((data / "slices2d" / "images").glob("*.jpg"))
    assert segment(package, picture, tmp_path / "out").shape == (64, 64, 1)


def test_a_package_repeats_the_range_of_gray_values() -> None:
    """What the engine feeds the network of the tumor variant lies between -1 and 1, as in training."""
    from LiverSegLib.models.intensity import ScalePercentiles
    from Training.packages.export import package_spec

    spec = package_spec(load_recipe("liver_tumor3d_original"), {})
    (step,) = spec.intensity
    assert step == ScalePercentiles(0, 100, -1, 1)
    gray: Any = step(torch.tensor([-1000.0, 1000.0, 0.0, 3000.0]))
    assert gray.tolist() == [-1.0, 0.0, -0.5, 1.0]
