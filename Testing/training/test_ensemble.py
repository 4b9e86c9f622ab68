"""Several runs as one package: the mean of their probabilities, by our engine and by MONAI; mirrored images."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from LiverSegLib.engine.segmenter import Segmenter
from LiverSegLib.errors import ModelError
from LiverSegLib.io import read_volume
from LiverSegLib.models import read_package
from LiverSegLib.models.mirroring import mirrored_model
from LiverSegLib.models.package import write_package
from LiverSegLib.models.sidecar import Sidecar, write_sidecar
from LiverSegLib.models.weights import loaded_network, read_weights
from LiverSegLib.networks import build_network
from LiverSegLib.request import Settings
from LiverSegLib.volume import Volume
from Testing.conftest import MakePackage, toy_spec
from Testing.training.test_export import LUNGS, change_weights, made_run
from Testing.training.test_finetune import write_cases
from Training.__main__ import app
from Training.errors import RunError
from Training.evaluation.scores import read_scores
from Training.packages.export import export, load_run

RAW = Settings(largest_component=False, fill_holes=False, lesions_inside=False)
FLIPS = [*LUNGS, "augment.flip={x: 0.5}"]


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Three runs of one recipe that learned different things."""
    found = [made_run(tmp_path / f"run_{number}", changes=FLIPS)[0] for number in range(3)]
    for number, run in enumerate(found):
        change_weights(run, 1.0 + number)
    return found


def mean_of(states: list[dict[str, torch.Tensor]], package: Path, x: torch.Tensor) -> torch.Tensor:
    """The mean of the probabilities of networks with these weights."""
    found = read_package(package)
    total = torch.zeros(())
    for state in states:
        network = build_network(found.network, found.arguments).eval()
        network.load_state_dict(state)
        total = total + network(x).softmax(1)
    return total / len(states)


@torch.inference_mode()
def test_a_package_of_runs_gives_the_mean_of_their_probabilities(runs: list[Path], tmp_path: Path) -> None:
    package = tmp_path / "package"
    words = ["export", *map(str, runs), "-o", str(package)]
    assert CliRunner().invoke(app, words, catch_exceptions=False).exit_code == 0
    names = sorted(path.name for path in (package / "models").iterdir())
    assert names == ["model.safetensors", "model_2.safetensors", "model_3.safetensors"]

    x = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(3))
    found = loaded_network(read_package(package)).eval()(x).softmax(1)
    stored = [{k: v.float() for k, v in read_weights(package / "models" / name).items()} for name in names]
    torch.testing.assert_close(found, mean_of(stored, package, x), atol=1e-6, rtol=0)
    trained = [load_run(run)[1] for run in runs]
    torch.testing.assert_close(found, mean_of(trained, package, x), atol=5e-3, rtol=0)
    assert "the mean of the probabilities of 3 networks" in (package / "docs" / "README.md").read_text()


def test_every_member_has_its_checksum(runs: list[Path], tmp_path: Path) -> None:
    package = tmp_path / "package"
    export(runs, package)
    (package / "models" / "model_3.safetensors").write_bytes((package / "models" / "model_2.safetensors").read_bytes())
    with pytest.raises(ModelError, match=r"model_3\.safetensors has a wrong checksum"):
        loaded_network(read_package(package))


@pytest.mark.parametrize(
    "members",
    ["models/model.safetensors", ["models/model.safetensors"], ["models/../../a.safetensors", "models/b.safetensors"],
     ["models/a.pt", "models/b.pt"], [1, 2], ["models/a.safetensors"] * 2],
)  # fmt: skip
def test_members_that_are_no_files_of_the_package_are_refused(
    runs: list[Path], tmp_path: Path, members: object
) -> None:
    package = tmp_path / "package"
    export(runs[:2], package)
    file = package / "configs" / "inference.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"members": members}))
    (package / "checksums.sha256").unlink()
    with pytest.raises(ModelError, match="are not the names of 2 to 32 safetensors files"):
        read_package(package)


def test_runs_that_work_differently_make_no_package(runs: list[Path], tmp_path: Path) -> None:
    other, _ = made_run(tmp_path / "other", changes=[*LUNGS, "preprocess.percentiles=[1, 99]"])
    with pytest.raises(RunError, match="differ in preprocess"):
        export([runs[0], other], tmp_path / "package")
    with pytest.raises(RunError, match="named twice"):
        export([runs[0], runs[0]], tmp_path / "package")
    assert not (tmp_path / "package").exists()


