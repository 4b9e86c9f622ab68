"""Batches: prepared cases, MONAI transforms, weighted sampling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from monai import transforms as mt
from monai.data import DataLoader, Dataset
from torch.utils.data import WeightedRandomSampler

from Training import augment as our
from Training.prepare import Case, load_index
from Training.recipe import Augment, Recipe

KEYS = ("image", "label")
AIR_SHIFT = 1000.0


class LoadCase(mt.Transform):
    """Case id -> float32 HU image [1, ...] and uint8 label [1, ...] from the prepared folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, case: dict[str, Any]) -> dict[str, Any]:
        base = self.folder / "cases" / case["id"]
        image = np.load(f"{base}_image.npy").astype(np.float32)
        return {"image": image[None], "label": np.load(f"{base}_label.npy")[None], "patient": case["patient"]}


class RandPatchd(mt.RandCropByPosNegLabeld):
    """One patch of a case, two thirds of them around a voxel of a label."""

    def __init__(self, patch: tuple[int, ...]) -> None:
        super().__init__(KEYS, "label", patch, pos=2, neg=1, num_samples=1)

    def __call__(self, data: Any, lazy: bool | None = None) -> Any:
        return super().__call__(data, lazy)[0]


def window(recipe: Recipe) -> list[mt.Transform]:
    """HU window to [0, 1], the last step of every pipeline."""
    low, high = recipe.preprocess.window
    return [
        mt.ScaleIntensityRanged(["image"], low, high, 0.0, 1.0, clip=True),
        mt.EnsureTyped(KEYS, track_meta=False),
    ]


def training_transforms(recipe: Recipe, folder: Path) -> mt.Compose:
    """Load, cut a patch, augment in HU, window."""
    patch = recipe.patch_size
    steps: list[Any] = [LoadCase(folder)]
    if recipe.spatial_dims == 3:
        steps += [
            mt.SpatialPadd(["image"], patch, value=-AIR_SHIFT),
            mt.SpatialPadd(["label"], patch),
            RandPatchd(patch),
        ]
    steps += _organ_transforms(recipe.augment, recipe)
    steps += _spatial_transforms(recipe.augment, recipe)
    a = recipe.augment
    steps += [our.RandBlurd(a.blur), our.RandLowResolutiond(a.low_resolution), our.RandNoised(a.noise)]
    return mt.Compose(steps + window(recipe))


def _organ_transforms(a: Augment, recipe: Recipe) -> list[Any]:
    tumor = next((value for value, name in recipe.labels.items() if name == "tumor"), None)
    return [
        our.RandOrganContrastd(a.organ_contrast),
        our.RandContrastd(a.contrast),
        our.RandLesiond(a.lesion, tumor),
        our.RandMassd(a.mass),
        our.RandFluidd(a.fluid),
        our.RandArmsd(a.arms),
        our.RandCropFieldd(a.crop_field),
    ]


def _spatial_transforms(a: Augment, recipe: Recipe) -> list[Any]:
    """Rotation, scale, shear, shift, elastic; what comes in from outside is air."""
    dims = recipe.spatial_dims
    turn = np.deg2rad(a.rotate_degrees)
    # MONAI scales the sampling grid, so that 1 / scale is the size of the anatomy.
    common: dict[str, Any] = {
        "scale_range": [(1 / a.scale[1] - 1, 1 / a.scale[0] - 1)] * dims,
        "translate_range": [a.shift] * dims,
        "shear_range": [a.shear] * (2 if dims == 2 else 6),
        "mode": ("bilinear", "nearest"),
        "padding_mode": "zeros",
    }
    in_plane = [turn] if dims == 2 else [turn / 2, turn / 2, turn]
    full = [np.pi] if dims == 2 else [turn / 2, turn / 2, np.pi]
    steps: list[Any] = [mt.ShiftIntensityd(["image"], AIR_SHIFT)]
    if dims == 2:
        steps.append(
            mt.Rand2DElasticd(
                KEYS, spacing=(32, 32), magnitude_range=(1, 4), prob=a.elastic,
                mode=("bilinear", "nearest"), padding_mode="zeros",
            )
        )  # fmt: skip
    steps += [
        mt.RandAffined(KEYS, prob=a.affine, rotate_range=in_plane, spatial_size=recipe.patch_size, **common),
        mt.RandAffined(
            KEYS, prob=a.any_rotation, rotate_range=full, mode=("bilinear", "nearest"), padding_mode="zeros"
        ),
        mt.ShiftIntensityd(["image"], -AIR_SHIFT),
        mt.ResizeWithPadOrCropd(KEYS, recipe.patch_size),
    ]  # fmt: skip
    return steps


def validation_transforms(recipe: Recipe, folder: Path) -> mt.Compose:
    """Load whole, pad to what the network can halve, window."""
    return mt.Compose([LoadCase(folder), mt.DivisiblePadd(KEYS, max(recipe.divisible())), *window(recipe)])


class CaseData(pl.LightningDataModule):
    """Training batches sampled by source weight and evenly over patients; validation one case at a time."""

    def __init__(self, recipe: Recipe, folder: Path, workers: int = 2) -> None:
        super().__init__()
        self.recipe, self.folder, self.workers = recipe, folder, workers
        cases = load_index(folder, recipe)
        self.train_cases = [case for case in cases if case.split == "train"]
        self.val_cases = [case for case in cases if case.split == "val"]

    def train_dataloader(self) -> DataLoader:
        items = [{"id": case.id, "patient": case.patient} for case in self.train_cases]
        sampler = WeightedRandomSampler(
            sampling_weights(self.train_cases, self.recipe).tolist(),
            self.recipe.optimization.samples_per_epoch,
        )
        dataset = Dataset(items, training_transforms(self.recipe, self.folder))
        return DataLoader(
            dataset, batch_size=self.recipe.optimization.batch_size, sampler=sampler,
            num_workers=self.workers, drop_last=True, persistent_workers=self.workers > 0,
        )  # fmt: skip

    def val_dataloader(self) -> DataLoader:
        items = [{"id": case.id, "patient": case.patient} for case in validation_cases(self.val_cases)]
        return DataLoader(Dataset(items, validation_transforms(self.recipe, self.folder)), batch_size=1)


def validation_cases(cases: list[Case], most: int = 24) -> list[Case]:
    """At most `most` evenly spaced slices of each patient, so that validation stays short."""
    chosen: list[Case] = []
    for patient in dict.fromkeys(case.patient for case in cases):
        mine = [case for case in cases if case.patient == patient]
        at = np.unique(np.linspace(0, len(mine) - 1, min(most, len(mine))).round().astype(int))
        chosen += [mine[n] for n in at]
    return chosen


def sampling_weights(cases: list[Case], recipe: Recipe) -> torch.Tensor:
    """Probability of each case: its source's weight, spread by the root of each patient's case count."""
    patients: dict[str, int] = {}
    for case in cases:
        patients[case.patient] = patients.get(case.patient, 0) + 1
    raw = torch.tensor([patients[case.patient] ** -0.5 for case in cases], dtype=torch.float64)
    for source in recipe.sources:
        mine = torch.tensor([case.source == source.name for case in cases])
        if mine.any():
            raw[mine] *= source.weight / raw[mine].sum()
    return raw / raw.sum()
