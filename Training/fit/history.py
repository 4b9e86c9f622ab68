# ruff: noqa: ARG002 - the arguments of Lightning's hooks are fixed
"""The history of a run, a row an epoch."""

from __future__ import annotations

import csv
import logging
import math
import time
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback

from Training.files import write_csv
from Training.fit.batches import epochs_done
from Training.fit.run_folder import RunFolder
from Training.recipe import Recipe
from Training.recipe.regions import names_users_see

log = logging.getLogger(__name__)
PLOT_EVERY = 60.0


class History(Callback):
    """The table of a run, a row an epoch, and its plot.

    Columns: epoch, train_loss, train_dice, train_dice_<label>..., val_loss, val_dice, val_dice_<label>...,
    val_accuracy, learning_rate, seconds; epochs without validation leave its cells empty. Rows of epochs that a
    resumed run trains again are cut first.
    """

    def __init__(self, run: RunFolder, recipe: Recipe) -> None:
        self.run, self.recipe = run, recipe
        dices = ["dice", *(f"dice_{name}" for name in names_users_see(recipe.labels))]
        self.trained = [f"train_{name}" for name in dices]
        self.measured = ["val_loss", *(f"val_{name}" for name in dices), "val_accuracy"]
        self.columns = ["epoch", "train_loss", *self.trained, *self.measured, "learning_rate", "seconds"]
        self._started = self._plotted = time.monotonic()
        self._rate = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._started = time.monotonic()
        if not trainer.is_global_zero:
            return
        first = epochs_done(trainer)
        # The last row lacks its last cells where the run was killed.
        rows = [row for row in self.run.rows() if row.get("seconds") and int(row["epoch"]) < first]
        write_csv(self.run.history_file, self.columns, rows)

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        self._rate = float(optimizer.param_groups[0]["lr"])

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        losses, dice = pl_module.epoch_loss(), pl_module.epoch_dice()  # type: ignore[operator]
        now = time.monotonic()
        row: dict[str, Any] = {
            "epoch": trainer.current_epoch,
            "train_loss": losses["sum"] / max(losses["count"], 1),
            "learning_rate": self._rate,
            "seconds": round(now - self._started, 2),
        }
        self._started = now
        row |= {name: _cell(dice[name]) for name in self.trained}
        if validates(self.recipe, trainer.current_epoch):
            row |= {name: _cell(float(trainer.callback_metrics[name])) for name in self.measured}
        if not trainer.is_global_zero:
            return
        with self.run.history_file.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self.columns).writerow(row)
        if now - self._plotted > PLOT_EVERY:
            self._plotted = now
            self._plot()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            self._plot()

    def _plot(self) -> None:
        from Training.fit.curves import plot_history

        attempt("the history plot", lambda: plot_history(self.run))


def validates(recipe: Recipe, epoch: int) -> bool:
    """Whether an epoch, counted from 0, ends with a validation: every so many, and the last in any case."""
    o = recipe.optimization
    return (epoch + 1) % o.validate_every == 0 or epoch + 1 >= o.max_epochs


def _cell(value: float) -> float | str:
    """A number, or nothing where there was nothing to measure."""
    return value if math.isfinite(value) else ""


def attempt(what: str, work: Callable[[], Any]) -> None:
    """Do what a run can do without: days of training shall not end because a picture failed."""
    try:
        work()
    except Exception as error:
        log.warning("Could not write %s: %s", what, error)
