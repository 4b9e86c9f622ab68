"""One training run: a folder with checkpoints, TensorBoard and CSV logs, and the recipe that made it."""

from __future__ import annotations

import logging
import pickle
import warnings
from pathlib import Path

import lightning.pytorch as pl
import torch
import yaml
from lightning.pytorch.callbacks import (
    LearningRateMonitor,
    ModelCheckpoint,
    RichProgressBar,
    WeightAveraging,
)
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from Training.data import CaseData
from Training.module import SegmentationModule
from Training.recipe import Recipe, RecipeError, parse_recipe

log = logging.getLogger(__name__)
BEST, LAST, RECIPE = "best.ckpt", "last.ckpt", "recipe.yaml"


def train(
    recipe: Recipe,
    data: Path,
    run: Path,
    *,
    resume: bool = False,
    init: Path | None = None,
    workers: int = 2,
    accelerator: str = "auto",
) -> Path:
    """Train `recipe` on the prepared folder `data`; return the best checkpoint.

    Args:
        recipe: what to train.
        data: prepared folder.
        run: run folder; gets recipe.yaml, checkpoints/, logs/.
        resume: go on from run/checkpoints/last.ckpt.
        init: a checkpoint whose weights are the start of a new run (fine-tuning).
        workers: loader processes.
        accelerator: Lightning's word: auto, cpu, gpu, mps.

    Raises:
        RecipeError: `resume` without a checkpoint or with another recipe, or `init` of another network.
        DataError: the data was not prepared for this recipe.
    """
    torch.set_flush_denormal(True)
    # Lightning's advice on loader counts does not fit small machines; MONAI's come from its own calls.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    pl.seed_everything(recipe.seed, workers=True, verbose=False)
    checkpoints = run / "checkpoints"
    last = checkpoints / LAST
    if resume:
        _check_resumable(recipe, run, last)
    run.mkdir(parents=True, exist_ok=True)
    (run / RECIPE).write_text(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False), "utf-8")
    best = ModelCheckpoint(checkpoints, "best", monitor="val_dice", mode="max", enable_version_counter=False)
    latest = ModelCheckpoint(checkpoints, "last", enable_version_counter=False)
    trainer = pl.Trainer(
        accelerator=accelerator,
        max_epochs=recipe.optimization.max_epochs,
        precision=recipe.optimization.precision,
        gradient_clip_val=recipe.optimization.gradient_clip,
        callbacks=[
            best,
            latest,
            LearningRateMonitor(),
            RichProgressBar(),
            moving_average(recipe.optimization.ema_decay),
        ],
        # A new version folder at each resume: the CSV logger would delete what it finds.
        logger=[CSVLogger(run / "logs", "csv"), TensorBoardLogger(run / "logs", "tensorboard")],
        log_every_n_steps=10,
        num_sanity_val_steps=0,
        check_val_every_n_epoch=recipe.optimization.validate_every,
    )
    module = SegmentationModule(recipe)
    if init is not None:
        _load_weights(module, init)
    # Our own file of a moment ago; still only tensors and plain data are read from it.
    trainer.fit(module, CaseData(recipe, data, workers), ckpt_path=str(last) if resume else None)
    return checkpoints / BEST


def _load_weights(module: SegmentationModule, checkpoint: Path) -> None:
    try:
        module.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"])
    except FileNotFoundError as error:
        raise RecipeError(f"There is no checkpoint {checkpoint} to start from.") from error
    except (RuntimeError, KeyError, pickle.UnpicklingError) as error:
        raise RecipeError(f"The weights of {checkpoint} do not fit this recipe's network.") from error


def _check_resumable(recipe: Recipe, run: Path, last: Path) -> None:
    """The learning rate depends on the length of the run, so only the same recipe can go on."""
    if not last.is_file():
        raise RecipeError(f"{run} holds no {LAST} to resume from; train without --resume.")
    if read_run_recipe(run) != recipe:
        raise RecipeError(f"{run} was started with another recipe; resume with {run / RECIPE} or start a new run.")


def read_run_recipe(run: Path) -> Recipe:
    """The recipe that a run folder was started with.

    Raises:
        RecipeError: the folder holds none.
    """
    try:
        return parse_recipe(yaml.safe_load((run / RECIPE).read_text(encoding="utf-8")), str(run / RECIPE))
    except FileNotFoundError as error:
        raise RecipeError(f"{run} holds no {RECIPE}; it is not a run, train first.") from error


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
