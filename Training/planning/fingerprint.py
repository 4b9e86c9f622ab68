"""What a data set looks like in a few numbers: voxel sizes, sizes, intensities of what is segmented."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from LiverSegLib.engine.axes import axis_order
from Training.data.folder import PreparedFolder
from Training.data.preprocess import body_box
from Training.errors import DataError
from Training.recipe import Recipe
from Training.recipe.sources import IGNORE

if TYPE_CHECKING:
    from Training.data.readers import RawCase

Range = tuple[float, float]
Progress = Callable[[int, int], None]
"""Called with cases done and cases in all."""
# Voxels of each case that stand for its foreground; enough for percentiles, few enough for any number of cases.
_VOXELS_A_CASE = 10_000
# An axis is coarse where its voxels are more than three times as long as the others', and it has that much fewer.
_ANISOTROPY = 3.0


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """Numbers of a data set, axes in the recipe's order.

    Args:
        spacings: mm, [case, axis].
        shapes: voxels, [case, axis]; of the body alone where the recipe crops to it.
        low, high: percentiles 0.5 and 99.5 of the intensity inside the labels; of the first channel.
        further: those of the other channels, in the recipe's order.
    """

    spacings: npt.NDArray[np.float64]
    shapes: npt.NDArray[np.int64]
    low: float
    high: float
    further: tuple[Range, ...] = ()

    @property
    def ranges(self) -> tuple[Range, ...]:
        """The percentiles of every channel."""
        return (self.low, self.high), *self.further

    def resampled(self, spacing: list[float]) -> npt.NDArray[np.float64]:
        """Voxels of each case at another voxel size, [case, axis], not rounded."""
        return self.shapes * self.spacings / np.array(spacing)


def raw_cases(recipe: Recipe, data: Path, progress: Progress | None = None) -> Iterator[RawCase]:
    """The training cases of a prepared folder, or else all cases of the recipe's sources under `data`.

    `progress` is called with the cases done and the cases in all, before each one and at the end.
    """
    from Training.data.readers import list_cases, load_index, prepared_cases

    prepared = PreparedFolder(data)
    if prepared.complete:
        cases = load_index(data, prepared.recipe())
        total = len({case.volume or case.id for case in cases if case.split == "train"})
        found = (raw for _, raw in prepared_cases(data, "train"))
    else:
        entries = [entry for source in recipe.sources for entry in list_cases(source, data)]
        total, found = len(entries), (entry.load() for entry in entries)
    report = progress or (lambda _done, _total: None)
    report(0, total)
    for done, case in enumerate(found, start=1):
        yield case
        report(done, total)


def fingerprint(cases: Iterable[RawCase], recipe: Recipe) -> Fingerprint:
    """Look at every case once; memory holds one at a time.

    Raises:
        DataError: there are no cases, none has a label, or one has other channels than the recipe.
    """
    spacings, shapes = [], []
    values: list[list[npt.NDArray[np.float64]]] = [[] for _ in range(recipe.in_channels)]
    rng = np.random.default_rng(recipe.seed)
    for case in cases:
        _check_channels(case, recipe)
        axes = axis_order(case.volume.affine, recipe.preprocess.axcodes)
        array = axes.apply(np.asarray(case.volume.array))
        spacings.append([case.volume.spacing[axis] for axis in axes.order])
        box = body_box(array, recipe, margin=0) if recipe.preprocess.crop_foreground else None
        shapes.append(array.shape if box is None else tuple(part.stop - part.start for part in box))
        labeled = (case.label > 0) & (case.label != IGNORE)
        for channel, known in zip(case.volume.channels, values, strict=True):
            inside = channel[labeled]
            if inside.size:
                known.append(rng.choice(inside, min(inside.size, _VOXELS_A_CASE), replace=False).astype(np.float64))
    if not spacings:
        raise DataError("There are no cases to plan from; point --data at the data of the recipe's sources.")
    if not values[0]:
        raise DataError("No case has a label; a plan needs the intensities inside the labels.")
    (low, high), *further = (_middle(np.concatenate(known)) for known in values)
    return Fingerprint(
        spacings=np.array(spacings, np.float64),
        shapes=np.array(shapes, np.int64),
        low=low,
        high=high,
        further=tuple(further),
    )


def _check_channels(case: RawCase, recipe: Recipe) -> None:
    have, want = len(case.volume.channels), recipe.in_channels
    if have != want:
        raise DataError(
            f"{case.volume.name} has {have} channel{'s' if have > 1 else ''}, but the recipe {want}; name in its "
            "channels what its sources give."
        )


def _middle(values: npt.NDArray[np.float64]) -> Range:
    """The percentiles 0.5 and 99.5."""
    low, high = np.percentile(values, [0.5, 99.5])
    return float(low), float(high)


def target_spacing(found: Fingerprint) -> list[float]:
    """mm: the median of each axis; on a coarse axis the 10th percentile, so that its finer scans lose less."""
    spacing = np.median(found.spacings, axis=0)
    shape = np.median(found.shapes, axis=0)
    worst = int(np.argmax(spacing))
    others = [axis for axis in range(3) if axis != worst]
    if spacing[worst] > _ANISOTROPY * spacing[others].max() and shape[worst] * _ANISOTROPY < shape[others].min():
        spacing[worst] = max(np.percentile(found.spacings[:, worst], 10), spacing[others].max())
    return [round(float(mm), 3) for mm in spacing]


def median_shape(found: Fingerprint, spacing: list[float]) -> list[int]:
    """Voxels of the median case after resampling to `spacing`."""
    return [max(1, round(float(n))) for n in np.median(found.resampled(spacing), axis=0)]
