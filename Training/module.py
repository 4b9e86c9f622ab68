"""What Lightning runs: loss, optimiser, validation scores."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from monai.inferers import SlidingWindowInferer

from LiverSegLib.networks import build_network
from Training.losses import build_loss
from Training.recipe import Recipe, RecipeError
from Training.schedules import build_optimizer, learning_rate_factor


class SegmentationModule(pl.LightningModule):
    """A network of the registry under a recipe's loss, optimiser and schedule.

    Logs `train_loss`, and at each validation `val_loss` (mean over cases), `val_dice_<label>` (the Dice of each
    patient over all its slices, averaged over patients), `val_dice` (their mean over labels, by which the best
    checkpoint is chosen) and `val_accuracy` (share of right voxels, averaged over patients).
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.network = build_network(recipe.network.name, recipe.network_arguments())
        # Half again as fast in half precision, where convolutions want the channels side by side.
        self.layout = torch.channels_last if recipe.spatial_dims == 2 else torch.channels_last_3d
        self.network = self.network.to(memory_format=self.layout)  # type: ignore[call-overload]
        self.loss = build_loss(recipe)
        self.inferer = SlidingWindowInferer(
            recipe.inference.roi_size, recipe.inference.batch_size, recipe.inference.overlap, mode="gaussian"
        )
        self._losses = {"epoch": 0.0, "sum": 0.0, "count": 0.0}
        self._sums: dict[str, torch.Tensor] = {}
        self._val_loss = torch.zeros(2, dtype=torch.float64)

    def forward(self, x: torch.Tensor) -> Any:
        """Logits [N, labels + 1, ...] of normalised images [N, 1, ...]; while training perhaps several."""
        return self.network(x)

    def on_train_batch_start(self, batch: dict[str, Any], batch_idx: int) -> None:  # noqa: ARG002
        # Dropout goes on after a resume as if nothing had happened.
        torch.manual_seed(hash((self.recipe.seed, self.current_epoch, batch_idx, self.global_rank)) % 2**63)

    def training_step(self, batch: dict[str, Any], _: int) -> torch.Tensor:
        image, label = batch["image"], batch["label"]
        image = image.contiguous(memory_format=self.layout)
        loss: torch.Tensor = self.loss(self(image), label, batch.get("undivided"))
        value = float(loss.detach())
        if value != value or abs(value) == float("inf"):
            raise RecipeError(
                f"The loss became {value} in epoch {self.current_epoch}; lower optimization.learning_rate, or set "
                "optimization.gradient_clip or another optimization.precision, and train again."
            )
        if self._losses["epoch"] != self.current_epoch:
            self._losses = {"epoch": float(self.current_epoch), "sum": 0.0, "count": 0.0}
        self._losses["sum"] += value
        self._losses["count"] += 1
        self.log("train_loss", loss, prog_bar=True, batch_size=len(image))
        return loss

    def epoch_loss(self) -> dict[str, float]:
        """Sum and count of this epoch's losses over all processes; every process has to ask."""
        if self.trainer.world_size == 1:
            return dict(self._losses)
        parts: list[Any] = [None] * self.trainer.world_size
        torch.distributed.all_gather_object(parts, self._losses)
        return {**self._losses, "sum": sum(p["sum"] for p in parts), "count": sum(p["count"] for p in parts)}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["epoch_loss"] = self.epoch_loss()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._losses = dict(checkpoint["epoch_loss"])
        if self.trainer.global_rank > 0:
            self._losses.update(sum=0.0, count=0.0)

    def on_validation_epoch_start(self) -> None:
        self._sums = {}
        self._val_loss = torch.zeros(2, dtype=torch.float64)

    def validation_step(self, batch: dict[str, Any], _: int) -> None:
        logits = self.inferer(batch["image"], self.network)
        assert isinstance(logits, torch.Tensor)
        self._val_loss += torch.tensor([float(self.loss(logits, batch["label"], batch.get("undivided"))), 1.0], dtype=torch.float64)
        labels = logits.argmax(1, keepdim=True)
        sums = torch.zeros(len(self.recipe.labels) + 1, 2, dtype=torch.float64)
        for row, value in enumerate(self.recipe.labels):
            found, true = labels == value, batch["label"] == value
            sums[row, 0] = 2.0 * (found & true).sum().cpu()
            sums[row, 1] = (found.sum() + true.sum()).cpu()
        sums[-1, 0] = (labels == batch["label"]).sum().cpu()
        sums[-1, 1] = labels.numel()
        (patient,) = batch["patient"]
        self._sums[patient] = self._sums.get(patient, 0) + sums

    def on_validation_epoch_end(self) -> None:
        per_patient, (total, count) = self._gathered()
        ratios = torch.stack([sums[:, 0] / sums[:, 1].clamp(min=1) for sums in per_patient.values()])
        # A patient without the label and without a false positive says nothing.
        known = torch.stack([sums[:, 1] > 0 for sums in per_patient.values()])
        mean = (ratios * known).sum(0) / known.sum(0).clamp(min=1)
        for row, name in enumerate(self.recipe.labels.values()):
            self.log(f"val_dice_{name}", mean[row].float())
        self.log("val_dice", mean[:-1].mean().float(), prog_bar=True)
        self.log("val_accuracy", mean[-1].float())
        self.log("val_loss", (total / count).float())

    def _gathered(self) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Sums of every patient, and sum and count of losses, over all processes."""
        if self.trainer.world_size == 1:
            return self._sums, self._val_loss
        parts: list[Any] = [None] * self.trainer.world_size
        torch.distributed.all_gather_object(parts, (self._sums, self._val_loss))
        total: dict[str, torch.Tensor] = {}
        for sums, _ in parts:
            for patient, values in sums.items():
                total[patient] = total.get(patient, 0) + values
        return total, torch.stack([losses for _, losses in parts]).sum(0)

    def configure_optimizers(self) -> Any:
        o = self.recipe.optimization
        optimizer = build_optimizer(self.parameters(), o)
        factor = learning_rate_factor(o, int(self.trainer.estimated_stepping_batches))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
