"""The folder of a run: the one place that knows the names of its files, and how its history is read."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

from Training.errors import RunError
from Training.recipe import Recipe, RecipeError, parse_recipe
from Training.recipe.safe_yaml import YamlError, read_yaml

Row = dict[str, str]
Series = tuple[list[float], list[float]]
"""Epochs, and a value for each."""


class RunFolder:
    """What `train` leaves in a folder, which need not exist yet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recipe_file = path / "recipe.yaml"
        self.checkpoints, self.logs = path / "checkpoints", path / "logs"
        self.best, self.last = self.checkpoints / "best.ckpt", self.checkpoints / "last.ckpt"
        self.history_file, self.curves = path / "history.csv", path / "history.png"
        self.own_code = path / "own_code.py"
        self.first_batch = path / "first_batch.png"
        self.network_text, self.system_file = path / "model.txt", path / "system.json"

    def __str__(self) -> str:
        return str(self.path)

    @property
    def kept(self) -> list[str]:
        """The names of its checkpoints."""
        return sorted(file.name for file in self.checkpoints.glob(f"*{self.best.suffix}"))

    def recipe(self) -> Recipe:
        """The recipe that the run was started with.

        Raises:
            RunError: the folder holds none, or a damaged one.
        """
        try:
            return parse_recipe(read_yaml(self.recipe_file), str(self.recipe_file))
        except FileNotFoundError as error:
            raise RunError(f"{self} holds no {self.recipe_file.name}; it is not a run, train first.") from error
        except YamlError as error:
            raise RunError(f"{self.recipe_file} is damaged: {error}; train again in another folder.") from error
        except RecipeError as error:
            raise RunError(str(error)) from error

    def rows(self) -> list[Row]:
        """The rows of its history, one an epoch; none before the first epoch has ended.

        Raises:
            RunError: the file cannot be read as a table.
        """
        try:
            with self.history_file.open(newline="", encoding="utf-8") as file:
                return list(csv.DictReader(file))
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise RunError(f"{self.history_file} cannot be read as a table: {error}") from error

    def time_taken(self) -> tuple[int, float]:
        """How many epochs its history has, and the seconds that they took together, over all resumes.

        Raises:
            RunError: the history cannot be read as a table.
        """
        seconds = columns(self.rows()).get("seconds", ([], []))[1]
        return len(seconds), sum(seconds)

    def history(self) -> dict[str, Series]:
        """Every column of its history; empty, NaN and unreadable cells are left out.

        Raises:
            RunError: there is none yet, or it cannot be read.
        """
        rows = self.rows()
        if not self.history_file.exists():
            raise RunError(f"{self} holds no {self.history_file.name}; train it for at least one epoch first.")
        if not rows or "epoch" not in rows[0]:
            raise RunError(f"{self.history_file} has no epochs yet; train for at least one epoch first.")
        return columns(rows)


def columns(rows: Sequence[Row]) -> dict[str, Series]:
    """The columns of a history that hold any number."""
    found: dict[str, Series] = {name: ([], []) for name in (rows[0] if rows else ()) if name and name != "epoch"}
    for row in rows:
        epoch = _number(row.get("epoch"))
        for name, (epochs, values) in found.items():
            value = _number(row.get(name))
            if math.isfinite(epoch) and math.isfinite(value):
                epochs.append(epoch)
                values.append(value)
    return {name: series for name, series in found.items() if series[0]}


def best_epoch(history: dict[str, Series]) -> tuple[int, float] | None:
    """Epoch and value of the highest validation Dice, of equal ones the first, as the best checkpoint is chosen.

    None before the first validation.
    """
    epochs, values = history.get("val_dice", ([], []))
    if not values:
        return None
    at = values.index(max(values))
    return int(epochs[at]), values[at]


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan
