"""Ranges of the augmentation that a recipe sets, and what weights a new network starts with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from monai import transforms as mt

from LiverSegLib.networks import build_network
from Testing.tiny_run import NO_AUGMENT, tiny_recipe
from Training.augment.pipeline import RandZoomCropd, augmentation, rotations
from Training.fit.initial import initialize
from Training.recipe import Recipe, RecipeError


def recipe(**augment: Any) -> Recipe:
    return tiny_recipe(augment={**NO_AUGMENT, "flip": {}, **augment})


def step(augment: dict[str, Any], kind: type[Any]) -> Any:
    """The one transform of this kind in the pipeline."""
    (found,) = [t for t in augmentation(recipe(**augment)).transforms if isinstance(t, kind)]
    return found


def test_every_axis_has_its_turn() -> None:
    in_3d: dict[str, Any] = {"spatial_dims": 3, "patch_size": [8] * 3, "inference": {"roi_size": [8] * 3}}
    turned = tiny_recipe(**in_3d, augment={"rotate_degrees": {"x": 10, "z": 30}})
    assert rotations(turned) == pytest.approx(np.deg2rad([10, 0, 30]).tolist())
    assert rotations(tiny_recipe(**in_3d, augment={"rotate_degrees": 20})) == pytest.approx(
        np.deg2rad([10, 10, 20]).tolist()
    )
    other_order = tiny_recipe(**in_3d, augment={"rotate_degrees": {"x": 10, "z": 30}}, preprocess={"axcodes": "SPL"})
    assert rotations(other_order) == pytest.approx(np.deg2rad([30, 0, 10]).tolist())


def test_a_slice_turns_in_its_plane_alone() -> None:
    assert rotations(recipe(rotate_degrees={"z": 5, "x": 0})) == pytest.approx([np.deg2rad(5)])
    with pytest.raises(RecipeError, match="turns slices about x"):
        rotations(recipe(rotate_degrees={"x": 5}))


def test_warps_are_as_strong_as_the_recipe_says() -> None:
    affine = {"affine": 0.0, "elastic": 1.0}
    warp = step({**affine, "warp_pixels": [0.5, 0.8]}, mt.Rand2DElasticd)
    assert warp.rand_2d_elastic.deform_grid.magnitude == (0.5, 0.8)
    moved = {}
    ramp = torch.arange(256.0).repeat(256, 1)[None]
    for most in (0, 20):
        one = step({**affine, "warp_pixels": [most, most]}, mt.Rand2DElasticd).set_random_state(1)
        away = torch.as_tensor(one({"image": ramp, "label": torch.zeros(1, 256, 256)})["image"]) - ramp
        moved[most] = float(away[0, 64:-64, 64:-64].abs().max())
    # MONAI's grid is interpolated and so ripples a little of its own.
    assert moved[0] < 2
    assert moved[20] > 10


@pytest.mark.parametrize("size", [(0.5, 0.8), (0.6, 1.0)])
def test_crops_are_as_large_as_the_recipe_says(size: tuple[float, float]) -> None:
    """A ramp of values, cropped and enlarged: its range tells how much of it was left."""
    crop = step({"crop": 1.0, "crop_size": size}, RandZoomCropd)
    crop.set_random_state(0)
    ramp = torch.arange(200.0).repeat(200, 1)[None]
    left = []
    for _ in range(100):
        image = crop({"image": ramp, "label": torch.zeros(1, 200, 200)})["image"]
        left.append(float(image.max() - image.min() + 1) / 200)
    assert size[0] - 0.01 <= min(left) < size[0] + 0.05
    assert size[1] - 0.05 < max(left) <= size[1] + 0.01


@pytest.mark.parametrize("wrong", [{"crop_size": [0.5, 1.5]}, {"warp_pixels": [2, 1]}, {"scale": [1.2, 0.8]}])
def test_impossible_ranges_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="must not"):
        recipe(**wrong)


def test_augmented_values_stay_in_the_range_of_the_recipe() -> None:
    """Twice as wide, around 0: brightness and gamma treat the darkest value as dark, wherever it lies."""
    found = {}
    for low in (0.0, -1.0):
        made = tiny_recipe(
            preprocess={"output": [low, 1.0]}, augment={**NO_AUGMENT, "flip": {}, "brightness": 1.0, "gamma": 1.0}
        )
        pipeline = augmentation(made)
        pipeline.set_random_state(3)
        sample = {"image": np.linspace(-200, 400, 32 * 32, dtype=np.float32).reshape(1, 32, 32)}
        sample["label"] = np.zeros((1, 32, 32), np.uint8)
        found[low] = pipeline(sample)["image"]
        assert float(found[low].min()) == pytest.approx(low, abs=1e-5)
        assert float(found[low].max()) <= 1.0
    torch.testing.assert_close((found[-1.0] + 1) / 2, found[0.0], atol=1e-4, rtol=0)


def test_kaiming_draws_every_kernel_and_no_norm() -> None:
    arguments = {"spatial_dims": 2, "in_channels": 1, "out_channels": 2, "channels": [64, 128], "upsample": "deconv"}
    network = build_network("DoubleConvUNet", arguments)
    norms = {n: p.clone() for n, p in network.named_parameters() if "adn" in n}
    torch.manual_seed(0)
    initialize(network, "kaiming")
    convolution = network.down[0].convs.conv_1.conv  # type: ignore[union-attr, index]
    assert isinstance(convolution, torch.nn.Conv2d)
    assert float(convolution.weight.detach().std()) == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.02)
    assert not convolution.bias.any()  # type: ignore[union-attr]
    for name, parameter in network.named_parameters():
        if name in norms:
            assert torch.equal(parameter, norms[name])


def test_by_default_weights_stay_as_torch_draws_them() -> None:
    network = build_network("DoubleConvUNet", {"spatial_dims": 2, "in_channels": 1, "out_channels": 2})
    before = {name: value.clone() for name, value in network.state_dict().items()}
    initialize(network, "default")
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
