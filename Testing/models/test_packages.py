"""Model packages: what is written is read, public MONAI bundles as they are, networks by name."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from LiverSegLib.engine.segmenter import Segmenter
from LiverSegLib.errors import ModelError
from LiverSegLib.models import archive, find_package, read_package, store
from LiverSegLib.models.inferer import Inferer
from LiverSegLib.models.intensity import Normalize, ScalePercentiles, ScaleRange
from LiverSegLib.models.weights import load_weights, read_weights
from LiverSegLib.networks import build_network, canonical_name
from LiverSegLib.volume import Volume

MakePackage = Callable[..., Path]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of our own."""
    monkeypatch.setenv("LIVERSEG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize(("dims", "roi"), [(3, (32, 48, 64)), (3, (-1, -1, -1)), (2, (-1, -1)), (2, (96, 64))])
def test_a_written_package_is_read_back(random_package: MakePackage, dims: int, roi: tuple[int, ...]) -> None:
    folder = random_package(
        dims,
        labels=2,
        axcodes="LPS",
        pixdim=(1.5, -1.0, 2.5),
        window=(-160.0, 240.0),
        roi_size=roi,
        overlap=0.625,
        batch_size=3,
        divisible=(16, 32, 1),
        metrics={"liver Dice": 0.95},
        changelog={"1.2.3": "more", "1.0": "first"},
    )

    package = read_package(folder)

    assert package.path == folder
    assert (package.name, package.version, package.title) == ("Toy model", "1.2.3", "Toy model 1.2.3")
    assert (package.license, package.data_source, package.intended_use) == ("CC0-1.0", "made up", "tests")
    assert [(label.value, label.name) for label in package.labels] == [(1, "liver"), (2, "tumor")]
    assert all("SCT^" in label.terminology for label in package.labels)
    assert (package.channels, package.modality, package.spatial_dims) == (3, "CT", dims)
    assert package.network == "UNet"
    assert package.arguments["channels"] == [4, 8, 16]
    assert (package.axcodes, package.pixdim, package.divisible) == ("LPS", (1.5, -1.0, 2.5), (16, 32, 1))
    assert package.intensity == (ScaleRange(-160.0, 240.0, 0.0, 1.0, clip=True),)
    assert package.inferer == Inferer(roi_size=roi, overlap=0.625, gaussian=True, batch_size=3, padding="constant")
    assert (package.softmax, package.nearest) == (False, False)
    assert package.metrics == {"liver Dice": 0.95}
    assert package.changelog == {"1.2.3": "more", "1.0": "first"}


def test_both_weight_files_hold_the_same_tensors(random_package: MakePackage) -> None:
    folder = random_package()
    safe, plain = read_weights(folder / "models/model.safetensors"), read_weights(folder / "models/model.pt")
    assert safe.keys() == plain.keys()
    for name, tensor in plain.items():
        torch.testing.assert_close(safe[name], tensor, atol=0, rtol=0)


def test_our_safetensors_are_those_of_the_library(random_package: MakePackage) -> None:
    path = random_package() / "models/model.safetensors"
    theirs, ours = load_file(path), read_weights(path)
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[name], ours[name]) for name in ours)


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("left_out", ["model.safetensors", "model.pt"])
def test_a_package_with_one_weight_file_segments_alike(
    threshold_package: MakePackage, draw_case: Callable[..., Volume], left_out: str
) -> None:
    folder = threshold_package()
    case = draw_case(np.diag([3.0, 3, 3, 1]), (16, 16, 16))
    expected = Segmenter(folder, "cpu").segment(case).labelmap
    (folder / "models" / left_out).unlink()
    np.testing.assert_array_equal(Segmenter(folder, "cpu").segment(case).labelmap, expected)


