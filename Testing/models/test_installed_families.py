"""Models of others in the store: they come as they are, and are kept in a form that is read safely."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from LiverSegLib.errors import ModelError
from LiverSegLib.models import Guide, find_package, read_description, read_package
from LiverSegLib.models.family import find_root
from LiverSegLib.models.installed import ModelStore
from LiverSegLib.models.sidecar import Sidecar, write_sidecar
from LiverSegLib.models.store import DEFAULT
from LiverSegLib.models.weights import loaded_network
from Testing.conftest import MakePackage
from Testing.models import auto3dseg_folders, nnunet_folders
from Testing.models.test_installed import QUICK, packed
from Testing.models.web_server import Site, serving

RESULTS = "nnUNetTrainerNoMirroring__nnUNetPlans__3d_fullres"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("http_proxy", "HTTP_PROXY", "LIVERSEG_CATALOGUE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LIVERSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LIVERSEG_MODELS", str(tmp_path / "models"))
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def test_a_model_of_nnunet_is_fetched_and_run_as_the_catalogue_says(folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "Dataset123_Liver"
    nnunet_folders.toy(source / RESULTS)
    content = packed(source, tmp_path / "Dataset123_Liver.zip")
    with serving(Site(files={"/Dataset123_Liver.zip": content})) as site:
        entry = {
            "id": "world_liver",
            "title": "Liver of the world",
            "family": "nnunet",
            "modality": "CT",
            "license": "Apache-2.0",
            "axcodes": "RAS",
            "names": {"1": "liver", "2": "tumor"},
            "targets": ["liver"],
            "url": f"{site.address}/Dataset123_Liver.zip",
            "checksum": f"sha256:{hashlib.sha256(content).hexdigest()}",
        }
        (folder / "own.json").write_text(json.dumps({"version": 1, "models": [entry]}))
        store = ModelStore(patience=QUICK)
        path = store.install(store.find("world_liver").entry, accept_license=True)
    assert path == folder / "world_liver" == find_package("world_liver")
    assert [file.name for file in (path / "fold_0").iterdir()] == ["checkpoint_final.safetensors"]
    package = read_package(path)
    # nnU-Net's arrays lie as z, y, x.
    assert (package.name, package.axcodes, package.license) == ("Liver of the world", "SAR", "Apache-2.0")
    assert [label.name for label in package.labels] == ["liver", "tumor"]
    assert package.default_targets == ("liver",)
    loaded_network(package)
    store.verify("world_liver")


def test_a_model_of_nnunet_from_a_folder(folder: Path, tmp_path: Path) -> None:
    source = nnunet_folders.toy(tmp_path / RESULTS, folds=2)
    store = ModelStore()
    found = store.add(source, name="mine")
    assert (found.state, found.entry.family) == ("installed", "nnunet")
    assert len(read_package(folder / "mine").weights) == 2
    assert (source / "fold_0" / "checkpoint_final.pth").is_file()


def test_a_model_of_auto3dseg_is_installed(folder: Path, tmp_path: Path) -> None:
    source = auto3dseg_folders.write_model(tmp_path / "abdominal-organs-v2.0.0")
    packed(source, tmp_path / "abdominal-organs-v2.0.0.zip")
    found = ModelStore().add(tmp_path / "abdominal-organs-v2.0.0.zip", accept_license=True)
    assert (found.entry.id, found.entry.family, found.state) == ("auto3dseg_abdomen_ct", "auto3dseg", "installed")
    assert read_package(folder / "auto3dseg_abdomen_ct").license == "CC BY 4.0"


def test_changed_weights_are_told_of_when_they_are_loaded(folder: Path, tmp_path: Path) -> None:
    """What a checkpoint tells is read without its checksum, which takes long for large files; its numbers never are."""
    ModelStore().add(auto3dseg_folders.write_model(tmp_path / "organs"), name="organs")
    ModelStore().add(nnunet_folders.toy(tmp_path / RESULTS), name="mine")
    for weights in ("organs/model.pt", "mine/fold_0/checkpoint_final.safetensors"):
        path = folder / weights
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        package = read_package(folder / weights.partition("/")[0])
        with pytest.raises(ModelError, match="checksum"):
            loaded_network(package)


def test_what_the_sidecar_says_of_a_bundle_counts(folder: Path, random_package: MakePackage) -> None:
    said = Sidecar(
        id="mine",
        title="Spleen of others",
        version="9.0",
        modality="MR",
        license="CC0",
        guide=Guide(DEFAULT, 20.0),
        targets=("spleen",),
        names={1: "spleen"},
    )
    source = random_package(labels=2)
    (source / "checksums.sha256").unlink()
    write_sidecar(source, said)
    path = ModelStore().add(source, name="mine").path
    assert path == folder / "mine"
    for found in (read_package(path), read_description(path)):
        assert (found.name, found.version, found.modality, found.license) == ("Spleen of others", "9.0", "MR", "CC0")
        assert found.labels[0].name == "spleen"
        assert found.labels[1] == read_description(find_package("mine")).labels[1]
        assert found.guide == Guide(DEFAULT, 20.0)
        assert found.default_targets == ("spleen",)
    write_sidecar(source, replace(said, names={1: "tumor"}, targets=()))
    with pytest.raises(ModelError, match="gives two labels the same name"):
        ModelStore().add(source, name="other")


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch /tmp/liverseg-evil",)


def test_a_checkpoint_with_code_is_not_installed(folder: Path, tmp_path: Path) -> None:
    source = nnunet_folders.toy(tmp_path / RESULTS)
    (source / "fold_0" / "checkpoint_final.pth").write_bytes(pickle.dumps({"network_weights": Evil()}))
    with pytest.raises(ModelError):
        ModelStore().add(source, name="mine")
    assert not (folder / "mine").exists()
    assert not Path("/tmp/liverseg-evil").exists()


def test_what_cannot_be_run_is_not_installed(folder: Path, tmp_path: Path, random_package: MakePackage) -> None:
    source = random_package()
    for name in ("checksums.sha256", "configs/inference.json"):
        (source / name).unlink()
    (source / "configs" / "inference.json").write_text('{"network_def": "$import os"}')
    with pytest.raises(ModelError):
        ModelStore().add(source, name="mine")
    assert not (folder / "mine").exists()
    assert tmp_path.is_dir()


@pytest.mark.parametrize(
    ("files", "family"),
    [
        (["configs/metadata.json", "configs/inference.json"], "bundle"),
        (["configs/metadata.json", "configs/inference.yaml"], "bundle"),
        (["plans.json", "dataset.json"], "nnunet"),
        (["labels.csv", "model.pt"], "auto3dseg"),
    ],
)
@pytest.mark.parametrize("below", ["", "a", "a/b", "a/b/c"])
def test_a_family_is_known_by_its_files(tmp_path: Path, files: list[str], family: str, below: str) -> None:
    for name in files:
        (tmp_path / below / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / below / name).write_text("")
    root, found = find_root(tmp_path, tmp_path)
    assert (root, found.name) == (tmp_path / below, family)


def test_half_a_model_is_none(tmp_path: Path) -> None:
    (tmp_path / "plans.json").write_text("")
    with pytest.raises(ModelError, match=r"holds no model of a form that LiverSeg knows \(MONAI bundle, nnU-Net v2"):
        find_root(tmp_path, tmp_path)
