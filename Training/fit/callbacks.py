# ruff: noqa: ARG002 - the arguments of Lightning's hooks are fixed
"""What happens around the steps of a run: stopping, history, pictures, the moving average, the time left."""

from __future__ import annotations

import csv
import logging
import math
import signal
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, RichProgressBar, WeightAveraging
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch.optim import Optimizer

from LiverSegLib.errors import LiverSegError
from Training.files import write_csv, write_json, write_text
from Training.fit.batches import epochs_done
from Training.fit.run_folder import RunFolder
from Training.recipe import Recipe
from Training.recipe.regions import names_users_see

log = logging.getLogger(__name__)
_PLOT_EVERY = 60.0  # seconds


class StoppedError(LiverSegError):
    """The person, or the cluster, stopped the run; its state is saved."""


class StopOnSignal(Callback):
    """Ctrl-C and SIGTERM end the run after the current step, in a state that goes on as if nothing had happened.

    A second signal ends it at once; then the last finished epoch is what is left.
    """

    def __init__(self, last: Path) -> None:
        self.last = last
        self.caught = False
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Here, as Lightning has set its own handlers by now.
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._catch) for number in (signal.SIGINT, signal.SIGTERM)}

    def _catch(self, number: int, frame: FrameType | None) -> None:
        self.caught = True
        self._restore()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        # At the start of a batch, when the one before is wholly counted, and between optimizer steps.
        if batch_idx % trainer.accumulate_grad_batches:
            return
        if trainer.strategy.reduce_boolean_decision(self.caught, all=False):  # by the signal of any process
            trainer.save_checkpoint(self.last)
            raise StoppedError(
                f"Stopped in epoch {trainer.current_epoch}; the same command with --resume goes on from there."
            )

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}


class ValidateLast(Callback):
    """Validation every so many epochs and after the last one, so that no run ends without a best checkpoint."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Also where a resumed run goes on in the middle of an epoch.
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Lightning asks at the end of each epoch whether epoch + 1 divides by this.
        now = validates(self.recipe, trainer.current_epoch)
        trainer.check_val_every_n_epoch = 1 if now else trainer.current_epoch + 2


class History(Callback):
    """The table of a run, a row an epoch, and its plot.

    Columns: epoch, train_loss, train_dice, train_dice_<label>..., train_f_score, val_loss, val_dice,
    val_dice_<label>..., val_f_score, val_accuracy, learning_rate, seconds; epochs without validation leave its cells
    empty. Rows of epochs that a resumed run trains again are cut first.
    """

    def __init__(self, run: RunFolder, recipe: Recipe) -> None:
        self.run, self.recipe = run, recipe
        scores = ["dice", *(f"dice_{name}" for name in names_users_see(recipe.labels)), "f_score"]
        self.trained = [f"train_{name}" for name in scores]
        self.measured = ["val_loss", *(f"val_{name}" for name in scores), "val_accuracy"]
        self.columns = ["epoch", "train_loss", *self.trained, *self.measured, "learning_rate", "seconds"]
        self._started = self._plotted = time.monotonic()
        self._rate = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started = time.monotonic()
        if not trainer.is_global_zero:
            return
        first = epochs_done(trainer)
        # The last row lacks its last cells where the run was killed.
        rows = [row for row in self.run.rows() if row.get("seconds") and int(row["epoch"]) < first]
        write_csv(self.run.history_file, self.columns, rows)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        self._rate = float(optimizer.param_groups[0]["lr"])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        losses, scores = pl_module.epoch_loss(), pl_module.epoch_scores()  # type: ignore[operator]
        now = time.monotonic()
        seconds, self._started = round(now - self._started, 2), now
        row: dict[str, Any] = {"epoch": trainer.current_epoch, "learning_rate": self._rate, "seconds": seconds}
        row["train_loss"] = losses["sum"] / max(losses["count"], 1)
        row |= {name: _cell(scores[name]) for name in self.trained}
        if validates(self.recipe, trainer.current_epoch):
            row |= {name: _cell(float(trainer.callback_metrics[name])) for name in self.measured}
        if not trainer.is_global_zero:
            return
        with self.run.history_file.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self.columns).writerow(row)
        if now - self._plotted > _PLOT_EVERY:
            self._plotted = now
            self._plot()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._plot()

    @rank_zero_only
    def _plot(self) -> None:
        from Training.fit.curves import plot_history

        attempt("the history plot", lambda: plot_history(self.run))


class Extras(Callback):
    """What tells people about a run: the first batch, the layers of the network, the machine."""

    def __init__(self, run: RunFolder, recipe: Recipe) -> None:
        self.run, self.recipe = run, recipe

    @rank_zero_only
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        from Training.fit.system import system_report

        attempt("the layer summary", lambda: write_text(self.run.network_text, layer_summary(pl_module, self.recipe)))
        attempt("the system report", lambda: write_json(self.run.system_file, system_report()))

    @rank_zero_only
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == 0 and batch_idx == 0:
            attempt("the preview of the first batch", lambda: self.preview(batch))

    def preview(self, batch: dict[str, Any]) -> None:
        """Draw a batch in the proportions of the recipe's grid."""
        from Training.fit.preview import patch_spacing, save_preview

        save_preview(batch, self.run.first_batch, self.recipe.labels, patch_spacing(self.recipe))


def layer_summary(module: LightningModule, recipe: Recipe) -> str:
    """Layers with parameters and shapes for one patch, as text; computed without memory or time for the weights."""
    import copy

    from lightning.pytorch.utilities.model_summary import ModelSummary

    shadow = copy.deepcopy(module).to("meta")
    del shadow.loss  # has no weights
    shadow.example_input_array = torch.zeros((1, 1, *recipe.patch_size), device="meta")
    # -1: down to single layers, however deep a network nests its blocks.
    return f"{recipe.name}: {recipe.network.name}\n\n{ModelSummary(shadow, max_depth=-1)}\n"


class ProgressBar(RichProgressBar):
    """Lightning's bar with the time that the whole run still takes."""

    def __init__(self) -> None:
        super().__init__(leave=False)
        self._begun: tuple[float, int] | None = None

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> Any:
        items = super().get_metrics(trainer, pl_module)
        items.pop("v_num", None)
        done = trainer.fit_loop.epoch_loop.total_batch_idx + 1
        total = trainer.num_training_batches * (trainer.max_epochs or 1)
        if self._begun is None:
            self._begun = time.monotonic(), done
        since, first = self._begun
        if done > first:
            left = (time.monotonic() - since) / (done - first) * (total - done)
            items["left"] = str(timedelta(seconds=round(left)))
        return items


def moving_average(decay: float) -> WeightAveraging:
    """Exponential moving average of weights and norm statistics, which validation and checkpoints use.

    It starts with a short memory (decay (1 + n) / (10 + n) at update n), else the random initial weights would
    stay in it for thousands of steps.
    """

    def average(averaged: torch.Tensor, current: torch.Tensor, count: int | torch.Tensor) -> torch.Tensor:
        if not averaged.is_floating_point():  # counters of norms
            return current
        n = float(count)
        return averaged.lerp(current.to(averaged.dtype), 1 - min(decay, (1 + n) / (10 + n)))

    return WeightAveraging(use_buffers=True, avg_fn=average)


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
