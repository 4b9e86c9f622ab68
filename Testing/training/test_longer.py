"""A finished run made longer, and the places besides its history where its numbers go."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from Testing.tiny_run import tiny_recipe, write_prepared, write_recipe
from Training.__main__ import app
from Training.errors import RunError
from Training.fit.loggers import check_loggers
from Training.fit.run_folder import RunFolder
from Training.fit.train import Hardware, train
from Training.recipe import Recipe

CPU = Hardware(accelerator="cpu", devices="1")
STEADY = {"schedule": "constant", "samples_per_epoch": 4}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prepared(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(autouse=True)
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than these runs."""
    monkeypatch.setattr("Training.fit.callbacks.Extras.preview", lambda *_: None)
    monkeypatch.setattr("Training.fit.callbacks.History._plot", lambda *_: None)


def run(recipe: Recipe, prepared: Path, folder: Path, *, resume: bool = False) -> list[dict[str, str]]:
    train(recipe, prepared, folder, resume=resume, workers=0, hardware=CPU)
    with (folder / "history.csv").open() as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(RunFolder(folder).last, weights_only=True)["state_dict"]
    return found


def test_a_longer_run_is_what_it_had_been_from_the_start(prepared: Path, tmp_path: Path) -> None:
    short, long = (tiny_recipe(optimization={**STEADY, "max_epochs": epochs}) for epochs in (2, 4))
    run(short, prepared, tmp_path / "extended")
    recipe = write_recipe(short, tmp_path / "recipe.yaml")
    words = ["train", str(recipe), "--data", str(prepared), "--run", str(tmp_path / "extended"), "--resume"]
    words += ["--workers", "0", "--accelerator", "cpu", "--set", "optimization.max_epochs=4"]
    found = CliRunner().invoke(app, words, catch_exceptions=False)
    assert found.exit_code == 0, found.output
    whole = run(long, prepared, tmp_path / "whole")
    assert run(long, prepared, tmp_path / "extended", resume=True) == whole
    one, other = weights(tmp_path / "extended"), weights(tmp_path / "whole")
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert RunFolder(tmp_path / "extended").recipe() == long


def test_a_longer_run_has_the_learning_rate_of_its_new_length(prepared: Path, tmp_path: Path) -> None:
    short, long = (tiny_recipe(optimization={**STEADY, "schedule": "cosine", "max_epochs": e}) for e in (2, 4))
    before = run(short, prepared, tmp_path)
    after = run(long, prepared, tmp_path, resume=True)
    rates = [float(row["learning_rate"]) for row in after]
    assert after[:2] == before
    # The last step of the short run was at almost nothing; the longer one goes on from its own curve.
    assert rates[1] < rates[2] < rates[0]
    assert rates[3] < rates[2]


def test_a_run_is_not_made_shorter_nor_one_that_ended_early_longer(prepared: Path, tmp_path: Path) -> None:
    still = {**STEADY, "learning_rate": 1e-12, "early_stop": 1}
    run(tiny_recipe(optimization={**still, "max_epochs": 8}), prepared, tmp_path)
    with pytest.raises(RunError, match="can be made longer, not shorter"):
        run(tiny_recipe(optimization={**still, "max_epochs": 7}), prepared, tmp_path, resume=True)
    with pytest.raises(RunError, match="ended early"):
        run(tiny_recipe(optimization={**still, "max_epochs": 9}), prepared, tmp_path, resume=True)


def test_mlflow_gets_recipe_and_numbers_in_a_folder_of_the_run(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    recipe = tiny_recipe(optimization={**STEADY, "max_epochs": 1})
    train(recipe, prepared, tmp_path / "run", workers=0, hardware=CPU, loggers=("mlflow",))
    client = mlflow.tracking.MlflowClient((tmp_path / "run" / "logs" / "mlflow").as_uri())
    experiment = client.get_experiment_by_name("tiny")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.data.params["optimization.max_epochs"] == "1"
    with (tmp_path / "run" / "history.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert found.data.metrics["val_dice"] == pytest.approx(float(row["val_dice"]))


@pytest.mark.slow
def test_wandb_gets_the_numbers_of_each_run_in_its_folder(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed; it is no part of any extra: pip install wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    recipe = tiny_recipe(optimization={**STEADY, "max_epochs": 1})
    for name in ("one", "two"):  # in one process, as a sweep or folds have them
        train(recipe, prepared, tmp_path / name, workers=0, hardware=CPU, loggers=("wandb",))
        with (tmp_path / name / "history.csv").open() as file:
            (row,) = csv.DictReader(file)
        (written,) = (tmp_path / name / "logs" / "wandb").glob("offline-run-*/run-*.wandb")
        data = written.read_bytes()
        assert b"val_dice" in data
        assert row["val_dice"].encode() in data
        assert b"optimization.max_epochs" in data


def test_loggers_that_are_unknown_or_missing_are_named(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny_recipe()
    with pytest.raises(RunError, match="There is no logger paper; choose from tensorboard, mlflow, wandb"):
        train(recipe, prepared, tmp_path, workers=0, hardware=CPU, loggers=("paper",))
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(RunError, match="pip install wandb"):
        check_loggers(["wandb"])
