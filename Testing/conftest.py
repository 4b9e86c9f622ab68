"""Shared parts: packages made on the spot, a case drawn on any grid, and the place of the real data."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest

from LiverSegLib.labels import labels_for
from LiverSegLib.models import ModelSpec
from LiverSegLib.models.inferer import Inferer
from LiverSegLib.models.intensity import ScaleRange
from LiverSegLib.models.package import write_package
from LiverSegLib.networks import build_network
from LiverSegLib.volume import Volume
from Testing.required import pytest_sessionstart  # noqa: F401 (a hook of pytest: looks for what the run must have)

if TYPE_CHECKING:
    import torch

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
MakePackage = Callable[..., Path]
DrawCase = Callable[..., Volume]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real images, which are no part of this repository."""
    if not DATA.is_dir():
        pytest.skip(f"the real images are not at {DATA}")
    return DATA


@pytest.fixture
def float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute in float32 also where the processor has a faster half precision, for exact comparisons."""
    from LiverSegLib.engine import devices

    monkeypatch.setattr(devices, "has_bf16_matrix_unit", lambda: False)


@pytest.fixture(scope="session")
def toy_packages(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Copies a toy package to a folder; one with the same arguments is made once, which takes half a second."""
    made: dict[str, Path] = {}

    def copy(kind: Callable[..., None], folder: Path, **arguments: Any) -> Path:
        key = f"{kind.__name__} {sorted(arguments.items())}"
        if key not in made:
            made[key] = tmp_path_factory.mktemp("toy") / "package"
            kind(made[key], **arguments)
        shutil.copytree(made[key], folder, dirs_exist_ok=True)
        return folder

    return copy


@pytest.fixture
def threshold_package(toy_packages: Callable[..., Path], tmp_path: Path) -> MakePackage:
    """Makes a package whose network calls everything above 100 HU liver and above 200 HU tumor."""

    def make(dims: int = 3, name: str = "threshold", labels: int = 2, **changes: Any) -> Path:
        return toy_packages(write_threshold, tmp_path / name, dims=dims, labels=labels, **changes)

    return make


@pytest.fixture
def random_package(toy_packages: Callable[..., Path], tmp_path: Path) -> MakePackage:
    """Makes a package of a small UNet with random but always the same weights."""

    def make(dims: int = 3, name: str = "random", labels: int = 1, **changes: Any) -> Path:
        return toy_packages(_write_random, tmp_path / name, dims=dims, labels=labels, **changes)

    return make


def write_threshold(folder: Path, dims: int = 3, labels: int = 2, **changes: Any) -> None:
    """The package of `threshold_package`."""
    arguments = {
        "spatial_dims": dims,
        "in_channels": 1,
        "out_channels": labels + 1,
        "features": [2] * 6,
        "norm": "batch",
    }
    spec = toy_spec("BasicUNet", arguments, dims, labels, **changes)
    write_toy(folder, spec, _threshold_weights(arguments))


def _write_random(folder: Path, dims: int, labels: int, **changes: Any) -> None:
    arguments = {
        "spatial_dims": dims,
        "in_channels": 1,
        "out_channels": labels + 1,
        "channels": [4, 8, 16],
        "strides": [2, 2],
        "num_res_units": 1,
    }
    import torch

    torch.manual_seed(5)
    state = build_network("UNet", arguments).state_dict()
    write_toy(folder, toy_spec("UNet", arguments, dims, labels, **changes), state)


def toy_spec(network: str, arguments: dict[str, Any], dims: int, labels: int, **changes: Any) -> ModelSpec:
    """A model of the first `labels` of liver and tumor.

    Args:
        changes: fields of the spec or of its window, and `window`, the gray values that become 0 and 1.
    """
    inferer = Inferer(roi_size=(32, 32, 32) if dims == 3 else (-1, -1), overlap=0.25, batch_size=4)
    of_window = {field.name: changes.pop(field.name) for field in fields(Inferer) if field.name in changes}
    low, high = changes.pop("window", (-100.0, 300.0))
    spec = ModelSpec(
        name="Toy model",
        version="1.2.3",
        modality="CT",
        license="CC0-1.0",
        data_source="made up",
        intended_use="tests",
        labels=labels_for(dict(list({1: "liver", 2: "tumor"}.items())[:labels])),
        network=network,
        arguments=arguments,
        axcodes="RAS",
        pixdim=(2.0, 2.0, 2.0),
        intensity=(ScaleRange(low, high),),
        inferer=replace(inferer, **of_window),
        divisible=(1, 1, 1) if dims == 3 else (16, 16, 1),
    )
    return replace(spec, **changes)


def write_toy(folder: Path, spec: ModelSpec, state: dict[str, torch.Tensor]) -> Path:
    """The package folder of a toy model."""
    write_package(folder, spec, state, card="# Toy\n", license_text="Public domain\n")
    return folder


def _threshold_weights(arguments: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Weights that lead the scaled intensity x past all the layers: logits 0, x - 0.5 and 2 x - 1.25."""
    state = build_network("BasicUNet", arguments).state_dict()
    for name, tensor in state.items():
        if "running" not in name and "adn" not in name:
            tensor.zero_()
    middle = (1,) * arguments["spatial_dims"]
    for block in ("conv_0", "upcat_1.convs"):
        for conv in ("conv_0", "conv_1"):
            state[f"{block}.{conv}.conv.weight"][(0, 0, *middle)] = 1.0
    for label, (slope, offset) in enumerate([(10.0, -5.0), (20.0, -12.5)][: arguments["out_channels"] - 1], 1):
        state["final_conv.weight"][label, 0] = slope
        state["final_conv.bias"][label] = offset
    return state


@pytest.fixture(scope="session")
def draw_case() -> DrawCase:
    """Draws one and the same liver of 150 HU with a lesion of 250 HU (RAS mm) on any grid, as a CT would."""
    return _draw


def _draw(affine: npt.NDArray[np.float64], shape: tuple[int, ...], dtype: Any = np.float32) -> Volume:
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    world = index @ affine[:3, :3].T + affine[:3, 3]
    # Unequal axes and an off-center lesion: no mirror image looks the same.
    liver = 1 - np.linalg.norm((world - [6, -4, 2]) / [34, 26, 20], axis=-1)
    lesion = 1 - np.linalg.norm((world - [16, 4, 6]) / 9, axis=-1)
    values = np.clip(100 + 300 * liver, -80, 150) + np.clip(100 + 300 * lesion, 0, 100)
    return Volume(values.astype(dtype), affine, "the drawn case", "CT")
