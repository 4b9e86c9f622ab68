"""nnU-Net v2's checkpoints: which folds are there, what they tell, and how they are kept as safetensors."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from LiverSegLib.errors import ModelError
from LiverSegLib.models.folder import MAX_WEIGHTS, PackageFolder
from LiverSegLib.models.safetensors_file import read_header_texts, write_safetensors
from LiverSegLib.models.text import one_line, shown
from LiverSegLib.models.torch_file import read_values
from LiverSegLib.models.weights import read_weights

NAMES = ("checkpoint_final.safetensors", "checkpoint_final.pth")
"""The first that is there counts."""
FOLD = r"fold_(\d{1,3}|all)"
_MOST_FOLDS = 20
_TRAINER = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_OTHER_NETWORKS = re.compile(r"BN(_|$)|Primus|STUNet|MedNeXt|UMamba|UxLSTM|SwinUNETR|UNETR|Eva", re.IGNORECASE)
"""Trainers that build other networks than the plans say."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a checkpoint tells beside its weights.

    Args:
        configuration: of the plans.
        trainer: the name of nnU-Net's class.
        mirror: axes of the window along which images may be mirrored.
    """

    configuration: str
    trainer: str
    mirror: tuple[int, ...]


def find_folds(files: PackageFolder) -> tuple[str, ...]:
    """The files of weights in a folder of results: of every fold, or of fold_all where that is the only one.

    Raises:
        ModelError: there is none, or there are very many.
    """
    try:
        entries = sorted(path.name for path in files.path.iterdir())
    except OSError as error:
        raise ModelError(f"{files.path} cannot be read ({error.strerror}); get the package again.") from error
    folds = [entry for entry in entries if re.fullmatch(FOLD, entry)]
    folds = [entry for entry in folds if entry != "fold_all"] or folds
    found = [_weights_of(files, fold) for fold in folds]
    there = tuple(name for name in found if name is not None)
    if not there:
        raise ModelError(
            f"{files.path} holds no trained fold: fold_0/{NAMES[1]} or that of another fold is needed; get the "
            "whole model."
        )
    if len(there) > _MOST_FOLDS:
        raise ModelError(f"{files.path} holds {len(there)} folds; {_MOST_FOLDS} are the most.")
    return there


def _weights_of(files: PackageFolder, fold: str) -> str | None:
    return next((f"{fold}/{name}" for name in NAMES if files.has(f"{fold}/{name}")), None)


def read_checkpoint(files: PackageFolder, name: str) -> Checkpoint:
    """What a file of weights tells beside its weights, which are not read.

    Raises:
        ModelError: it is damaged or unsafe, tells nothing, or is of a trainer that builds other networks.
    """
    path = files.path / name
    with files.peek(name, MAX_WEIGHTS) as file:
        if name.endswith(".safetensors"):
            texts = read_header_texts(file, path)
            values = {key: _parsed(text) for key, text in texts.items()}
        else:
            values = read_values(file, path)
    arguments, trainer = values.get("init_args"), values.get("trainer_name")
    wanted = arguments.get("configuration") if isinstance(arguments, dict) else None
    if not isinstance(wanted, str) or not isinstance(trainer, str) or not _TRAINER.fullmatch(trainer):
        raise ModelError(f"{path} does not tell its trainer and configuration; it is no model of nnU-Net v2.")
    if _OTHER_NETWORKS.search(trainer):
        raise ModelError(f"{path} was trained by {trainer}, which builds a network of its own that is not supported.")
    axes = values.get("inference_allowed_mirroring_axes") or ()
    if not isinstance(axes, list | tuple) or not all(type(axis) is int and 0 <= axis <= 2 for axis in axes):
        raise ModelError(f"{path} has the mirroring axes {shown(axes)}, which make no sense; get the model again.")
    return Checkpoint(configuration=wanted, trainer=trainer, mirror=tuple(sorted(set(axes))))


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def keep_safetensors(folder: Path, between: Callable[[], None] | None = None) -> None:
    """Replace each fold's checkpoint in a folder of results by a safetensors file, a half of its size or less.

    What a checkpoint tells of itself goes into the header of the new file.

    Args:
        folder: the results.
        between: called before each fold; what it raises ends the work.

    Raises:
        ModelError: as `read_checkpoint`, or the weights are not readable; what was replaced before stays so.
    """
    files = PackageFolder(folder)
    for name in find_folds(files):
        if name.endswith(".safetensors"):
            continue
        if between is not None:
            between()
        path = folder / name
        told, state = read_checkpoint(files, name), read_weights(path)
        texts = {
            "format": "pt",
            "init_args": json.dumps({"configuration": told.configuration}),
            "trainer_name": json.dumps(told.trainer),
            "inference_allowed_mirroring_axes": json.dumps(told.mirror),
        }
        partial = path.with_suffix(".partial")
        try:
            write_safetensors(partial, state, texts)
            partial.replace(path.with_suffix(".safetensors"))
            path.unlink()
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise ModelError(f"{path} cannot be replaced ({one_line(error, 200)}); check space and rights.") from error
