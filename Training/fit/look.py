"""A look at the samples before any training: batches as the network will get them, and what the augmentation does."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch

from Training.fit.batches import CaseData, TrainingSamples, epoch_draws
from Training.fit.film import save_film
from Training.fit.preview import MAX_SAMPLES, patch_spacing, save_preview
from Training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Look:
    """What was drawn.

    Args:
        batches: the first batches of the first epoch, a picture each.
        compared: the first samples as they are and augmented.
        film: a film through one case with its label, or None.
        why_no_film: the sentence that says why there is none, or "".
    """

    batches: list[Path]
    compared: Path
    film: Path | None = None
    why_no_film: str = ""

    @property
    def files(self) -> list[Path]:
        """All of them."""
        return [*self.batches, self.compared, *([] if self.film is None else [self.film])]


def look(
    recipe: Recipe, data: Path, out: Path, *, batches: int = 2, case: str = "", ending: str = ".gif", workers: int = 2
) -> Look:
    """Draw the samples that `train` would begin with.

    Args:
        recipe: what would be trained.
        data: prepared folder.
        out: folder for the pictures; made where it is not there.
        batches: how many batches, from the first one on.
        case: the case or volume of the film as index.json has it; "" for the first one that can be filmed.
        ending: of the film, .gif or .mp4.
        workers: loader processes.

    Raises:
        DataError: the folder was not prepared for this recipe, or has no such case.
        OutputError: a picture cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    cases = CaseData(recipe, data, workers)
    spacing = patch_spacing(recipe)
    written = []
    for number, batch in enumerate(islice(cases.train_dataloader(), batches), start=1):
        written.append(out / f"batch_{number}.png")
        save_preview(batch, written[-1], recipe.labels, spacing)
    compared = out / "augmentation.png"
    _save_compared(TrainingSamples(recipe, data, cases.train_cases), recipe, compared)
    film, why = save_film(recipe, data, out / f"case{ending}", case)
    return Look(batches=written, compared=compared, film=film, why_no_film=why)


def _save_compared(samples: TrainingSamples, recipe: Recipe, path: Path) -> None:
    """Pairs: a sample as it is, and the same one augmented."""
    pairs, names = [], []
    draws = epoch_draws(samples.cases, recipe, epoch=0)
    for number, draw in enumerate(draws[: MAX_SAMPLES // 2], start=1):
        pairs += [samples.as_it_is(draw), samples[draw]]
        names += [f"sample {number} as it is", f"sample {number} augmented"]
    batch = {key: torch.stack([sample[key] for sample in pairs]) for key in ("image", "label")}
    save_preview(batch, path, recipe.labels, patch_spacing(recipe), names)