@pytest.mark.usefixtures("float32")
def test_monai_runs_an_ensemble_as_we_do(tmp_path: Path) -> None:
    pytest.importorskip("ignite", reason="pytorch-ignite, which MONAI's evaluator needs, is not installed")
    from Testing.models.test_bundle_run import run_by_monai

    arguments = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, "channels": [4, 8], "strides": [2]}
    states = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        states.append(build_network("UNet", arguments).state_dict())
    package = tmp_path / "package"
    spec = toy_spec("UNet", arguments, 3, 1)
    write_package(package, spec, states[0], card="# Toy\n", license_text="CC0\n", others=states[1:])
    rng = np.random.default_rng(2)
    values = rng.normal(60, 120, (5, 5, 4)).repeat(4, 0).repeat(4, 1).repeat(4, 2).astype(np.int16)
    (tmp_path / "data").mkdir()
    case = tmp_path / "data" / "case.nii.gz"
    nib.save(nib.Nifti1Image(values, np.diag([2.0, 2, 2, 1])), case)

    ours = Segmenter(package, "cpu", RAW).segment(read_volume(case)).labelmap
    theirs = run_by_monai(package, case, tmp_path / "out", here=True)
    assert 0.05 < (theirs > 0).mean() < 0.95
    np.testing.assert_array_equal(ours, theirs)


def test_a_recipe_that_flips_makes_a_package_that_says_so(runs: list[Path], tmp_path: Path) -> None:
    export(runs[0], tmp_path / "package")
    package = read_package(tmp_path / "package")
    assert (package.mirror_axes, package.inferer.mirror) == ((0,), ())


@pytest.mark.usefixtures("float32")
def test_mirroring_treats_left_and_right_alike(random_package: MakePackage) -> None:
    package = random_package(mirror_axes=(0,))
    mirrored = mirrored_model(package)
    assert mirrored.inferer.mirror == (0,)
    values = np.random.default_rng(0).normal(60, 120, (6, 5, 4)).repeat(4, 0).repeat(4, 1).repeat(4, 2)
    scan, turned = (Volume(array, np.diag([2.0, 2, 2, 1]), "scan") for array in (values, values[::-1].copy()))
    plain, both = Segmenter(package, "cpu", RAW), Segmenter(mirrored, "cpu", RAW)
    found, found_turned = (both.segment(one).labelmap for one in (scan, turned))
    assert 0.05 < (found > 0).mean() < 0.95
    np.testing.assert_array_equal(found, found_turned[::-1])
    assert not np.array_equal(plain.segment(scan).labelmap, plain.segment(turned).labelmap[::-1])

    write_sidecar(package, Sidecar(mirror=True))
    (package / "checksums.sha256").unlink()
    assert read_package(package).inferer.mirror == (0,)


def test_evaluate_mirrors_where_it_is_asked_to(random_package: MakePackage, tmp_path: Path) -> None:
    cases = write_cases(tmp_path / "cases", 1)
    model = str(random_package(labels=2, mirror_axes=(0,), pixdim=(8.0, 8.0, 8.0)))
    for name, more in (("plain", []), ("mirrored", ["--mirror"])):
        words = ["evaluate", str(cases), "--model", model, "-o", str(tmp_path / name), "--device", "cpu", *more]
        assert CliRunner().invoke(app, words, catch_exceptions=False).exit_code == 0
    plain, mirrored = (read_scores(tmp_path / name) for name in ("plain", "mirrored"))
    assert plain.summary["liver_dice_mean"] != mirrored.summary["liver_dice_mean"]
    assert (mirrored.title, mirrored.command.endswith("--mirror")) == ("cases, mirrored", True)


def test_a_network_that_never_saw_a_mirror_image_is_not_mirrored(random_package: MakePackage) -> None:
    with pytest.raises(ModelError, match="tells of no mirrored images"):
        mirrored_model(random_package())


def test_axes_of_mirroring_that_the_window_lacks_are_refused(runs: list[Path], tmp_path: Path) -> None:
    export(runs[0], tmp_path / "package")
    file = tmp_path / "package" / "configs" / "inference.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"mirror_axes": [2]}))
    (tmp_path / "package" / "checksums.sha256").unlink()
    with pytest.raises(ModelError, match="are not axes of a window of 2 dimensions"):
        read_package(tmp_path / "package")
