"""One training run: a folder with checkpoints, history, logs, and the recipe that made it."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import yaml
from lightning.pytorch.callbacks import Callback, EarlyStopping, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from Training.errors import DataError
from Training.fit.batches import CaseData
from Training.fit.callbacks import Extras, ProgressBar, StopOnSignal, ValidateLast, moving_average
from Training.fit.history import History
from Training.fit.initial import load_initial, load_pretrained, read_checkpoint
from Training.fit.module import SegmentationModule
from Training.recipe import Recipe, RecipeError, parse_recipe
from Training.recipe.safe_yaml import YamlError, read_yaml

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
    devices: str = "auto",
    nodes: int = 1,
    strategy: str = "auto",
) -> Path:
    """Train `recipe` on the prepared folder `data`; return the best checkpoint.

    Args:
        recipe: what to train.
        data: prepared folder.
        run: run folder; gets recipe.yaml, checkpoints/, logs/, history.csv and .png, model.txt, system.json,
            first_batch.png.
        resume: go on from run/checkpoints/last.ckpt; the end is the same as without the break.
        init: weights to start a new run from (fine-tuning): a checkpoint, a safetensors file or a package folder.
        workers: loader processes.
        accelerator: Lightning's word: auto, cpu, gpu, mps.
        devices: how many on each node, or auto. Under torchrun or SLURM the number that these start. Each process
            takes `optimization.batch_size` samples a step; with `loss.batch: false` and instance norm two processes
            do exactly what one does with twice the batch.
        nodes: computers.
        strategy: Lightning's word: auto, ddp, ddp_find_unused_parameters_true.

    Raises:
        RecipeError: nothing or something else to resume, a run already there, weights that do not fit, no memory or
            disk, a loss that is not finite.
        DataError: the data was not prepared for this recipe.
        StoppedError: Ctrl-C; the state is saved.
    """
    torch.set_flush_denormal(True)
    run = run.resolve()  # checkpoints remember their folder
    last = run / "checkpoints" / LAST
    cases = CaseData(recipe, data, workers)
    with _sentences(run), _quiet():
        pl.seed_everything(recipe.seed, workers=True, verbose=False)
        if resume:
            _check_resumable(recipe, run, last)
            if _ended_early(last):
                return _best(run)
        elif last.exists():
            raise RecipeError(f"{run} already holds a run; go on with --resume, or name another folder with --run.")
        module = SegmentationModule(recipe)
        if init is not None:
            load_initial(module, init)
        elif recipe.network.pretrained is not None and not resume:
            load_pretrained(module, Path(recipe.network.pretrained))
        if not resume and is_first_process():
            run.mkdir(parents=True, exist_ok=True)
            text = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
            (run / RECIPE).write_text(text, encoding="utf-8")
        with _fitting_hardware(
            f"--accelerator {accelerator} --devices {devices} --nodes {nodes} --strategy {strategy}"
        ):
            hardware = {"accelerator": accelerator, "devices": devices, "num_nodes": nodes, "strategy": strategy}
            trainer = _trainer(recipe, run, **hardware)
        # Our own file; still only tensors and plain data are read from it.
        trainer.fit(module, cases, ckpt_path=str(last) if resume else None, weights_only=True)
    return _best(run)


def _best(run: Path) -> Path:
    best = run / "checkpoints" / BEST
    if is_first_process() and not best.is_file():
        raise RecipeError(f"{run} has ended without {BEST}; train again in another folder with --run.")
    return best


def _trainer(recipe: Recipe, run: Path, **hardware: Any) -> pl.Trainer:
    o = recipe.optimization
    return pl.Trainer(
        max_epochs=o.max_epochs,
        precision=o.precision,
        accumulate_grad_batches=o.accumulate,
        gradient_clip_val=o.gradient_clip,
        callbacks=_callbacks(recipe, run),
        # A new version folder at each resume: the CSV logger would delete what it finds.
        logger=[CSVLogger(run / "logs", "csv"), TensorBoardLogger(run / "logs", "tensorboard")],
        log_every_n_steps=10,
        num_sanity_val_steps=0,
        check_val_every_n_epoch=o.validate_every,  # and after the last epoch: ValidateLast
        use_distributed_sampler=False,  # ours deals out the samples itself
        sync_batchnorm=torch.cuda.is_available(),
        enable_model_summary=False,
        **hardware,
    )


def _callbacks(recipe: Recipe, run: Path) -> list[Callback]:
    o, folder = recipe.optimization, run / "checkpoints"
    kept: dict[str, Any] = {"auto_insert_metric_name": False, "enable_version_counter": False}
    callbacks: list[Callback] = [
        StopOnSignal(folder / LAST),
        ValidateLast(recipe),
        Extras(run, recipe),
        History(run, recipe),
        LearningRateMonitor(),
        ProgressBar(),
        ModelCheckpoint(folder, "best", monitor="val_dice", mode="max", **kept),
        ModelCheckpoint(folder, "last", save_on_train_epoch_end=True, **kept),
    ]
    if o.ema_decay > 0:
        callbacks.append(moving_average(o.ema_decay))
    if o.early_stop is not None:
        patience = math.ceil(o.early_stop / o.validate_every)
        callbacks.append(EarlyStopping("val_dice", patience=patience, mode="max", check_on_train_epoch_end=False))
    if o.checkpoint_every is not None:
        callbacks.append(
            ModelCheckpoint(
                folder,
                "epoch_{epoch}",
                every_n_epochs=o.checkpoint_every,
                save_top_k=-1,
                save_on_train_epoch_end=True,
                **kept,
            )
        )
    return callbacks


def is_first_process() -> bool:
    """Whether this is the process of several that speaks and writes."""
    return getattr(rank_zero_only, "rank", 0) == 0


def _check_resumable(recipe: Recipe, run: Path, last: Path) -> None:
    """The learning rate depends on the length of the run, so only the same recipe can go on."""
    if not last.is_file():
        raise RecipeError(f"{run} holds no {LAST} to resume from; train without --resume.")
    if read_run_recipe(run) != recipe:
        raise RecipeError(f"{run} was started with another recipe; resume with {run / RECIPE} or start a new run.")


def _ended_early(last: Path) -> bool:
    """Whether early stopping ended the run: Lightning would train another epoch to find that out."""
    states = read_checkpoint(last).get("callbacks", {})
    return any("wait_count" in s and s["wait_count"] >= s["patience"] for s in states.values() if isinstance(s, dict))


def read_run_recipe(run: Path) -> Recipe:
    """The recipe that a run folder was started with.

    Raises:
        RecipeError: the folder holds none.
    """
    try:
        return parse_recipe(read_yaml(run / RECIPE), str(run / RECIPE))
    except FileNotFoundError as error:
        raise RecipeError(f"{run} holds no {RECIPE}; it is not a run, train first.") from error
    except YamlError as error:
        raise RecipeError(f"{run / RECIPE} is damaged: {error}; train again in another folder.") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's advice, which is for programmers or not for small machines."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # Ours: the loader goes on in the middle of an epoch, and validation scores are the same in all processes.
        for words in (
            "does not have many workers",
            "ended before the epoch ended",
            "logging interval",
            "sync_dist",
            "persistent_workers",
            "exists and is not empty",
            "is an instance of `nn.Module`",
            "barrier",
            "TreeSpec",
            "lr_scheduler.step",
        ):
            warnings.filterwarnings("ignore", message=f"(?s).*{words}.*")
        yield


@contextmanager
def _fitting_hardware(asked: str) -> Iterator[None]:
    """What Lightning says to devices that are not there, as one sentence."""
    try:
        yield
    except (MisconfigurationException, ValueError, TypeError, RuntimeError, ImportError) as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise RecipeError(
            f"This machine cannot train with {asked}: {why}; leave them out to take what is there."
        ) from error


@contextmanager
def _sentences(run: Path) -> Iterator[None]:
    """What goes wrong with machines, as one sentence."""
    try:
        yield
    except DataError as error:
        # A loader process wraps its traceback around the sentence.
        raise DataError(str(error).strip().splitlines()[-1].removeprefix("Training.errors.DataError: ")) from error
    except torch.OutOfMemoryError as error:
        raise RecipeError(
            "The device's memory is full; lower optimization.batch_size (accumulate makes up for it) or patch_size, "
            "or set optimization.precision to bf16-mixed."
        ) from error
    except OSError as error:
        raise RecipeError(
            f"The run {run} cannot be written ({error.strerror or error}); free the disk or "
            "name another folder with --run, then --resume where it began."
        ) from error
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise RecipeError(
            "A loader process died, most likely for lack of memory; use fewer --workers or a smaller patch_size."
        ) from error
