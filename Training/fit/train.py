"""One training run: a folder with checkpoints, history, logs, and the recipe that made it."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from Training.errors import DataError, RunError
from Training.files import write_text
from Training.fit.batches import CaseData
from Training.fit.callbacks import Extras, History, ProgressBar, StopOnSignal, ValidateLast, moving_average
from Training.fit.initial import initialize, load_imagenet_vgg16, load_initial, read_checkpoint
from Training.fit.loggers import check_loggers, loggers_of
from Training.fit.module import SegmentationModule
from Training.fit.own_code import OwnCode
from Training.fit.run_folder import RunFolder
from Training.recipe import Recipe
from Training.recipe.yaml_text import keep_recipe

# Advice that does not fit: our loader goes on in the middle of an epoch, and all processes have the same scores.
_ADVICE = (
    "does not have many workers|ended before the epoch ended|logging interval|sync_dist|persistent_workers|"
    "exists and is not empty|is an instance of `nn.Module`|barrier|TreeSpec|lr_scheduler.step"
)


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What a run is computed on, in Lightning's words.

    Args:
        accelerator: auto, cpu, gpu, mps.
        devices: how many on each node, or auto. Under torchrun or SLURM the number that these start. Each process
            takes `optimization.batch_size` samples a step; with `loss.batch: false` and instance norm two processes
            do exactly what one does with twice the batch.
        nodes: computers.
        strategy: auto, ddp, ddp_find_unused_parameters_true.
    """

    accelerator: str = "auto"
    devices: str = "auto"
    nodes: int = 1
    strategy: str = "auto"

    def __str__(self) -> str:
        return " ".join(f"--{name} {value}" for name, value in vars(self).items())


def train(
    recipe: Recipe,
    data: Path,
    run: Path,
    *,
    resume: bool = False,
    init: Path | None = None,
    workers: int = 2,
    hardware: Hardware | None = None,
    keeper: Callback | None = None,
    loggers: Sequence[str] = (),
    code: Path | None = None,
) -> Path:
    """Train `recipe` on the prepared folder `data`; return the best checkpoint.

    Args:
        recipe: what to train.
        data: prepared folder.
        run: run folder; gets the files of `RunFolder`.
        resume: go on from the run's last checkpoint; the end is the same as without the break. The recipe may ask for
            more epochs than before: the optimizer goes on, and the learning rate is then that of the longer run.
        init: weights to start a new run from (fine-tuning): a checkpoint, a safetensors file or a package folder.
        workers: loader processes.
        hardware: None for what is there.
        code: Python file with the user's own network, loss or transform (`OwnCode`); the run keeps a copy.
        loggers: names of `LOGGERS` that get the numbers, too.
        keeper: writes the best checkpoint by a rule of its own; None: that of the highest validation Dice is kept.

    Raises:
        RunError: nothing or something else to resume, a run already there, weights that do not fit, no memory or
            disk, a loss that is not finite.
        DataError: the data was not prepared for this recipe.
        StoppedError: Ctrl-C; the state is saved.
    """
    torch.set_flush_denormal(True)
    check_loggers(loggers)
    folder = RunFolder(run.resolve())  # checkpoints remember their folder
    cases = CaseData(recipe, data, workers, None if code is None else OwnCode(code))
    with _sentences(folder), quiet():
        pl.seed_everything(recipe.seed, workers=True, verbose=False)
        _check_begin(recipe, code, folder, resume=resume)
        if not (resume and _ended_early(folder)):
            module = _new_module(recipe, cases.code, init, resume=resume)
            if not resume and is_first_process():
                _keep(recipe, code, folder)
            with loggers_of(folder, recipe, loggers if is_first_process() else ()) as written:
                trainer = _trainer(recipe, folder, hardware or Hardware(), keeper, written)
                # Our own file; still only tensors and plain data are read from it.
                trainer.fit(module, cases, ckpt_path=str(folder.last) if resume else None, weights_only=True)
    return _best(folder)


def _best(run: RunFolder) -> Path:
    """The best checkpoint of a run that has ended."""
    if is_first_process() and not run.best.is_file():
        raise RunError(f"{run} has ended without {run.best.name}; train again in another folder with --run.")
    return run.best


def _check_begin(recipe: Recipe, code: Path | None, run: RunFolder, *, resume: bool) -> None:
    """What lies in the run's folder must go on, or not be there."""
    if resume:
        _check_same_code(code, run)
        _check_resumable(recipe, run)
    elif run.last.exists():
        raise RunError(f"{run} already holds a run; go on with --resume, or name another folder with --run.")


def _keep(recipe: Recipe, code: Path | None, run: RunFolder) -> None:
    """Put into the folder of a new run what it was begun with."""
    run.path.mkdir(parents=True, exist_ok=True)
    keep_recipe(run.recipe_file, recipe)
    if code is not None:
        write_text(run.own_code, code.read_text(encoding="utf-8"))


def _check_resumable(recipe: Recipe, run: RunFolder) -> None:
    """Only the same recipe can go on, or the same for more epochs, which is then the run's."""
    if not run.last.is_file():
        raise RunError(f"{run} holds no {run.last.name} to resume from; train without --resume.")
    before = run.recipe()
    if before == recipe:
        return
    epochs = recipe.optimization.max_epochs
    longer = before.optimization.model_copy(update={"max_epochs": epochs})
    if before.model_copy(update={"optimization": longer}) != recipe:
        raise RunError(
            f"{run} was started with another recipe; resume with {run.recipe_file}, of which only "
            "optimization.max_epochs may change, or start a new run."
        )
    if epochs < before.optimization.max_epochs:
        raise RunError(
            f"{run} was started for {before.optimization.max_epochs} epochs; a run can be made longer, not shorter."
        )
    if _ended_early(run):
        raise RunError(
            f"{run} ended early, as nothing had got better; start a new run from its best weights with "
            f"--init {run.best}."
        )
    if is_first_process():
        keep_recipe(run.recipe_file, recipe)


