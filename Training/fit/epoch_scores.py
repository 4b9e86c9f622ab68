"""Dice and F-score of what a network found, from the counts of each class: nothing else has to be kept of an epoch."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from Training.recipe.regions import region
from Training.recipe.sources import IGNORE


def count_classes(truth: Tensor, found: Tensor, classes: int) -> Tensor:
    """Voxels by true class (rows) and found class (columns), int64 [classes, classes]; a device is not waited for.

    Args:
        truth, found: class numbers of one shape, any integer type; where truth is `IGNORE`, nothing is counted.
        classes: labels plus one.
    """
    true = truth.reshape(-1).long()
    counted = (true != IGNORE).long()
    pairs = true * counted * classes + found.reshape(-1).long()
    # Not bincount, which first looks for the largest number and so waits for the device.
    counts = torch.zeros(classes * classes, dtype=torch.int64, device=pairs.device)
    return counts.scatter_add_(0, pairs, counted).view(classes, classes)


def overlaps(counts: Tensor, values: Mapping[str, int]) -> Tensor:
    """Of each label with its parts, twice the right voxels and the sum of both masks: float64 [labels, 2].

    Args:
        counts: as `count_classes` gives them.
        values: names of the labels with their values.
    """
    numbers = torch.arange(len(counts))
    members = torch.stack([region(numbers, name, values) for name in values]).double()
    table = counts.double().cpu()
    right = torch.einsum("li,ij,lj->l", members, table, members)
    return torch.stack([2 * right, members @ (table.sum(0) + table.sum(1))], 1)


def f_score(counts: Tensor) -> float:
    """The F-score that `evaluate` calls pooled: 2TP / (2TP + FP + FN) of each label by itself, without its parts, and
    their mean; not a number where no label is."""
    table = counts.double().cpu()
    both = table.sum(0) + table.sum(1)
    scores = (2 * table.diagonal() / both)[1:]
    return float(scores.nanmean())