@pytest.mark.parametrize("top", ["", "liver_model/", "a b/"])
def test_a_zip_is_read_like_its_folder(random_package: MakePackage, tmp_path: Path, cache: Path, top: str) -> None:
    folder = random_package()
    path = tmp_path / "package.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for source in sorted(p for p in folder.rglob("*") if p.is_file()):
            file.write(source, top + source.relative_to(folder).as_posix())

    package = read_package(path)

    assert package.path.is_relative_to(cache)
    assert package.labels == read_package(folder).labels
    load_weights(package, build_network(package.network, package.arguments))
    before = sorted(cache.rglob("*"))
    assert read_package(path).path == package.path
    assert sorted(cache.rglob("*")) == before


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert archive.cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("LIVERSEG_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert archive.cache_folder() == tmp_path / "liverseg"


def test_packages_are_found_by_path_and_by_name(random_package: MakePackage, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = random_package(name=store.DEFAULT)
    assert find_package(folder) == find_package(str(folder)) == folder
    monkeypatch.setattr(store, "BUILT_IN", folder.parent)
    assert store.built_in_names() == [store.DEFAULT]
    assert find_package(store.DEFAULT) == find_package(None) == folder
    with pytest.raises(ModelError, match=r"There is no model kidney; give the path.*liver_tumor3d_ct"):
        find_package("kidney")


class TestPublicBundles:
    def test_spleen(self, shared_data: Path) -> None:
        package = read_package(shared_data / "bundles/spleen_ct_segmentation")
        assert (package.title, package.network) == ("Spleen CT segmentation 0.5.9", "UNet")
        assert package.arguments["channels"] == [16, 32, 64, 128, 256]
        assert [label.name for label in package.labels] == ["spleen"]
        assert (package.axcodes, package.pixdim) == ("RAS", (1.5, 1.5, 2.0))
        assert package.intensity == (ScaleRange(-57, 164, 0, 1, clip=True),)
        assert package.inferer == Inferer(roi_size=(96, 96, 96), overlap=0.5, gaussian=False, batch_size=4)
        assert (package.softmax, package.nearest) == (True, False)

    def test_whole_body(self, shared_data: Path) -> None:
        package = read_package(shared_data / "bundles/wholeBody_ct_segmentation")
        assert (package.title, package.network) == ("Whole body CT segmentation 0.2.5", "SegResNet")
        assert (len(package.labels), package.labels[4].name) == (104, "liver")
        assert package.pixdim == (1.5, 1.5, 1.5)
        assert package.intensity == (Normalize(nonzero=True), ScalePercentiles(0, 100, -1, 1, clip=False))
        assert package.inferer == Inferer(
            roi_size=(96, 96, 96), overlap=0.25, gaussian=True, batch_size=1, padding="replicate"
        )
        assert package.nearest

    def test_btcv(self, shared_data: Path) -> None:
        package = read_package(shared_data / "bundles/swin_unetr_btcv_segmentation")
        assert (package.network, package.channels) == ("SwinUNETR", 14)
        assert "img_size" not in package.arguments
        assert package.labels[5].name == "liver"
        assert package.intensity == (ScaleRange(-175, 250, 0, 1, clip=True),)

    @pytest.mark.parametrize("name", ["spleen_ct_segmentation", "wholeBody_ct_segmentation"])
    def test_their_networks_are_built(self, shared_data: Path, name: str) -> None:
        package = read_package(shared_data / "bundles" / name)
        network = build_network(package.network, package.arguments)
        assert sum(p.numel() for p in network.parameters()) > 1e6
        with pytest.raises(ModelError, match=r"holds no weights; expected .*model\.safetensors"):
            load_weights(package, network)


ARGUMENTS: dict[str, dict[str, Any]] = {
    "UNet": {"channels": [4, 8], "strides": [2], "norm": "batch", "act": ["leakyrelu", {"negative_slope": 0.1}]},
    "AttentionUnet": {"channels": [4, 8], "strides": [2]},
    "SegResNet": {"init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1], "norm": ["GROUP", {"num_groups": 4}]},
    "DynUNet": {
        "kernel_size": [3, 3, 3],
        "strides": [1, 2, 2],
        "upsample_kernel_size": [2, 2],
        "filters": [4, 8, 8],
        "deep_supervision": True,
        "deep_supr_num": 1,
    },
    "BasicUNet": {"features": [4, 4, 4, 4, 4, 4]},
}


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", ARGUMENTS)
def test_networks_are_built_by_name(name: str, dims: int) -> None:
    network = build_network(
        name.upper(), {**ARGUMENTS[name], "spatial_dims": dims, "in_channels": 1, "out_channels": 3}
    )
    with torch.inference_mode():
        out = network.eval()(torch.zeros((1, 1, *[32] * dims)))
    assert out.shape == (1, 3, *[32] * dims)


@pytest.mark.parametrize("name", ["UNet", "unet", "monai.networks.nets.UNet", "monai.networks.nets.unet.UNet"])
def test_spellings_of_a_network(name: str) -> None:
    assert canonical_name(name) == "UNet"


@pytest.mark.parametrize("name", ["ResNet", "", "os.system", "torch.nn.UNet", "monai.networks.nets_evil.UNet"])
def test_unknown_networks_are_refused(name: str) -> None:
    with pytest.raises(ModelError, match="is not supported; use one of AttentionUnet, BasicUNet"):
        build_network(name, {})


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"chanels": [4, 8]}, "The network UNet does not take 'chanels'; remove it"),
        ({"spatial_dims": 3}, "The network UNet cannot be built from"),
        ({"spatial_dims": 3, "channels": [4, 10**7]}, "cannot be built with channels = [4, 10000000]"),
        ({"strides": [2] * 1000}, "cannot be built with strides"),
        ({"act": {"_target_": ["x"] * 99}}, "cannot be built with act"),
        (
            {
                "channels": [4, 8],
                "strides": [2],
                "spatial_dims": 3,
                "in_channels": 1,
                "out_channels": 2,
                "norm": "evil",
            },
            "cannot be built from",
        ),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ModelError) as caught:
        build_network("UNet", arguments)
    assert sentence in str(caught.value)


def changed_inference(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The package after `change` to its inference.json, without its list of checksums."""
    (folder / "checksums.sha256").unlink()
    path = folder / "configs/inference.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    return folder


@pytest.mark.parametrize(
    ("argument", "nearest"), [({"nearest_interp": False}, False), ({"nearest_interp": True}, True), ({}, True)]
)
def test_inverting_by_nearest_neighbor_is_understood(
    random_package: MakePackage, argument: dict[str, bool], nearest: bool
) -> None:
    def change(data: dict[str, Any]) -> None:
        data["postprocessing"]["transforms"][0] = {"_target_": "Invertd", "keys": "pred", **argument}

    assert read_package(changed_inference(random_package(), change)).nearest is nearest


def test_a_disabled_transform_is_left_out(random_package: MakePackage) -> None:
    def change(data: dict[str, Any]) -> None:
        data["off"] = True
        data["preprocessing"]["transforms"].insert(2, {"_target_": "Flipd", "_disabled_": "@off"})

    assert read_package(changed_inference(random_package(), change)).axcodes == "RAS"


def test_a_copied_package_needs_nothing_outside(random_package: MakePackage, tmp_path: Path) -> None:
    moved = Path(shutil.move(random_package(), tmp_path / "elsewhere"))
    package = read_package(moved)
    load_weights(package, build_network(package.network, package.arguments))
    assert (moved / "LICENSE").read_text() == "Public domain\n"
