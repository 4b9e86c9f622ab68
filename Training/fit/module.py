"""What Lightning runs: loss, optimizer, training and validation scores."""

from __future__ import annotations

import math
from typing import Any, TypeVar

import lightning.pytorch as pl
import numpy as np
import numpy.typing as npt
import torch
from monai.inferers import SlidingWindowInferer
from torch import Tensor

from LiverSegLib.networks import build_network, final_logits
from Training.errors import RunError
from Training.fit.case_loss import LOGITS_ON_DEVICE, CaseLoss, slabs
from Training.fit.epoch_scores import count_classes, f_score, overlaps
from Training.fit.losses import SegmentationLoss, joined_logits
from Training.fit.own_code import OwnCode
from Training.fit.schedules import build_optimizer, learning_rate_factor
from Training.recipe import Recipe
from Training.recipe.regions import clean, names_users_see, region

Classes = npt.NDArray[np.uint8]
T = TypeVar("T")


class SegmentationModule(pl.LightningModule):
    """A network of the registry under a recipe's loss, optimizer and schedule.

    Labels have the names and the meaning that users get: cancer is tumor, and the liver holds its tumors.

    Logs while training `train_loss`, and after each epoch `train_dice_<label>`, the Dice of all voxels of the
    epoch's patches together as the network saw them, augmented, with the weights of that step, and `train_dice`,
    their mean over labels, and `train_f_score`, for which each label stands by itself (see `f_score`). At each
    validation `val_loss` (mean over images), `val_dice_<label>`: the Dice of each whole image after the postprocessing
    that users get, averaged over the images where truth or result has the label, as `evaluate` does, not a number
    where there is none; `val_dice` (their mean over labels, by which the best checkpoint is chosen), `val_f_score` (of
    the voxels of all images together), and `val_accuracy` (share of right voxels, averaged over images). A 2D recipe
    sees at most 24 slices of a patient; those of a volume are cleaned and scored as one image.

    `code`: the user's own network and loss, where there are any.
    """

    def __init__(self, recipe: Recipe, code: OwnCode | None = None) -> None:
        super().__init__()
        self.recipe = recipe
        self.values = names_users_see(recipe.labels)
        own = None if code is None else code.network(recipe)
        self.network = own or build_network(recipe.network.name, recipe.network_arguments())
        # Half again as fast in half precision, where convolutions want the channels side by side.
        self.layout = torch.channels_last if recipe.spatial_dims == 2 else torch.channels_last_3d
        self.network = self.network.to(memory_format=self.layout)  # type: ignore[call-overload]
        self.loss = SegmentationLoss(recipe.loss)
        self.own_loss = None if code is None else code.loss(recipe)
        # MONAI's and not the engine's, which gives the same but keeps only what decides the label: a loss needs more.
        self.inferer = SlidingWindowInferer(
            recipe.inference.roi_size,
            recipe.inference.batch_size,
            recipe.inference.overlap,
            mode="gaussian",
            cpu_thresh=LOGITS_ON_DEVICE // (4 * (len(recipe.labels) + 1)),
        )
        self._losses = {"epoch": 0.0, "sum": 0.0, "count": 0.0}
        self._counts = self._no_counts()
        self._images: list[Tensor] = []
        self._val_counts = self._no_counts()
        self._val_loss = torch.zeros(2, dtype=torch.float64)
        self.image_sums = torch.zeros(0, len(self.values) + 1, 2, dtype=torch.float64)
        """Of each image of the last validation what `mean_of_images` takes, in the order of the images."""

    def forward(self, x: Tensor) -> Any:
        """Logits [N, labels + 1, ...] of normalized images [N, 1, ...]; while training perhaps several."""
        return self.network(x)

    def on_train_batch_start(self, batch: dict[str, Any], batch_idx: int) -> None:  # noqa: ARG002
        # Dropout goes on after a resume as if nothing had happened.
        torch.manual_seed(hash((self.recipe.seed, self.current_epoch, batch_idx, self.global_rank)) % 2**63)

    def training_step(self, batch: dict[str, Any], _: int) -> Tensor:
        image, label, undivided = batch["image"], batch["label"], batch.get("undivided")
        outputs = self(image.contiguous(memory_format=self.layout))
        own = self.own_loss
        loss: Tensor = self.loss(outputs, label, undivided) if own is None else own(outputs, label)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise RunError(
                f"The loss became {value} in epoch {self.current_epoch}; lower optimization.learning_rate, or set "
                "optimization.gradient_clip or another optimization.precision, and train again."
            )
        if self._losses["epoch"] != self.current_epoch:
            self._losses = {"epoch": float(self.current_epoch), "sum": 0.0, "count": 0.0}
            self._counts = self._no_counts()
        self._losses["sum"] += value
        self._losses["count"] += 1
        logits = final_logits(outputs, label.ndim).detach()
        if undivided is not None:
            logits = joined_logits(logits.float(), label, undivided)
        found = logits.argmax(1, keepdim=True)
        self._counts = self._counts.to(label.device) + count_classes(label, found, len(self._counts))
        self.log("train_loss", loss, prog_bar=True, batch_size=len(image))
        return loss

    def _no_counts(self) -> Tensor:
        classes = len(self.recipe.labels) + 1
        return torch.zeros(classes, classes, dtype=torch.int64)

    def _everyone(self, mine: T) -> list[T]:
        """This value of every process, in their order; every process has to ask."""
        if self.trainer.world_size == 1:
            return [mine]
        parts: list[Any] = [None] * self.trainer.world_size
        torch.distributed.all_gather_object(parts, mine)
        return parts

    def epoch_loss(self) -> dict[str, float]:
        """Sum and count of this epoch's losses over all processes; every process has to ask."""
        parts = self._everyone(self._losses)
        return {**self._losses, "sum": sum(p["sum"] for p in parts), "count": sum(p["count"] for p in parts)}

    def epoch_counts(self) -> Tensor:
        """The epoch's voxels by true and found class over all processes; every process has to ask."""
        return torch.stack(self._everyone(self._counts.cpu())).sum(0)

    def epoch_scores(self) -> dict[str, float]:
        """`train_dice`, `train_dice_<label>` and `train_f_score` of this epoch over all processes; each has to ask.

        A label that no patch showed and that nothing was taken for is not a number, and not in the mean.
        """
        counts = self.epoch_counts()
        right, both = overlaps(counts, self.values).unbind(1)
        dice = right / both
        single = {f"train_dice_{name}": float(value) for name, value in zip(self.values, dice, strict=True)}
        return {"train_dice": float(dice.nanmean().nan_to_num()), **single, "train_f_score": f_score(counts)}

    def on_train_epoch_end(self) -> None:
        self.log_dict(self.epoch_scores())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["epoch_loss"] = self.epoch_loss()
        checkpoint["epoch_classes"] = self.epoch_counts()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._losses = dict(checkpoint["epoch_loss"])
        self._counts = checkpoint.get("epoch_classes", self._counts)
        if self.trainer.global_rank > 0:
            self._losses.update(sum=0.0, count=0.0)
            self._counts = self._no_counts()

    def on_validation_epoch_start(self) -> None:
        self._images, self._val_counts = [], self._no_counts()
        self._val_loss = torch.zeros(2, dtype=torch.float64)

    def validation_step(self, batch: dict[str, Any], _: int) -> None:
        if "image" not in batch:  # this process had no image left
            return
        images, truth, undivided = batch["image"], batch["label"], batch.get("undivided")
        found = np.empty((*truth.shape[2:], len(truth)), np.uint8)
        # A few slices at once; a volume is one.
        size = self.recipe.inference.batch_size
        for first in range(0, len(images), size):
            logits = self.inferer(images[first : first + size], self.network)
            assert isinstance(logits, Tensor)
            for number, one in enumerate(_unpadded(logits, truth.shape[2:]), start=first):
                found[..., number], loss = self._decided(one[None], truth[number][None], undivided)
                self._val_loss += torch.tensor([loss, 1.0], dtype=torch.float64)
        counts = self._counted(found, truth.movedim(0, -1)[0].cpu().numpy())
        right = counts.diagonal().sum(), counts.sum()
        scored = torch.cat([overlaps(counts, self.values), torch.tensor([right], dtype=torch.float64)])
        told_apart = np.ones(len(self.values), np.bool_)
        if undivided is not None:
            told_apart = self._told_apart(undivided.cpu().numpy())
            scored[:-1][~told_apart] = 0
        self._images.append(scored)
        # The F-score counts each label without its parts, so all of them have to be told apart.
        self._val_counts += counts * bool(told_apart.all())

    def _decided(self, logits: Tensor, truth: Tensor, undivided: Tensor | None) -> tuple[Classes, float]:
        """Labels and loss of one image [1, C, ...], slab by slab: memory for one slab is all that it takes."""
        loss = CaseLoss(self.loss)
        labels = np.empty(truth.shape[2:], np.uint8)
        for part in slabs(truth.shape[2:]):
            slab, label = logits[:, :, part].to(truth.device), truth[:, :, part]
            if undivided is not None:
                slab = joined_logits(slab.float(), label, undivided[None])
            loss.add(slab, label)
            labels[part] = slab.argmax(1)[0].to(torch.uint8).cpu().numpy()
        return labels, loss.value()

    def _counted(self, found: Classes, truth: Classes) -> Tensor:
        """Voxels of an image by true and found class, after the postprocessing that users get."""
        found = found.reshape(found.shape[:3])  # slices are stacked along z, a volume is one
        clean(found, self.values)
        return count_classes(torch.from_numpy(truth.reshape(found.shape)), torch.from_numpy(found), len(self._counts))

    def _told_apart(self, undivided: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which labels an image can score whose classes c are hidden in `undivided[c]`: those with both or neither.

        A liver whose tumors are drawn as liver scores the liver, and no tumor; one that is not divided into segments
        scores none of them.
        """
        inside = [np.asarray(region(np.arange(len(undivided)), name, self.values)) for name in self.values]
        return np.array([np.array_equal(mask, mask[undivided]) for mask in inside])

    def on_validation_epoch_end(self) -> None:
        parts = self._everyone((self._images, self._val_loss, self._val_counts))
        self.image_sums = torch.stack([image for images, _, _ in parts for image in images])
        total, count = torch.stack([losses for _, losses, _ in parts]).sum(0)
        counts = torch.stack([classes for _, _, classes in parts]).sum(0)
        mean = mean_of_images(self.image_sums)
        for row, name in enumerate(self.values):
            self.log(f"val_dice_{name}", mean[row].float())
        self.log("val_dice", mean[:-1].nanmean().nan_to_num().float(), prog_bar=True)
        self.log("val_f_score", f_score(counts))
        self.log("val_accuracy", mean[-1].float())
        self.log("val_loss", (total / count).float())

    def configure_optimizers(self) -> Any:
        o = self.recipe.optimization
        optimizer = build_optimizer(self.parameters(), o)
        factor = learning_rate_factor(o, int(self.trainer.estimated_stepping_batches))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def mean_of_images(sums: Tensor) -> Tensor:
    """The mean over images of the Dice of each label, and last of the share of right voxels.

    Args:
        sums: [images, labels + 1, 2], what is divided by what. An image without the label and without a false positive
            says nothing; where none says anything, the mean is not a number.
    """
    known = sums[..., 1] > 0
    ratios = sums[..., 0] / sums[..., 1].clamp(min=1)
    return (ratios * known).sum(0) / known.sum(0)


def _unpadded(logits: Tensor, shape: torch.Size) -> Tensor:
    """The middle of [N, C, ...] that is of `shape`: images are padded to what the network can halve, truth is not."""
    for axis, size in enumerate(shape, start=2):
        logits = logits.narrow(axis, (logits.shape[axis] - size) // 2, size)
    return logits