def _ended_early(run: RunFolder) -> bool:
    """Whether early stopping ended the run: Lightning would train another epoch to find that out."""
    states = read_checkpoint(run.last).get("callbacks", {})
    return any("wait_count" in s and s["wait_count"] >= s["patience"] for s in states.values() if isinstance(s, dict))


def _check_same_code(code: Path | None, run: RunFolder) -> None:
    """A run goes on with the code that it began with, and only a file that the command names is run."""
    before = run.own_code.read_text(encoding="utf-8") if run.own_code.is_file() else None
    now = None if code is None else code.read_text(encoding="utf-8")
    if before != now:
        raise RunError(
            f"{run} was started {'without --code' if before is None else 'with other code'}; resume it "
            f"{'without' if before is None else f'with the file that {run.own_code} is a copy of'}."
        )


def _new_module(recipe: Recipe, code: OwnCode | None, init: Path | None, *, resume: bool) -> SegmentationModule:
    """The module with the weights that the run starts from; those of a resumed one come with its checkpoint."""
    module = SegmentationModule(recipe, code)
    initialize(module.network, recipe.network.initialization)
    if init is not None:
        load_initial(module, init)
    elif recipe.network.pretrained is not None and not resume:
        load_imagenet_vgg16(module.network, Path(recipe.network.pretrained))
    return module


def _trainer(
    recipe: Recipe, run: RunFolder, hardware: Hardware, keeper: Callback | None, written: list[Logger]
) -> pl.Trainer:
    o = recipe.optimization
    try:
        return pl.Trainer(
            max_epochs=o.max_epochs,
            precision=o.precision,
            accumulate_grad_batches=o.accumulate,
            gradient_clip_val=o.gradient_clip,
            benchmark=o.cudnn_benchmark,
            callbacks=_callbacks(recipe, run, keeper),
            logger=written,
            log_every_n_steps=10,
            num_sanity_val_steps=0,
            check_val_every_n_epoch=o.validate_every,  # and after the last epoch: ValidateLast
            use_distributed_sampler=False,  # ours deals out the samples itself
            sync_batchnorm=torch.cuda.is_available(),
            enable_model_summary=False,
            accelerator=hardware.accelerator,
            devices=hardware.devices,
            num_nodes=hardware.nodes,
            strategy=hardware.strategy,
        )
    # What Lightning says to devices that are not there.
    except (MisconfigurationException, ValueError, TypeError, RuntimeError, ImportError) as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise RunError(
            f"This machine cannot train with {hardware}: {why}; leave them out to take what is there."
        ) from error


def _callbacks(recipe: Recipe, run: RunFolder, keeper: Callback | None) -> list[Callback]:
    o = recipe.optimization
    callbacks: list[Callback] = [
        StopOnSignal(run.last),
        ValidateLast(recipe),
        Extras(run, recipe),
        History(run, recipe),
        LearningRateMonitor(),
        ProgressBar(),
        keeper or _checkpoint(run, run.best.stem, monitor="val_dice", mode="max"),
        _checkpoint(run, run.last.stem, save_on_train_epoch_end=True),
    ]
    if o.ema_decay > 0:
        callbacks.append(moving_average(o.ema_decay))
    if o.early_stop is not None:
        patience = math.ceil(o.early_stop / o.validate_every)
        callbacks.append(EarlyStopping("val_dice", patience=patience, mode="max", check_on_train_epoch_end=False))
    if o.checkpoint_every is not None:
        every: dict[str, Any] = {"every_n_epochs": o.checkpoint_every, "save_top_k": -1}
        callbacks.append(_checkpoint(run, "epoch_{epoch}", KeptCheckpoint, save_on_train_epoch_end=True, **every))
    return callbacks


class KeptCheckpoint(ModelCheckpoint):
    """A class of its own, as Lightning takes two of one class that save as often for the same."""


def _checkpoint(
    run: RunFolder, name: str, kind: type[ModelCheckpoint] = ModelCheckpoint, **options: Any
) -> ModelCheckpoint:
    return kind(run.checkpoints, name, auto_insert_metric_name=False, enable_version_counter=False, **options)


def is_first_process() -> bool:
    """Whether this is the process of several that speaks and writes."""
    return getattr(rank_zero_only, "rank", 0) == 0


@contextmanager
def quiet() -> Iterator[None]:
    """Without Lightning's advice, which is for programmers or not for small machines."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=f"(?s).*({_ADVICE})")
        yield


@contextmanager
def _sentences(run: RunFolder) -> Iterator[None]:
    """What goes wrong with machines, as one sentence."""
    try:
        yield
    except DataError as error:
        # A loader process wraps its traceback around the sentence.
        sentence = str(error).strip().splitlines()[-1]
        raise DataError(sentence.removeprefix(f"{DataError.__module__}.{DataError.__name__}: ")) from error
    except torch.OutOfMemoryError as error:
        raise RunError(
            "The device's memory is full; lower optimization.batch_size (accumulate makes up for it) or patch_size, "
            "or set optimization.precision to bf16-mixed."
        ) from error
    except OSError as error:
        raise RunError(
            f"The run {run} cannot be written ({error.strerror or error}); free the disk or "
            "name another folder with --run, then --resume where it began."
        ) from error
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise RunError(
            "A loader process died, most likely for lack of memory; use fewer --workers or a smaller patch_size."
        ) from error
