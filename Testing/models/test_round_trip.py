"""What a package says is read as it was written: read(write(x)) == x, for everything that a model may be."""

from __future__ import annotations

import json
import zipfile
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from LiverSegLib.errors import ModelError
from LiverSegLib.labels import labels_for
from LiverSegLib.models import Guide, ModelDescription, ModelPackage, ModelSpec, read_description, read_package
from LiverSegLib.models.crop import ForegroundCrop
from LiverSegLib.models.intensity import INTENSITY, Intensity, Normalize, ScalePercentiles, ScaleRange
from LiverSegLib.models.resampling import Resampling
from LiverSegLib.models.safetensors_file import read_header_texts, write_safetensors
from LiverSegLib.models.weights import read_weights
from LiverSegLib.quality import Calibration
from Testing.conftest import toy_spec, write_toy

STEPS: list[Intensity] = [
    ScaleRange(-100.0, 300.0),
    ScaleRange(0.0, 255.0, -1.0, 1.0, clip=False),
    ScalePercentiles(0.5, 99.5),
    ScalePercentiles(0.0, 100.0, -1.0, 1.0, clip=False),
    Normalize(),
    Normalize(nonzero=True),
    Normalize(99.5, 39.25),
    Normalize(mean=12.0, nonzero=True),
]
LABELS = [{1: "liver"}, {1: "liver", 2: "tumor"}, {n: f"segment {n}" for n in range(1, 9)}, {1: "Lung"}]
FIRST = Resampling(normalize_first=True)
CHANGES: dict[str, dict[str, Any]] = {
    "plain": {},
    **{f"intensity {number}": {"intensity": (step,)} for number, step in enumerate(STEPS)},
    "two steps": {"intensity": (Normalize(nonzero=True), ScalePercentiles(0.0, 100.0, -1.0, 1.0, clip=False))},
    "no step": {"intensity": ()},
    "pixdim": {"axcodes": "LPS", "pixdim": (1.5, -1.0, 2.5)},
    "the image's own grid": {"pixdim": (-1.0, -1.0, -1.0)},
    "size": {"pixdim": (-1.0, -1.0, -1.0), "size": (96, 64, 32)},
    "size and pixdim": {"pixdim": (-1.0, -1.0, 4.0), "size": (96, 64, -1)},
    "divisible": {"divisible": (16, 32, 1)},
    "even windows": {"gaussian": False, "padding": "replicate", "overlap": 0.625, "batch_size": 3},
    "foreground": {"crop": ForegroundCrop(margin=10)},
    "foreground that is not 0": {"crop": ForegroundCrop(nonzero=True)},
    "foreground after resampling": {"crop": ForegroundCrop(resampled=True)},
    "foreground last": {"crop": ForegroundCrop(resampled=True, normalized=True, margin=1)},
    "foreground before a size": {"pixdim": (-1.0, -1.0, -1.0), "size": (96, 64, 32), "crop": ForegroundCrop()},
    "intensities first": {"resampling": FIRST},
    "intensities, foreground, grid": {"resampling": FIRST, "crop": ForegroundCrop(normalized=True)},
    "foreground, intensities, grid": {"resampling": FIRST, "crop": ForegroundCrop()},
    "own axes": {"axcodes": "ijk"},
    "softmax": {"softmax": True},
    "nearest": {"nearest": True},
    "X-ray": {"modality": "DX"},
    "any modality": {"modality": ""},
    "no version": {"version": ""},
    "guide": {"guide": Guide("coarse_one", 12.5)},
    "divides": {"divides": "liver.v2", "guide": Guide("coarse"), "voters": ("a", "b-2")},
    "calibration": {"calibration": Calibration(offset=0.1, weights={"agreement": 0.9, "gray": 0.0}, low=-1.5, high=1)},
    "results": {"metrics": {"liver Dice": 0.95, "cases": 20}, "changelog": {"1.2.3": "more", "1.0": "first"}},
}


def spec_of(dims: int, labels: int = 1, **changes: Any) -> ModelSpec:
    arguments = {"spatial_dims": dims, "in_channels": 1, "out_channels": labels + 1, "channels": [4, 8]}
    return toy_spec("DoubleConvUNet" if dims == 3 else "PyramidUNet", arguments, dims, labels, **changes)


