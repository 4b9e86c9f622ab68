# ruff: noqa: ARG002 - the arguments of Lightning's hooks are fixed
"""Looks at the held-back cases while a network learns, and which of them is kept: never one that is worse."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from Training.errors import RunError
from Training.files import write_csv, write_json
from Training.fit.batches import epochs_done
from Training.fit.module import SegmentationModule, mean_of_images
from Training.fit.run_folder import RunFolder

_SAME = 1e-9


@dataclass(frozen=True, kw_only=True)
class Look:
    """What the held-back cases say of the network at one moment.

    Args:
        number: 0 is the start.
        dice: group -> label -> mean Dice of its held-back images; a label that no image says anything of is missing.
        kept: it was better than all before it and in no group worse than the start allows.
    """

    number: int
    dice: dict[str, dict[str, float]]
    kept: bool = False

    def mean(self, group: str) -> float:
        """The mean Dice of a group over its labels."""
        values = list(self.dice[group].values())
        return sum(values) / len(values) if values else 0.0

    @property
    def score(self) -> float:
        """The mean over the groups, each of the same weight however many images it has."""
        return sum(self.mean(group) for group in self.dice) / len(self.dice)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """When a look is kept, and when no more are taken.

    Args:
        may_lose: how much lower than at the start the mean Dice of a group may be.
        patience: looks without a better one after which the run ends.
    """

    may_lose: float = 0.0
    patience: int = 6

    def keeps(self, look: Look, before: Sequence[Look]) -> bool:
        """Whether `look` is better than what is kept of those before it, the first of which is the start."""
        start = before[0]
        harms = any(look.mean(group) < start.mean(group) - self.may_lose - _SAME for group in start.dice)
        return not harms and look.score > kept(before).score + _SAME

    def over(self, looks: Sequence[Look]) -> bool:
        """Whether nothing has got better for too long."""
        return looks[-1].number - kept(looks).number >= self.patience


def kept(looks: Sequence[Look]) -> Look:
    """The look whose weights are kept: the last that was better, or the start."""
    return next((look for look in reversed(looks) if look.kept), looks[0])


def look_at(number: int, sums: Tensor, groups: Sequence[str], labels: Sequence[str]) -> Look:
    """A look from the sums [images, labels + 1, 2] of a validation and the group of each image."""
    dice: dict[str, dict[str, float]] = {}
    for group in dict.fromkeys(groups):
        members = torch.tensor([one == group for one in groups])
        values = mean_of_images(sums[members])[:-1].tolist()
        dice[group] = {name: value for name, value in zip(labels, values, strict=True) if math.isfinite(value)}
    return Look(number=number, dice=dice)


class LookFile:
    """`looks.json`, from which a run goes on, and `looks.csv` for people."""

    def __init__(self, run: Path) -> None:
        self.json, self.csv = run / "looks.json", run / "looks.csv"

    def read(self) -> list[Look]:
        """The looks so far; none before the first.

        Raises:
            RunError: the file is damaged.
        """
        if not self.json.is_file():
            return []
        try:
            return [Look(**look) for look in json.loads(self.json.read_text(encoding="utf-8"))]
        except (OSError, ValueError, TypeError) as error:
            raise RunError(f"{self.json} is damaged; begin again in another folder with --run.") from error

    def write(self, looks: Sequence[Look]) -> None:
        """All looks; raises OutputError where they cannot be written."""
        write_json(self.json, [asdict(look) for look in looks])
        columns = ["look", *(f"{group} {label}" for group, labels in looks[0].dice.items() for label in labels), "kept"]
        write_csv(self.csv, columns, [_row(look) for look in looks])


def _row(look: Look) -> dict[str, object]:
    dices = {f"{group} {label}": dice for group, labels in look.dice.items() for label, dice in labels.items()}
    return {"look": look.number, **dices, "kept": look.kept}


class Keeper(Callback):
    """Looks after each epoch, writes the best checkpoint where `Rule` keeps the look, and ends the run in time.

    Args:
        run: its folder.
        file: where the looks are written; the start is there already.
        groups: the group of each image that validates, in their order.
        rule: what is kept.
    """

    def __init__(self, run: RunFolder, file: LookFile, groups: Sequence[str], rule: Rule) -> None:
        self.run, self.file, self.groups, self.rule = run, file, groups, rule
        self.looks = file.read()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Epochs that a resumed run trains again are looked at again.
        self.looks = [look for look in self.looks if look.number <= epochs_done(trainer)]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, SegmentationModule)
        look = look_at(trainer.current_epoch + 1, pl_module.image_sums, self.groups, tuple(pl_module.values))
        look = replace(look, kept=self.rule.keeps(look, self.looks))
        if look.kept:
            trainer.save_checkpoint(self.run.best)
        self.looks.append(look)
        self.file.write(self.looks)
        if self.rule.over(self.looks):
            trainer.should_stop = True
