"""Optimizers and learning rates as a recipe names them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch

from Training.recipe.options import Optimization

RISE = 0.1
START, END = 1 / 25, 1 / 250_000
_STAIRS = ("exponential", "step", "multistep")


def build_optimizer(parameters: Iterable[torch.nn.Parameter], o: Optimization) -> torch.optim.Optimizer:
    """AdamW, Adam, or SGD with Nesterov's momentum."""
    shared: dict[str, Any] = {"lr": o.learning_rate, "weight_decay": o.weight_decay}
    if o.optimizer == "sgd":
        return torch.optim.SGD(parameters, momentum=o.momentum, nesterov=o.momentum > 0, **shared)
    return (torch.optim.AdamW if o.optimizer == "adamw" else torch.optim.Adam)(parameters, **shared)


def learning_rate_factor(o: Optimization, steps: int) -> Callable[[int], float]:
    """What the learning rate is multiplied by at each optimizer step.

    Args:
        o: schedule, gamma, power, steps, milestones, warm-up and epochs.
        steps: optimizer steps of the whole run.

    Returns:
        Function of the step, counted from 0. one_cycle: Smith and Topin 2017, from 1/25 up over a tenth of the
        steps and down to 1/250000, both along a cosine.
    """
    per_epoch = max(1, steps // o.max_epochs)
    rise = 0 if o.schedule == "one_cycle" else o.warmup_epochs * per_epoch

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / (rise + 1)
        if o.schedule in _STAIRS:
            return float(o.gamma ** _times_lowered(o, (step - rise) // per_epoch, step // per_epoch))
        done = min((step - rise) / max(steps - rise, 1), 1.0)
        if o.schedule == "one_cycle":
            return _one_cycle(step, steps)
        if o.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        if o.schedule == "poly":
            return float((1 - done) ** o.power)
        return 1.0

    return factor


def _times_lowered(o: Optimization, since: int, epoch: int) -> int:
    """How often the rate has been lowered `since` epochs after the warm-up, in this `epoch` of the run."""
    if o.schedule == "multistep":
        return sum(epoch >= milestone for milestone in o.milestones)
    return since // (o.step_epochs if o.schedule == "step" else 1)


def _one_cycle(step: int, steps: int) -> float:
    """As torch's OneCycleLR counts, without its cycling momentum."""
    top, last = RISE * steps - 1, max(steps - 1, 1)
    if step <= top:
        return START + (1 - START) * 0.5 * (1 - math.cos(math.pi * step / max(top, 1)))
    done = min((step - top) / (last - top), 1.0)
    return END + (1 - END) * 0.5 * (1 + math.cos(math.pi * done))
