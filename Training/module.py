"""What Lightning runs: loss, optimiser, validation Dice."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from monai.inferers import SlidingWindowInferer
from monai.losses import DiceCELoss

from LiverSegLib.networks import build_network
from Training.recipe import Recipe


class SegmentationModule(pl.LightningModule):
    """A network of the registry under DiceCE, AdamW and a one-cycle learning rate.

    Logs `train_loss` each step and `val_dice`, by which the best checkpoint is chosen: the Dice of each patient
    over all its slices, averaged over patients and labels.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.network = build_network(recipe.network.name, recipe.network_arguments())
        if recipe.spatial_dims == 2:
            self.network = self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.loss = DiceCELoss(softmax=True, to_onehot_y=True, batch=True, include_background=False)
        self.inferer = SlidingWindowInferer(
            recipe.inference.roi_size, recipe.inference.batch_size, recipe.inference.overlap, mode="gaussian"
        )
        self._overlaps: dict[str, torch.Tensor] = {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [N, labels + 1, ...] of images [N, 1, ...] scaled to [0, 1]."""
        out: torch.Tensor = self.network(x)
        return out

    def training_step(self, batch: dict[str, Any], _: int) -> torch.Tensor:
        image, label = batch["image"], batch["label"]
        if self.recipe.spatial_dims == 2:
            image = image.contiguous(memory_format=torch.channels_last)
        loss: torch.Tensor = self.loss(self(image).float(), label)
        self.log("train_loss", loss, on_step=True, on_epoch=True, prog_bar=True, batch_size=len(image))
        return loss

    def on_validation_epoch_start(self) -> None:
        self._overlaps = {}

    def validation_step(self, batch: dict[str, Any], _: int) -> None:
        logits = self.inferer(batch["image"], self.network)
        assert isinstance(logits, torch.Tensor)
        labels = logits.argmax(1, keepdim=True)
        sums = torch.zeros(len(self.recipe.labels), 2, dtype=torch.float64)
        for row, value in enumerate(self.recipe.labels):
            found, true = labels == value, batch["label"] == value
            sums[row, 0] = 2.0 * (found & true).sum().cpu()
            sums[row, 1] = (found.sum() + true.sum()).cpu()
        (patient,) = batch["patient"]
        self._overlaps[patient] = self._overlaps.get(patient, 0) + sums

    def on_validation_epoch_end(self) -> None:
        per_patient = self._gathered()
        dice = torch.stack([sums[:, 0] / sums[:, 1].clamp(min=1) for sums in per_patient.values()])
        # A patient without the label and without a false positive says nothing.
        known = torch.stack([sums[:, 1] > 0 for sums in per_patient.values()])
        mean = (dice * known).sum(0) / known.sum(0).clamp(min=1)
        for row, name in enumerate(self.recipe.labels.values()):
            self.log(f"val_dice_{name}", mean[row].float())
        self.log("val_dice", mean.mean().float(), prog_bar=True)

    def _gathered(self) -> dict[str, torch.Tensor]:
        """Sums of every patient over all processes."""
        if self.trainer.world_size == 1:
            return self._overlaps
        parts: list[Any] = [None] * self.trainer.world_size
        torch.distributed.all_gather_object(parts, self._overlaps)
        total: dict[str, torch.Tensor] = {}
        for part in parts:
            for patient, sums in part.items():
                total[patient] = total.get(patient, 0) + sums
        return total

    def configure_optimizers(self) -> Any:
        o = self.recipe.optimization
        optimizer = torch.optim.AdamW(self.parameters(), o.learning_rate, weight_decay=o.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            o.learning_rate,
            total_steps=int(self.trainer.estimated_stepping_batches),
            pct_start=0.1,
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
