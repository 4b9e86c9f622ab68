"""From a run folder to a package: what it says, and that nothing half-made or wrong is left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from LiverSegLib.engine.segmenter import Segmenter
from LiverSegLib.errors import OutputError
from LiverSegLib.models import read_package
from LiverSegLib.networks import build_network
from LiverSegLib.volume import Volume
from Training.errors import DataError, RunError
from Training.packages.export import export, load_run
from Training.packages.inflate import inflate
from Training.recipe import Recipe, load_recipe
from Training.recipe.yaml_text import recipe_data, write_recipe

LUNGS = ["network.arguments.channels=[4, 8, 8]", "preprocess.size=[64, 64, -1]", "patch_size=[64, 64]"]


def made_run(folder: Path, name: str = "lung_xray2d", changes: list[str] | None = None) -> tuple[Path, Recipe]:
    """A run folder as training leaves it, of weights that never trained."""
    recipe = load_recipe(name, LUNGS if changes is None else changes)
    write_recipe(folder / "recipe.yaml", recipe_data(recipe), "a run")
    torch.manual_seed(1)
    network = build_network(recipe.network.name, recipe.network_arguments())
    (folder / "checkpoints").mkdir()
    state = {f"network.{key}": value for key, value in network.state_dict().items()}
    torch.save({"state_dict": {**state, "loss.weight": torch.ones(2)}}, folder / "checkpoints" / "best.ckpt")
    return folder, recipe


def change_weights(run: Path, change: float) -> None:
    """The first kernel of the run's checkpoint times `change`."""
    path = run / "checkpoints" / "best.ckpt"
    data = torch.load(path, weights_only=True)
    key = next(k for k in data["state_dict"] if k.endswith("weight"))
    data["state_dict"][key] *= change
    torch.save(data, path)


def test_the_package_says_what_the_recipe_says(tmp_path: Path) -> None:
    run, recipe = made_run(tmp_path / "run")
    export(run, tmp_path / "package")

    package = read_package(tmp_path / "package")
    assert (package.modality, package.size, package.pixdim) == ("DX", (64, 64, -1), (-1, -1, -1))
    assert [label.name for label in package.labels] == ["lung"]
    assert package.divisible == recipe.divisible() == (4, 4, 1)
    assert "loss.weight" not in load_run(run)[1]
    card = (tmp_path / "package" / "docs" / "README.md").read_text()
    assert "one channel (X-ray), axes LPS, 64 voxels x 64 voxels x as in the image; percentiles 0.5 to 99.5" in card
    assert "Not evaluated yet." in card
    picture = Volume(np.arange(3000.0).reshape(60, 50, 1), np.diag([-1.0, -1, 1, 1]), "picture")
    assert Segmenter(package, "cpu").segment(picture).labelmap.shape == (60, 50, 1)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("pyramid2d_multi", ["network.arguments.channels=[4, 8]"]),
        (
            "liver_tumor3d_best",
            [
                "network.arguments.init_filters=8",
                "network.arguments.blocks_down=[1, 1, 1]",
                "network.arguments.dsdepth=2",
            ],
        ),
        ("unet2d_attention", ["network.arguments.channels=[4, 8]"]),
    ],
)
def test_networks_with_several_heads_or_gates_are_exported_too(tmp_path: Path, name: str, changes: list[str]) -> None:
    run, recipe = made_run(tmp_path / "run", name, changes)
    export(run, tmp_path / "package")
    package = read_package(tmp_path / "package")
    assert package.network == recipe.network.name
    assert package.channels == len(recipe.labels) + 1


def test_weights_may_be_stored_once(tmp_path: Path) -> None:
    run, _ = made_run(tmp_path / "run")
    export(run, tmp_path / "package", torch_file=False)
    assert [path.name for path in (tmp_path / "package" / "models").iterdir()] == ["model.safetensors"]
    picture = Volume(np.arange(3000.0).reshape(60, 50, 1), np.diag([-1.0, -1, 1, 1]), "picture")
    assert Segmenter(tmp_path / "package", "cpu").segment(picture).labelmap.shape == (60, 50, 1)


