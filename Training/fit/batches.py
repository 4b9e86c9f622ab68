"""Batches: which case comes when, its patch, its augmentation.

A sample is (case, seed), and the seed comes from the recipe's seed, the epoch and the place in the epoch. So it is
the same however many loader processes or training processes there are, and after a resume.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch.loops.progress import _ProcessedTracker
from monai import transforms as mt
from torch.utils.data import DataLoader, Dataset, Sampler

from Training.augment.pipeline import KEYS, augmentation, margin, normalization, typed
from Training.data.folder import PreparedFolder
from Training.data.patches import StoredCases, channels_of, cut, draw_center, read_ahead, read_case
from Training.data.readers import Case, load_index
from Training.errors import DataError
from Training.fit.own_code import OwnCode
from Training.recipe import Recipe

Draw = tuple[int, int]
Sample = dict[str, Any]
Progress = Callable[[], tuple[int, int]]


def epoch_draws(cases: list[Case], recipe: Recipe, epoch: int) -> list[Draw]:
    """(index of the case, seed) of every sample of an epoch, in order.

    With `samples_per_epoch`, cases are drawn by their weight; without, each comes once, in random order.
    """
    rng = np.random.default_rng([recipe.seed, epoch])
    count = recipe.optimization.samples_per_epoch
    if count is None:
        chosen = rng.permutation(len(cases))
    else:
        chosen = rng.choice(len(cases), count, p=sampling_weights(cases, recipe))
    seeds = rng.integers(2**32, size=len(chosen), dtype=np.uint64)
    return [(int(index), int(seed)) for index, seed in zip(chosen, seeds, strict=True)]


class EpochSampler(Sampler[Draw]):
    """Deals the samples of an epoch to `world` processes so that together they see what one process would.

    Batch n of process r holds the samples that follow on batch n of process r - 1. The last batch is filled up
    with the epoch's first samples. `progress` gives the epoch and how many batches of it are done.
    """

    def __init__(self, cases: list[Case], recipe: Recipe, progress: Progress, rank: int = 0, world: int = 1) -> None:
        self.cases, self.recipe, self.progress = cases, recipe, progress
        self.rank, self.world, self.batch = rank, world, recipe.optimization.batch_size
        self.batches = math.ceil((recipe.optimization.samples_per_epoch or len(cases)) / (self.batch * world))

    def __len__(self) -> int:
        return self.batches * self.batch

    def __iter__(self) -> Iterator[Draw]:
        epoch, done = self.progress()
        draws = epoch_draws(self.cases, self.recipe, epoch)
        for batch in range(done % self.batches, self.batches):
            first = (batch * self.world + self.rank) * self.batch
            for place in range(first, first + self.batch):
                index, seed = draws[place % len(draws)]
                # A sample that comes twice shall not look the same twice.
                yield index, (seed + place // len(draws)) % 2**32


class TrainingSamples(Dataset[Sample]):
    """Augmented patches: float32 image [channels, *patch] as the network takes it, uint8 label [1, *patch], patient."""

    def __init__(self, recipe: Recipe, folder: Path, cases: list[Case], code: OwnCode | None = None) -> None:
        self.recipe, self.cases, self.code = recipe, cases, code
        self.stored = StoredCases(PreparedFolder(folder))
        self.augment = augmentation(recipe)
        self.margin, self.air = margin(recipe), recipe.air
        self.undivided = undivided_labels(recipe)

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, draw: Draw) -> Sample:
        index, seed = draw
        self.augment.set_random_state(seed)
        sample = self.augment(self._patch(draw, self.margin))
        if self.code is not None:
            sample = self.code.transformed(sample, seed)
        return {**sample, "patient": self.cases[index].patient, **self.undivided[self.cases[index].source]}

    def as_it_is(self, draw: Draw) -> Sample:
        """The same patch without its augmentation."""
        plain = mt.Compose([*normalization(self.recipe), typed()])
        sample: Sample = plain(self._patch(draw, (0,) * self.recipe.spatial_dims))
        return {**sample, "patient": self.cases[draw[0]].patient}

    def _patch(self, draw: Draw, margin: tuple[int, ...]) -> Sample:
        index, seed = draw
        rng = np.random.default_rng(seed)
        case, patch = self.stored(self.cases[index]), self.recipe.patch_size
        whole = all(n <= p for n, p in zip(case.label.shape, patch, strict=True))
        center = patch if whole else draw_center(case, self.recipe.sampling, rng)
        channels = channels_of(case.image, case.label)
        image = np.stack([cut(one, center, patch, margin, self.air) for one in channels]).astype(np.float32)
        return {"image": image, "label": cut(case.label, center, patch, margin, 0)[None]}


def undivided_labels(recipe: Recipe) -> dict[str, Sample]:
    """Source -> `undivided` of its samples, [C] int as `joined_logits` takes it; nothing in a recipe without any."""
    if not any(source.undivided for source in recipe.sources):
        return {source.name: {} for source in recipe.sources}
    classes = range(len(recipe.labels) + 1)
    return {
        source.name: {"undivided": torch.tensor([source.undivided.get(value, value) for value in classes])}
        for source in recipe.sources
    }


class ValidationImages(Dataset[Sample]):
    """Whole images as the network takes them: float32 image [slices, channels, x, y] or [1, channels, x, y, z], padded
    to what the network can halve, uint8 label of the same shape without padding, patient.

    Args:
        recipe, folder: the model and the prepared folder.
        images: the cases of each image: the chosen slices of a volume, or one case. An empty list is a sample without
            an image, for a process that has none left: all have to take the same number of steps.
    """

    def __init__(self, recipe: Recipe, folder: Path, images: list[list[Case]]) -> None:
        self.folder, self.images, self.undivided = PreparedFolder(folder), images, undivided_labels(recipe)
        pad = mt.DivisiblePadd(["image"], recipe.divisible()[: recipe.spatial_dims])
        self.transform = mt.Compose([*normalization(recipe), pad, typed()])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        cases = self.images[index]
        if not cases:
            return {"patient": ""}
        samples = [self._read(case) for case in cases]
        stacked = {key: torch.stack([sample[key] for sample in samples]) for key in KEYS}
        return {**stacked, "patient": cases[0].patient, **self.undivided[cases[0].source]}

    def _read(self, case: Case) -> Sample:
        image, label = read_case(self.folder, case)
        whole = channels_of(image, label).astype(np.float32)
        sample: Sample = self.transform({"image": whole, "label": np.array(label)[None]})
        return sample


class CaseData(pl.LightningDataModule):
    """Training batches sampled by source weight and evenly over patients; validation one image at a time.

    Raises:
        DataError: the folder was not prepared for this recipe, or has nothing to train or validate on.
    """

    def __init__(self, recipe: Recipe, folder: Path, workers: int = 2, code: OwnCode | None = None) -> None:
        super().__init__()
        self.recipe, self.folder, self.workers, self.code = recipe, folder, workers, code
        cases = load_index(folder, recipe)
        self.train_cases = [case for case in cases if case.split == "train"]
        self.val_cases = [case for case in cases if case.split == "val"]
        for name, found in (("train", self.train_cases), ("validate", self.val_cases)):
            if not found:
                raise DataError(f"{folder} holds no case to {name} on; change split and prepare again.")

    def train_dataloader(self) -> DataLoader[Sample]:
        rank, world = self._rank()
        if not self.trainer or self.trainer.local_rank == 0:  # once on each machine
            read_ahead(PreparedFolder(self.folder), self.train_cases, self.recipe.optimization.cache_mb)
        return DataLoader(
            TrainingSamples(self.recipe, self.folder, self.train_cases, self.code),
            batch_size=self.recipe.optimization.batch_size,
            sampler=EpochSampler(self.train_cases, self.recipe, self._progress, rank, world),
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def val_dataloader(self) -> DataLoader[Sample]:
        rank, world = self._rank()
        images = validation_images(self.val_cases)
        # Every process takes as many steps as the others, or they would wait for it.
        images += [[] for _ in range(-len(images) % world)]
        return DataLoader(ValidationImages(self.recipe, self.folder, images[rank::world]), batch_size=None)

    def _rank(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _progress(self) -> tuple[int, int]:
        if not self.trainer:
            return 0, 0
        return epochs_done(self.trainer), self.trainer.fit_loop.epoch_loop.batch_progress.current.completed


def epochs_done(trainer: pl.Trainer) -> int:
    """The epoch that comes or is under way; `current_epoch` lags while a resumed run sets up its loader."""
    current = trainer.fit_loop.epoch_progress.current
    assert isinstance(current, _ProcessedTracker)
    return current.processed


def validation_cases(cases: list[Case], most: int = 24) -> list[Case]:
    """At most `most` evenly spaced slices of each patient, so that validation stays short."""
    chosen: list[Case] = []
    for patient in dict.fromkeys(case.patient for case in cases):
        mine = [case for case in cases if case.patient == patient]
        at = np.unique(np.linspace(0, len(mine) - 1, min(most, len(mine))).round().astype(int))
        chosen += [mine[n] for n in at]
    return chosen


def validation_images(cases: list[Case]) -> list[list[Case]]:
    """The cases that validate, those of one volume together."""
    images: dict[str, list[Case]] = {}
    for case in validation_cases(cases):
        images.setdefault(case.volume or case.id, []).append(case)
    return list(images.values())


def sampling_weights(cases: list[Case], recipe: Recipe) -> npt.NDArray[np.float64]:
    """Probability of each case: its source's weight, spread by the root of each patient's case count."""
    patients = Counter(case.patient for case in cases)
    raw = np.array([patients[case.patient] ** -0.5 for case in cases])
    for source in recipe.sources:
        mine = np.array([case.source == source.name for case in cases])
        if mine.any():
            raw[mine] *= source.weight / raw[mine].sum()
    return raw / raw.sum()
