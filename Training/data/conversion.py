"""One raw case checked and brought into the prepared folder: work that any process can do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from Training.data.checks import check_image
from Training.data.findings import Facts, Finding, facts_of, finding_of, relative
from Training.data.folder import PreparedFolder
from Training.data.partial import Partial
from Training.data.preprocess import convert, outline
from Training.data.readers import Case, Entry, RawCase
from Training.data.readers.case import counts
from Training.errors import DataError
from Training.recipe import Recipe
from Training.recipe.sources import FilesSource, Source

Taken = tuple[list[Finding], Facts | None, list[Case]]
"""What was found of a case, its facts unless it has an error, and what it becomes."""


@dataclass(frozen=True)
class Conversion:
    """What is done with each case.

    Args:
        recipe, data: as for `prepare`.
        folder: where the cases are converted to; None to look only.
    """

    recipe: Recipe
    data: Path
    folder: Path | None

    def __call__(self, source: Source, entry: Entry) -> Taken:
        """Check one case, and convert it where there is a place for it; no facts where it has an error."""
        with _one_thread():
            return self._take(source, entry)

    def _take(self, source: Source, entry: Entry) -> Taken:
        try:
            raw = entry.load()
        except DataError as error:
            return [finding_of(error, entry.id, self.data)], None, []
        file = relative(entry.image, self.data)
        shown_window = isinstance(source, FilesSource) and source.window is not None
        found = check_image(raw, entry, file, self.recipe, shown_window)
        if any(finding.level == "error" for finding in found):
            return found, None, []
        if self.folder is None:
            grid, voxels = outline(raw, self.recipe)
            cases = self._cases(raw, entry, grid, voxels)
        else:
            cases, grid = self._convert(raw, entry, PreparedFolder(self.folder))
        facts = facts_of(raw, entry, file, len(self.recipe.labels) + 1, grid)
        if self.folder is not None:
            Partial(self.folder, self.recipe).put(entry, (found, facts, cases))
        return found, facts, cases

    def _cases(self, raw: RawCase, entry: Entry, grid: tuple[int, ...], voxels: list[list[int]]) -> list[Case]:
        """The cases that an image becomes: one, or one a slice for 2D recipes.

        Args:
            raw, entry: the image.
            grid: its size on the model's grid.
            voxels: of each case, how many have each label value.
        """
        # The slice of a picture needs no number.
        whole = self.recipe.spatial_dims == 3 or (raw.volume.array.shape[2] == 1 and grid[2] == 1)
        names = [entry.id] if whole else [f"{entry.id}_{k:03d}" for k in range(grid[2])]
        volume = "" if whole else entry.id
        return [
            Case(id=name, patient=entry.patient, source=entry.source, split="train", voxels=found, volume=volume)
            for name, found in zip(names, voxels, strict=True)
        ]

    def _convert(self, raw: RawCase, entry: Entry, out: PreparedFolder) -> tuple[list[Case], tuple[int, ...]]:
        """Write one case, or one a slice for 2D recipes; the size on the model's grid."""
        image, label = convert(raw, self.recipe)
        flat = self.recipe.spatial_dims == 2
        parts: list[tuple[Any, ...]] = [(..., k) for k in range(label.shape[2])] if flat else [(...,)]
        classes = len(self.recipe.labels) + 1
        voxels = [counts(label[part], classes) for part in parts]
        cases = self._cases(raw, entry, label.shape, voxels)
        for case, part in zip(cases, parts, strict=True):
            np.save(out.image(case.id), np.ascontiguousarray(image[part]))
            np.save(out.label(case.id), np.ascontiguousarray(label[part]))
        return cases, label.shape


@contextmanager
def _one_thread() -> Iterator[None]:
    """torch sums in another order with another number of threads, and so to other last digits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
