"""A network, a loss and a transform of the user's own file: trained, resumed, never run by anything but the command."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from Testing.tiny_run import tiny_recipe, write_prepared, write_recipe
from Training.__main__ import app
from Training.data.readers import load_index
from Training.errors import RunError
from Training.fit.batches import TrainingSamples
from Training.fit.own_code import OwnCode, has_own_network
from Training.fit.run_folder import RunFolder
from Training.fit.train import Hardware, train
from Training.packages.export import export

CPU = Hardware(accelerator="cpu", devices="1")
PARTS = """
import torch

def network(recipe):
    return torch.nn.Conv2d(1, len(recipe.labels) + 1, 3, padding=1)

def loss(recipe):
    return lambda outputs, label: torch.nn.functional.cross_entropy(outputs, label[:, 0].long())

def transform(sample, rng):
    sample["image"] = sample["image"] + float(rng.normal())
    return sample
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prepared(tmp_path_factory.mktemp("prepared"))


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    path = tmp_path / "my_parts.py"
    path.write_text(PARTS)
    return path


@pytest.fixture(autouse=True)
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than these runs."""
    monkeypatch.setattr("Training.fit.callbacks.Extras.preview", lambda *_: None)
    monkeypatch.setattr("Training.fit.callbacks.History._plot", lambda *_: None)


def test_the_command_trains_the_users_own_network(prepared: Path, parts: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tiny_recipe(), tmp_path / "recipe.yaml")
    words = ["train", str(recipe), "--data", str(prepared), "--run", str(tmp_path / "run"), "--code", str(parts)]
    found = CliRunner().invoke(app, [*words, "--workers", "0", "--accelerator", "cpu"], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    run = RunFolder(tmp_path / "run")
    assert set(torch.load(run.best, weights_only=True)["state_dict"]) == {"network.weight", "network.bias"}
    assert run.own_code.read_text() == PARTS
    with pytest.raises(RunError, match="packages hold no code"):
        export(run.path, tmp_path / "package")
    assert not (tmp_path / "package").exists()
    # Nobody runs the copy, and a run does not go on with other code.
    with pytest.raises(RunError, match="with other code"):
        train(tiny_recipe(), prepared, run.path, resume=True, workers=0, hardware=CPU)


def test_an_own_loss_alone_leaves_a_model_that_can_be_exported(prepared: Path, parts: Path, tmp_path: Path) -> None:
    parts.write_text(PARTS.replace("def network", "def another"))
    recipe = tiny_recipe()
    train(recipe, prepared, tmp_path / "own", workers=0, hardware=CPU, code=parts)
    train(recipe, prepared, tmp_path / "plain", workers=0, hardware=CPU)
    losses = [RunFolder(tmp_path / name).history()["train_loss"][1] for name in ("own", "plain")]
    assert losses[0] != losses[1]
    export(tmp_path / "own", tmp_path / "package")
    with pytest.raises(RunError, match="without --code"):
        train(recipe, prepared, tmp_path / "plain", resume=True, workers=0, hardware=CPU, code=parts)


def test_the_transform_is_the_same_for_the_same_sample_also_in_a_new_process(prepared: Path, parts: Path) -> None:
    recipe = tiny_recipe()
    cases = load_index(prepared, recipe)
    plain = TrainingSamples(recipe, prepared, cases)
    own = TrainingSamples(recipe, prepared, cases, OwnCode(parts))
    made, arguments = OwnCode(parts).__reduce__()  # how a loader process that begins anew gets it
    again = TrainingSamples(recipe, prepared, cases, made(*arguments))
    first = own[0, 7]["image"]
    assert torch.equal(first, again[0, 7]["image"])
    moved = first - plain[0, 7]["image"]
    assert moved.std() < 1e-5 < moved.abs().mean()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "none of the functions network, loss, transform"),
        ("def network(:", "cannot be run: SyntaxError"),
        ("import nothing_of_that_name", "cannot be run: ModuleNotFoundError"),
        ("def network(recipe): return 3", "gives int, which is no network"),
        ("def network(recipe): return 1 / 0", "failed: ZeroDivisionError"),
    ],
)
def test_code_that_does_not_work_is_one_sentence(text: str, message: str, prepared: Path, tmp_path: Path) -> None:
    file = tmp_path / "broken.py"
    file.write_text(text)
    with pytest.raises(RunError, match=message):
        train(tiny_recipe(), prepared, tmp_path / "run", workers=0, hardware=CPU, code=file)


def test_a_file_that_is_not_there_is_one_sentence(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is no Python file"):
        train(tiny_recipe(), prepared, tmp_path / "run", workers=0, hardware=CPU, code=tmp_path / "none.py")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("def network(r): ...", True),
        ("network = 3", True),
        ("from a import b as network", True),
        ("from a import *", True),
        ("def loss(r): ...", False),
        ("def broken(", True),
    ],
)
def test_a_network_is_seen_without_running_the_file(text: str, wanted: bool, tmp_path: Path) -> None:
    file = tmp_path / "code.py"
    file.write_text(text)
    assert has_own_network(file) is wanted
    assert not has_own_network(tmp_path / "missing.py")
