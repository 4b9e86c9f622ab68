"""A 2D U-Net turned into a 3D one: the same at first, and able to learn more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from LiverSegLib.engine.segmenter import Segmenter
from LiverSegLib.errors import ModelError
from LiverSegLib.models import ModelPackage, find_package, read_package
from LiverSegLib.models.weights import load_weights, read_weights
from LiverSegLib.networks import build_network
from LiverSegLib.phantom import make_phantom
from LiverSegLib.request import Settings
from Testing.conftest import toy_spec, write_toy
from Training.packages.inflate import inflate, inflated_arguments, inflated_state
from Training.recipe import RecipeError, load_recipe

MakePackage = Callable[..., Path]
SMALL: dict[str, Any] = {
    "spatial_dims": 2,
    "in_channels": 1,
    "out_channels": 2,
    "channels": [4, 8, 16],
    "norm": "batch",
}


def flat_package(folder: Path, **arguments: Any) -> ModelPackage:
    """A package of a random 2D UNet whose norms have seen data."""
    merged = {**SMALL, "strides": [2, 2], "num_res_units": 1, **arguments}
    torch.manual_seed(3)
    network = build_network("UNet", merged)
    for _ in range(3):
        network(torch.randn(4, 1, 32, 32) * 2 + 1)
    spec = toy_spec("UNet", merged, 2, 1, axcodes="LPS", pixdim=(6.0, 6.0, -1.0))
    return read_package(write_toy(folder, spec, network.state_dict()))


def both(package: ModelPackage) -> tuple[torch.nn.Module, torch.nn.Module]:
    """The 2D network of a package and the 3D one made of it."""
    flat = build_network(package.network, package.arguments).eval()
    load_weights(package, flat)
    solid = build_network("UNet", inflated_arguments(package)).eval()
    solid.load_state_dict(inflated_state(flat.state_dict(), solid.state_dict()))
    return flat, solid


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"num_res_units": 0},
        {"num_res_units": 2, "kernel_size": [3, 3], "up_kernel_size": [3, 3]},
        {"strides": [[2, 1], [2, 2]], "act": ["prelu", {"init": 0.2}]},
        {"kernel_size": 5, "dropout": 0.1},
    ],
    ids=["small", "plain", "residual", "uneven", "wide"],
)
def test_the_3d_network_gives_slice_by_slice_what_the_2d_one_gives(tmp_path: Path, arguments: dict[str, Any]) -> None:
    flat, solid = both(flat_package(tmp_path, **arguments))
    x = torch.randn(2, 1, 32, 48, 7)
    with torch.inference_mode():
        out = solid(x)
        for k in range(7):
            torch.testing.assert_close(out[..., k], flat(x[..., k]), atol=1e-4, rtol=0)
    assert out.std() > 0.01


def test_it_learns_from_neighboring_slices(tmp_path: Path) -> None:
    _, solid = both(flat_package(tmp_path))
    solid(torch.randn(1, 1, 16, 16, 5)).square().mean().backward()
    kernel = next(p for p in solid.parameters() if p.ndim == 5 and p.shape[-1] == 3)
    assert kernel.grad is not None
    assert not kernel[..., 0].any()
    assert float(kernel.grad[..., 0].abs().max()) > 0


@pytest.mark.usefixtures("float32")
def test_the_engine_gives_the_same_labels_for_both(tmp_path: Path) -> None:
    package = flat_package(tmp_path / "flat")
    flat, _ = both(package)
    arguments = inflated_arguments(package)
    grid = {"axcodes": "LPS", "pixdim": (6.0, 6.0, -1.0), "divisible": (16, 16, 1)}
    spec = toy_spec("UNet", arguments, 3, 1, roi_size=(-1, -1, -1), **grid)
    state = inflated_state(flat.state_dict(), build_network("UNet", arguments).state_dict())
    write_toy(tmp_path / "solid", spec, state)
    volume = make_phantom(4, spacing=(6, 6, 6)).volume
    raw = Settings(largest_component=False, fill_holes=False, lesions_inside=False)

    found = [Segmenter(tmp_path / name, "cpu", raw).segment(volume).labelmap for name in ("flat", "solid")]

    assert 0.01 < (found[0] > 0).mean() < 0.99
    np.testing.assert_array_equal(found[0], found[1])


def test_weights_and_recipe_are_written_for_training(tmp_path: Path) -> None:
    package = flat_package(tmp_path / "flat")
    recipe = inflate(package.path, tmp_path / "start.safetensors", tmp_path / "recipes" / "my3d.yaml")
    assert load_recipe(tmp_path / "recipes" / "my3d.yaml") == recipe
    assert (recipe.spatial_dims, recipe.preprocess.pixdim, recipe.preprocess.window) == (3, (6, 6, 3), (-100, 300))
    assert recipe.labels == {1: "liver"}
    assert recipe.divisible() == (4, 4, 1)
    assert all(edge % n == 0 for edge, n in zip(recipe.patch_size, recipe.divisible(), strict=True))
    network = build_network(recipe.network.name, recipe.network_arguments())
    network.load_state_dict(read_weights(tmp_path / "start.safetensors"))


def test_the_starter_can_be_inflated(tmp_path: Path) -> None:
    try:
        find_package("liver_ct_starter")
    except ModelError:
        pytest.skip("the starter model is not here")
    recipe = inflate("liver_ct_starter", tmp_path / "start.safetensors", tmp_path / "my3d.yaml")
    assert recipe.network.arguments["strides"] == [[2, 2, 1]] * 5
    assert (tmp_path / "start.safetensors").stat().st_size > 1_000_000


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"norm": "instance"}, "has instance normalization, which looks at whole volumes"),
        ({"norm": ["GROUP", {"num_groups": 2}]}, "has group normalization"),
    ],
)
def test_other_norms_are_refused(tmp_path: Path, arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RecipeError, match=sentence):
        inflated_arguments(flat_package(tmp_path, **arguments))


def test_other_networks_are_refused(
    threshold_package: MakePackage, random_package: MakePackage, tmp_path: Path
) -> None:
    for package in (threshold_package(2), random_package(3)):
        with pytest.raises(RecipeError, match="only a 2D UNet is inflated"):
            inflate(package, tmp_path / "a.safetensors", tmp_path / "a.yaml")
    assert not list(tmp_path.glob("a.*"))
