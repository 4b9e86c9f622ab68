"""The exact loss of one whole image, computed slab by slab, so that it need not fit into memory at once."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from Training.fit.losses import CrossEntropy, SegmentationLoss, counted_voxels
from Training.recipe.sources import IGNORE

# A slab's softmax, one-hot labels and products take about 10 float32 values a voxel and class.
SLAB_VOXELS = 2**20
# Validation keeps a whole image's logits on the device as far as they take less than this, else in main memory.
LOGITS_ON_DEVICE = 2**30
_SMOOTH = 1e-5  # MONAI's, in numerator and denominator


def slabs(shape: tuple[int, ...], most: int = SLAB_VOXELS) -> Iterator[slice]:
    """Ranges along the first of the axes `shape` that hold about `most` voxels each."""
    step = max(1, most // math.prod(shape[1:]))
    for first in range(0, shape[0], step):
        yield slice(first, min(first + step, shape[0]))


class CaseLoss:
    """Adds up what the loss of an image is made of; equals `SegmentationLoss` of the whole image."""

    def __init__(self, loss: SegmentationLoss) -> None:
        self.parts = loss.single
        self.weights = self.parts.voxel.weights if isinstance(self.parts.voxel, CrossEntropy) else None
        self._region = torch.zeros(3, 1, dtype=torch.float64)
        self._voxel = torch.zeros(2, dtype=torch.float64)

    def add(self, logits: Tensor, label: Tensor) -> None:
        """Take in a slab: logits [1, C, ...] and classes [1, 1, ...]; voxels to ignore are left out."""
        logits, counted = logits.float(), label[:, 0] != IGNORE
        if not bool(counted.all()):
            logits, label = counted_voxels(logits, label, counted)
        if self.parts.region is not None:
            share = logits.sigmoid() if self.parts.sigmoid else logits.softmax(1)
            self._region = self._region + self._sums(share, label)
        if self.parts.voxel is not None:
            # Class weights make torch's cross-entropy a weighted mean, all others are plain means.
            part = label.numel() if self.weights is None else float(self.weights.to(label.device)[label.long()].sum())
            value = float(self.parts.voxel(logits, label)) if part else 0.0
            self._voxel += torch.tensor([value * part, part], dtype=torch.float64)

    def _sums(self, share: Tensor, label: Tensor) -> Tensor:
        """Of each class: sums of probability in the right place, of truth, and of probability [3, C], float64."""
        rows = []
        for k in range(share.shape[1]):
            p, truth = share[:, k], label[:, 0] == k
            total = (p * p if self.parts.squared else p).sum(dtype=torch.float64)
            rows.append(torch.stack([p[truth].sum(dtype=torch.float64), truth.sum().double(), total]))
        return torch.stack(rows, 1).cpu()

    def value(self) -> float:
        """The loss of all that was taken in."""
        total, dice_weight, voxel_weight = 0.0, *self.parts.weights
        if self.parts.region is not None:
            right, truth, found = self._region[:, 0 if self.parts.background else 1 :]
            if self.parts.tversky is None:
                score = (2 * right + _SMOOTH) / (truth + found + _SMOOTH)
            else:
                alpha, beta = self.parts.tversky
                score = (right + _SMOOTH) / (right + alpha * (found - right) + beta * (truth - right) + _SMOOTH)
            total += dice_weight * float((1 - score).mean())
        if self.parts.voxel is not None:
            total += voxel_weight * float(self._voxel[0] / self._voxel[1].clamp(min=1e-12))
        return total