def test_a_package_is_replaced_as_a_whole(tmp_path: Path) -> None:
    run, _ = made_run(tmp_path / "run")
    export(run, tmp_path / "package")
    (tmp_path / "package" / "docs" / "old.md").write_text("from an earlier version")
    export(run, tmp_path / "package")
    assert not (tmp_path / "package" / "docs" / "old.md").exists()
    assert {p.name for p in tmp_path.iterdir()} == {"run", "package"}


def test_broken_weights_leave_the_earlier_package(tmp_path: Path) -> None:
    run, _ = made_run(tmp_path / "run")
    export(run, tmp_path / "package")
    before = (tmp_path / "package" / "checksums.sha256").read_bytes()
    change_weights(run, float("nan"))
    with pytest.raises(RunError, match="are not all numbers"):
        export(run, tmp_path / "package")
    assert (tmp_path / "package" / "checksums.sha256").read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} == {"run", "package"}


def test_weights_too_large_for_half_precision_stay_as_they_are(tmp_path: Path) -> None:
    run, _ = made_run(tmp_path / "run")
    change_weights(run, 1e9)
    export(run, tmp_path / "package")
    from LiverSegLib.models.weights import read_weights

    stored = read_weights(tmp_path / "package" / "models" / "model.safetensors")
    _, trained = load_run(run)
    key = next(k for k in trained if k.endswith("weight"))
    assert torch.equal(stored[key], trained[key])


def test_a_folder_of_something_else_is_not_replaced(tmp_path: Path) -> None:
    run, _ = made_run(tmp_path / "run")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("years of work")
    with pytest.raises(OutputError, match="is there and is no package; name another folder"):
        export(run, tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter1.tex").read_text() == "years of work"


def test_checkpoints_that_cannot_be_read_are_one_sentence(tmp_path: Path) -> None:
    run, _ = made_run(tmp_path / "run")
    path = run / "checkpoints" / "best.ckpt"
    data = path.read_bytes()
    for damaged in (data[: len(data) // 2], b"", b"not a checkpoint"):
        path.write_bytes(damaged)
        with pytest.raises(RunError, match=r"best\.ckpt (is damaged|holds more than weights)"):
            export(run, tmp_path / "package")
    torch.save({"epoch": 3}, path)
    with pytest.raises(RunError, match="holds no state_dict and so is no checkpoint"):
        export(run, tmp_path / "package")
    path.unlink()
    with pytest.raises(RunError, match="train first"):
        export(run, tmp_path / "package")
    assert not (tmp_path / "package").exists()


def test_results_go_into_the_card(tmp_path: Path) -> None:
    from Training.evaluation.scores import CaseScore, summarize, write_scores

    run, _ = made_run(tmp_path / "run")
    case = CaseScore(case="xray 1", patient="xray 1", confusion=[[80, 5], [5, 10]], seconds=0.5)
    (tmp_path / "scores").mkdir()
    write_scores(tmp_path / "scores", summarize([case], ["lung"], 2.0, "Test pictures", "python -m Training evaluate"))
    export(run, tmp_path / "package", results=[tmp_path / "scores"])
    card = (tmp_path / "package" / "docs" / "README.md").read_text()
    assert "### Test pictures\n\n`python -m Training evaluate`" in card
    metrics = read_package(tmp_path / "package").metrics
    assert metrics["pixel_accuracy"] == pytest.approx(0.9)
    with pytest.raises(DataError, match=r"holds no scores\.json"):
        export(run, tmp_path / "package", results=[tmp_path])


def test_a_run_folder_can_be_inflated(tmp_path: Path) -> None:
    run, flat = made_run(tmp_path / "run", "liver2d_starter", ["network.arguments.channels=[4, 4, 4, 4, 4, 4]"])
    solid = inflate(run, tmp_path / "start.safetensors", tmp_path / "solid.yaml")
    assert (solid.name, solid.spatial_dims, solid.labels) == ("run_3d", 3, flat.labels)
    assert solid.card.license == flat.card.license