def written(folder: Path, spec: ModelSpec) -> Path:
    return write_toy(folder, spec, {"weight": torch.zeros(1)})


def as_spec(package: ModelPackage) -> ModelSpec:
    """What the package says, without where it lies."""
    return ModelSpec(**{field.name: getattr(package, field.name) for field in fields(ModelSpec)})


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("change", CHANGES)
def test_a_package_is_read_as_it_was_written(tmp_path: Path, change: str, dims: int) -> None:
    spec = spec_of(dims, **CHANGES[change])
    assert as_spec(read_package(written(tmp_path, spec))) == spec


@pytest.mark.parametrize("names", LABELS, ids=len)
@pytest.mark.parametrize("roi", [(-1, -1), (96, 64), (-1, -1, -1), (32, 48, 64), (-1, -1, 16)])
def test_so_are_labels_and_windows(tmp_path: Path, names: dict[int, str], roi: tuple[int, ...]) -> None:
    spec = replace(spec_of(len(roi), len(names), roi_size=roi), labels=labels_for(names))
    package = read_package(written(tmp_path, spec))
    assert as_spec(package) == spec
    assert (package.spatial_dims, package.channels) == (len(roi), len(names) + 1)


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_a_step_is_read_as_it_was_written(step: Intensity) -> None:
    arguments = json.loads(json.dumps(step.to_monai()))
    assert INTENSITY[arguments["_target_"]](arguments) == step


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (ScaleRange(-100, 300), "HU -100 to 300 mapped to 0 to 1"),
        (ScalePercentiles(0.5, 99.5), "percentiles 0.5 to 99.5 mapped to 0 to 1"),
        (Normalize(nonzero=True), "mean 0 and standard deviation 1 over voxels that are not 0"),
        (Normalize(99.5, 39.25), "HU less 99.5, divided by 39.25"),
        (Normalize(mean=12.0), "HU less 12, divided by their standard deviation"),
    ],
    ids=str,
)
def test_a_step_tells_people_what_it_does(step: Intensity, text: str) -> None:
    assert step.text("HU") == text


def zipped(folder: Path, path: Path, top: str = "model/") -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for source in sorted(p for p in folder.rglob("*") if p.is_file()):
            file.write(source, top + source.relative_to(folder).as_posix())
    return path


@pytest.mark.parametrize("top", [None, "", "model/"])
def test_the_description_alone_is_that_of_the_package(tmp_path: Path, top: str | None) -> None:
    spec = spec_of(3, 2, metrics={"liver Dice": 0.95}, changelog={"1.0": "first"})
    folder = written(tmp_path / "package", spec)
    (folder / "configs" / "inference.json").write_text("never looked at")
    path = folder if top is None else zipped(folder, tmp_path / "package.zip", top)
    found = read_description(path)
    assert type(found) is ModelDescription
    assert all(getattr(found, field.name) == getattr(spec, field.name) for field in fields(ModelDescription))


@pytest.mark.parametrize("content", [b"", b"PK", b"not a zip at all" * 99])
def test_a_description_of_no_package_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.zip"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.zip is neither a package folder nor a zip; get the package again\."):
        read_description(path)
    with pytest.raises(ModelError, match="There is no model package at"):
        read_description(tmp_path / "nowhere")
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("beach.jpg", "blue")
    with pytest.raises(ModelError, match=r"model\.zip holds no configs/metadata\.json; it is not a model package\."):
        read_description(path)


def test_a_description_that_is_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("configs/metadata.json", bytes(20_000_000))
    with pytest.raises(ModelError, match="larger than any package configuration; it is not read"):
        read_description(path)


def test_the_same_weights_and_texts_are_the_same_bytes(tmp_path: Path) -> None:
    state = {"b": torch.rand(3, 5), "a": torch.arange(7)}
    texts = {f"key {n}": f"text {n}, größer" for n in range(9)}
    for name, given in (("one", texts), ("two", dict(reversed(texts.items())))):
        write_safetensors(tmp_path / f"{name}.safetensors", state, given)
    one, two = (tmp_path / f"{name}.safetensors" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    with one.open("rb") as file:
        assert read_header_texts(file, one) == texts
    found = read_weights(one)
    assert {name: tensor.tolist() for name, tensor in found.items()} == {n: t.tolist() for n, t in state.items()}
