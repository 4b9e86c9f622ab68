"""The same recipe with several values of a key: a run each, one table, one plot."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from Training.errors import RunError
from Training.files import write_csv, write_json
from Training.fit.run_folder import RunFolder, best_epoch, columns
from Training.recipe import Recipe, RecipeError, load_recipe
from Training.recipe.safe_yaml import YamlError, parse_yaml

_UNSAFE = re.compile(r"[^A-Za-z0-9.=+-]+")
_LONGEST_NAME = 80
_STYLES = ("-", "--", "-.", ":")
_SIGNS = ("o", "s", "^", "D", "v")


@dataclass(frozen=True)
class Trial:
    """One combination of values.

    Args:
        changes: overrides, for example ("loss.ce_weight=0.2",).
        recipe: with these overrides.
        run: its run folder.
    """

    changes: tuple[str, ...]
    recipe: Recipe
    run: Path

    @property
    def label(self) -> str:
        """How tables and plots call it."""
        return ", ".join(self.changes)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a finished trial reached; None where its history lacks the column."""

    label: str
    run: str
    epochs: int
    best_val_dice: float | None
    best_epoch: int | None
    train_loss: float | None
    val_loss: float | None


# Trains one trial; the flag tells to go on from its last checkpoint.
Start = Callable[[Trial, bool], object]


def trials(recipe: str, varied: list[str], runs: Path, overrides: list[str] | None = None) -> list[Trial]:
    """Every combination of the varied values.

    Args:
        recipe: name or file.
        varied: "loss.ce_weight=0.2,0.5,0.8"; values are YAML, separated by commas.
        runs: folder that gets a run folder for each.
        overrides: for all trials alike.

    Raises:
        RecipeError: a varied key is not of that form, or a value is impossible.
    """
    found: dict[Path, Trial] = {}
    for combination in itertools.product(*(_values(text) for text in varied)):
        run = runs / _UNSAFE.sub("_", "+".join(combination)).strip("_.")[:_LONGEST_NAME]
        if run in found:
            raise RecipeError(f"Two values of the sweep are both called {run.name}; leave one out.")
        found[run] = Trial(combination, load_recipe(recipe, [*(overrides or []), *combination]), run)
    return list(found.values())


def _values(text: str) -> list[str]:
    key, equals, values = text.partition("=")
    try:
        parsed = parse_yaml(f"[{values}]")
    except YamlError as error:
        raise RecipeError(f"--vary {text!r}: {values!r} are not YAML values separated by commas.") from error
    if not equals or not key or not parsed:
        raise RecipeError(f"--vary {text!r} is not of the form key=value,value.")
    # On one line, as YAML reads it back.
    texts = [yaml.safe_dump(value, default_flow_style=True, width=math.inf) for value in parsed]
    return [f"{key}=" + text.removesuffix("...\n").strip() for text in texts]


def run_sweep(planned: list[Trial], runs: Path, start: Start) -> list[Outcome]:
    """Run what is not finished, one after the other, then write sweep.csv, sweep.json and sweep.png in `runs`.

    A finished trial is not run again; an interrupted one goes on.

    Raises:
        RunError: a run folder holds a run of another recipe, or whatever a run raises.
    """
    runs.mkdir(parents=True, exist_ok=True)
    for trial in planned:
        folder = RunFolder(trial.run)
        started = folder.last.is_file()
        if started and folder.recipe() != trial.recipe:
            raise RunError(f"{folder} holds a run of another recipe; give --run another folder.")
        if not (started and is_finished(trial)):
            start(trial, started)
    return write_sweep(planned, runs)


def is_finished(trial: Trial) -> bool:
    """Whether the run has all epochs of its recipe; of one that ended early `train` itself knows."""
    rows = RunFolder(trial.run).rows()
    return bool(rows) and int(rows[-1]["epoch"]) + 1 >= trial.recipe.optimization.max_epochs


def outcome(trial: Trial) -> Outcome:
    """Best validation Dice and last losses, from the run's history."""
    rows = RunFolder(trial.run).rows()
    history = columns(rows)
    best, dice = best_epoch(history) or (None, None)
    last = {name: history[name][1][-1] if name in history else None for name in ("train_loss", "val_loss")}
    return Outcome(label=trial.label, run=trial.run.name, epochs=len(rows), best_val_dice=dice, best_epoch=best, **last)


def write_sweep(planned: list[Trial], runs: Path) -> list[Outcome]:
    """What the trials reached: the table as sweep.csv and sweep.json, the curves as sweep.png."""
    outcomes = [outcome(trial) for trial in planned]
    rows = [vars(one) for one in outcomes]
    write_csv(runs / "sweep.csv", list(rows[0]), rows)
    write_json(runs / "sweep.json", rows)
    _plot(outcomes, planned, runs / "sweep.png")
    return outcomes


def _plot(outcomes: list[Outcome], planned: list[Trial], path: Path) -> None:
    """Left each run's validation Dice over the epochs, right its best."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    from LiverSegLib.pictures import figures

    figure = Figure(figsize=(11, 4.2), dpi=110, layout="constrained")
    curves, best = figure.subplots(1, 2)
    for number, trial in enumerate(planned):
        epochs, values = columns(RunFolder(trial.run).rows()).get("val_dice", ([], []))
        # Styles and signs differ too, and later curves are thinner: runs that reach the same stay apart.
        line: dict[str, Any] = {"linestyle": _STYLES[number % len(_STYLES)], "linewidth": max(1.2, 3 - 0.5 * number)}
        sign: dict[str, Any] = {"marker": _SIGNS[number % len(_SIGNS)], "markersize": max(4, 9 - number)}
        curves.plot(epochs, values, label=trial.label, color=f"C{number % 10}", alpha=0.85, **line, **sign)
    curves.set(xlabel="epoch", ylabel="validation Dice", ylim=(0, 1))
    curves.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    curves.legend(fontsize="small")
    numbers = [one.best_val_dice or 0.0 for one in outcomes]
    bars = best.barh([one.label for one in outcomes], numbers, color=[f"C{n % 10}" for n in range(len(outcomes))])
    best.bar_label(bars, fmt="%.3f", padding=3)
    best.invert_yaxis()
    best.set(xlabel="best validation Dice", xlim=(0, 1.12))
    figures.save(figure, path)
