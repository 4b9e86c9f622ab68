"""What `train` says on the screen."""

from __future__ import annotations

import re
from pathlib import Path

from typer.testing import CliRunner

from Testing.tiny_run import tiny_recipe, write_prepared, write_recipe
from Training.__main__ import app
from Training.fit.run_folder import RunFolder


def test_train_tells_its_total_time(tmp_path: Path) -> None:
    recipe = write_recipe(tiny_recipe(optimization={"max_epochs": 2}), tmp_path / "recipe.yaml")
    prepared, run = write_prepared(tmp_path / "prepared"), tmp_path / "run"
    words = ["train", str(recipe), "--data", str(prepared), "--run", str(run)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    said = re.search(r"Total time: (\d+):(\d\d):(\d\d) for 2 epochs", done.output)
    assert said is not None
    hours, minutes, seconds = map(int, said.groups())
    epochs, taken = RunFolder(run).time_taken()
    assert epochs == 2
    assert 3600 * hours + 60 * minutes + seconds == round(taken)
