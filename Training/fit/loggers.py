"""Where the numbers of a run go besides its history: tables and TensorBoard always, others when they are asked for."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from Training.errors import RunError
from Training.fit.run_folder import RunFolder
from Training.recipe import Recipe

_LONGEST = 500
"""Characters of a parameter that MLflow takes."""


def _mlflow(run: RunFolder, recipe: Recipe) -> Logger:
    """To the server of MLFLOW_TRACKING_URI, or else into a folder of the run."""
    # Newer versions want a database, which their small package cannot open, unless a folder is asked for by this.
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    place = os.environ.get("MLFLOW_TRACKING_URI", (run.logs / "mlflow").as_uri())
    return MLFlowLogger(recipe.name, run_name=run.path.name, tracking_uri=place)


def _wandb(run: RunFolder, recipe: Recipe) -> Logger:
    """Into a folder of the run; nothing is sent unless WANDB_MODE=online says so."""
    offline = os.environ.get("WANDB_MODE", "offline") != "online"
    run.logs.mkdir(parents=True, exist_ok=True)
    return WandbLogger(name=run.path.name, project=recipe.name, save_dir=run.logs, offline=offline)


def _tensorboard(run: RunFolder, _: Recipe) -> Logger:
    return TensorBoardLogger(run.logs, "tensorboard")


_MADE: dict[str, Callable[[RunFolder, Recipe], Logger]] = {
    "tensorboard": _tensorboard,
    "mlflow": _mlflow,
    "wandb": _wandb,
}
LOGGERS = tuple(_MADE)


def check_loggers(names: Sequence[str]) -> None:
    """Refuse a logger that is unknown or not installed.

    Raises:
        RunError: names it.
    """
    for name in names:
        if name not in _MADE:
            raise RunError(f"There is no logger {name}; choose from {', '.join(LOGGERS)}.")
        if importlib.util.find_spec(name) is None:
            raise RunError(f"The logger {name} is not installed; install it with: pip install {name}")


@contextmanager
def loggers_of(run: RunFolder, recipe: Recipe, names: Sequence[str] = ()) -> Iterator[list[Logger]]:
    """The loggers of a run while it goes on, told the recipe: a table, TensorBoard, and those of `names`.

    Raises:
        RunError: one is unknown, not installed, or cannot be reached.
    """
    check_loggers(names)
    # A new version folder at each resume: the table's logger would delete what it finds.
    found: list[Logger] = [CSVLogger(run.logs, "csv")]
    try:
        for name in dict.fromkeys(("tensorboard", *names)):
            found.append(_begun(name, run, recipe, told=name in names))
        yield found
    finally:
        for logger in found:
            if isinstance(logger, WandbLogger):
                logger.experiment.finish()  # or the next run of this process would go on in this one


def _begun(name: str, run: RunFolder, recipe: Recipe, *, told: bool) -> Logger:
    try:
        logger = _MADE[name](run, recipe)
        if told:
            logger.log_hyperparams(_flat(recipe.model_dump(mode="json")))
    except Exception as error:  # whatever servers and their libraries say
        why = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise RunError(f"The logger {name} cannot be used: {why}; leave out --logger {name}.") from error
    return logger


def _flat(data: dict[str, Any], before: str = "") -> dict[str, str]:
    """Keys with dots, values as text."""
    found: dict[str, str] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{before}{key}.")
        else:
            found[f"{before}{key}"] = str(value)[:_LONGEST]
    return found
