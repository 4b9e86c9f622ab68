"""What training minimizes: MONAI's losses put together as a recipe says."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from monai.losses import DeepSupervisionLoss, DiceLoss, FocalLoss, TverskyLoss
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.loss import _Loss

from Training.recipe import RecipeError
from Training.recipe.options import Loss
from Training.recipe.sources import IGNORE

# A logit whose softmax is 0.
_NEVER = -1e4


class SegmentationLoss(nn.Module):
    """Weighted sum of a region part (Dice, Tversky) and a voxel part (cross-entropy, its binary form, focal).

    Dice: Milletari et al. 2016; focal: Lin et al. 2017 (mean over voxels and classes, as in MONAI); Tversky: Salehi
    et al. 2017; several outputs: Lee et al. 2015. With `batch: false` the loss is a mean over samples, so two
    processes give what one with twice the batch gives; with one Dice over the batch, or class weights, nearly so.
    """

    def __init__(self, options: Loss) -> None:
        super().__init__()
        self.heads, self.together = options.heads, options.batch
        self.single = _Sum(options)

    def forward(self, outputs: Tensor | Sequence[Tensor], label: Tensor, undivided: Tensor | None = None) -> Tensor:
        """A scalar.

        Args:
            outputs: logits [N, C, ...], a list of them (the finest first, others may be coarser), or DynUNet's
                stack [N, heads, C, ...].
            label: classes [N, 1, ...], or `IGNORE`; brought to a coarser output by its nearest voxel.
            undivided: as in `joined_logits`; None where all labels are told apart.

        Raises:
            RecipeError: `loss.heads` does not have a weight for each output.
        """
        if isinstance(outputs, Tensor):
            if outputs.ndim == label.ndim:
                return self._of(outputs.float(), label, undivided)
            outputs = outputs.unbind(1)
        if self.heads is not None and len(self.heads) != len(outputs):
            raise RecipeError(
                f"loss.heads has {len(self.heads)} weights, but the network has {len(outputs)} outputs; give one each."
            )
        one = partial(self._of, undivided=undivided)
        several = DeepSupervisionLoss(one, weight_mode="exp", weights=self.heads)  # type: ignore[arg-type]
        return several([output.float() for output in outputs], label.float()).reshape(())

    def _of(self, logits: Tensor, label: Tensor, undivided: Tensor | None) -> Tensor:
        """The loss of one output; voxels to ignore are as if they were not there."""
        if undivided is not None:
            logits = joined_logits(logits, label, undivided)
        counted = label[:, 0] != IGNORE
        if bool(counted.all()):
            return self.single(logits, label).reshape(())
        losses = [
            self.single(*counted_voxels(logits[part], label[part], counted[part])).reshape(())
            for part in ([slice(None)] if self.together else [slice(n, n + 1) for n in range(len(label))])
            if bool(counted[part].any())
        ]
        return torch.stack(losses).mean() if losses else 0 * logits.sum()


def counted_voxels(logits: Tensor, label: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """Logits [1, C, voxels] and classes [1, 1, voxels] of the voxels `counted` [N, ...] of [N, C, ...]."""
    return logits.movedim(1, -1)[counted].T[None], label[:, 0][counted][None, None]


def joined_logits(logits: Tensor, label: Tensor, undivided: Tensor) -> Tensor:
    """Logits that leave open what a label does not tell apart.

    Where a sample's label says 1 and hides 2 in it, both answers are right: their probabilities are added in 1, so that
    neither cross-entropy nor Dice can tell them apart. Elsewhere nothing changes. (The marginal loss of Shi et al.,
    Medical Image Analysis 2021, 101979, voxel by voxel.)

    Args:
        logits: [N, C, ...].
        label: classes [N, 1, ...].
        undivided: [N, C] int; the class in which class c is hidden in this sample, or c itself.
    """
    joined, classes = None, torch.arange(logits.shape[1], device=undivided.device)
    for n, row in enumerate(undivided):
        for shown in row[row != classes].unique().tolist():
            here = label[n, 0] == shown
            hidden = (row == shown) & (classes != shown)
            # Only these voxels are touched: with eight segments a pass over all logits for each would take longer
            # than the network.
            joined = logits.clone() if joined is None else joined
            voxels = joined.movedim(1, -1)
            some = voxels[n][here]
            both = some[:, hidden | (classes == shown)].logsumexp(1, keepdim=True)
            some = torch.where(hidden, some.new_tensor(_NEVER), torch.where(classes == shown, both, some))
            voxels[n, here] = some
    return logits if joined is None else joined


class _Sum(_Loss):
    def __init__(self, o: Loss) -> None:
        super().__init__()
        weights = None if o.class_weights is None else torch.tensor(o.class_weights)
        self.sigmoid = o.activation == "sigmoid"
        shared: dict[str, Any] = {"to_onehot_y": True, "include_background": o.include_background, "batch": o.batch}
        shared |= {"sigmoid": self.sigmoid, "softmax": not self.sigmoid}
        self.region: nn.Module | None = None
        if o.kind == "tversky":
            self.region = TverskyLoss(alpha=o.alpha, beta=o.beta, **shared)
        elif "dice" in o.kind:
            self.region = DiceLoss(squared_pred=o.squared, **shared)
        self.voxel: nn.Module | None = None
        if o.kind in ("dice_ce", "cross_entropy"):
            self.voxel = CrossEntropy(weights)
        elif o.kind == "bce_dice":
            self.voxel = SigmoidCrossEntropy(weights) if self.sigmoid else BinaryCrossEntropy(weights)
        elif "focal" in o.kind:
            self.voxel = FocalLoss(to_onehot_y=True, use_softmax=not self.sigmoid, gamma=o.gamma, weight=weights)
        self.weights = o.dice_weight, o.ce_weight
        # What `case_loss` needs to know of them.
        self.background, self.squared = o.include_background, o.squared and o.kind != "tversky"
        self.tversky = (o.alpha, o.beta) if o.kind == "tversky" else None

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        total = logits.new_zeros(())
        if self.region is not None:
            total = total + self.weights[0] * self.region(logits, label)
        if self.voxel is not None:
            total = total + self.weights[1] * self.voxel(logits, label)
        return total


class _Weighted(nn.Module):
    """A loss with a weight for each class, or none; not part of checkpoints."""

    def __init__(self, weights: Tensor | None) -> None:
        super().__init__()
        self.weights: Tensor | None
        self.register_buffer("weights", weights, persistent=False)


class CrossEntropy(_Weighted):
    """Softmax cross-entropy of logits [N, C, ...] and classes [N, 1, ...], weighted by class."""

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """Mean over voxels; with weights, the weighted mean."""
        return functional.cross_entropy(logits, label.squeeze(1).long(), self.weights)


class BinaryCrossEntropy(_Weighted):
    """Each label against the rest, from softmax logits.

    The softmax probability of class k is the sigmoid of z_k - log sum exp of the other logits, so for two classes
    this is the usual binary cross-entropy on the difference of the logits. With class weights w, a voxel of label k
    counts w_k and any other voxel w_0.
    """

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """Mean over voxels and labels of logits [N, C, ...] and classes [N, 1, ...]."""
        classes = logits.shape[1]
        total = logits.new_zeros(())
        for k in range(1, classes):
            others = torch.cat([logits[:, :k], logits[:, k + 1 :]], 1).logsumexp(1)
            truth = (label[:, 0] == k).to(logits.dtype)
            weight = None if self.weights is None else torch.where(truth > 0, self.weights[k], self.weights[0])
            total = total + functional.binary_cross_entropy_with_logits(logits[:, k] - others, truth, weight)
        return total / (classes - 1)


class SigmoidCrossEntropy(_Weighted):
    """Binary cross-entropy of each channel by itself, the background's too (torch's BCEWithLogitsLoss).

    With class weights w, a voxel counts w_k in the channel of its own class k and w_0 in every other one.
    """

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """Mean over voxels and channels of logits [N, C, ...] and classes [N, 1, ...]."""
        truth = torch.zeros_like(logits).scatter_(1, label.long(), 1.0)
        weight = None
        if self.weights is not None:
            own = self.weights.view(1, -1, *[1] * (logits.ndim - 2))
            weight = torch.where(truth > 0, own, self.weights[0])
        return functional.binary_cross_entropy_with_logits(logits, truth, weight)
