"""Prepared cases, mapped from the disk, and patches cut from them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from Training.data.folder import PreparedFolder
from Training.data.readers.prepared import Case
from Training.errors import DataError
from Training.recipe.options import Sampling

POSITIONS = 10_000
BLOCK = 2**18
"""Voxels of a label that are searched at a time."""
# Enough for the labels of some hundred volumes; thousands of slices would take more than they are worth.
POSITIONS_MB = 64
Center = tuple[int, ...]
Positions = npt.NDArray[np.signedinteger[Any]]
T = TypeVar("T", bound=np.generic)


@dataclass(kw_only=True)
class StoredCase:
    """Image and uint8 label [x, y] or [x, y, z] of a case, as a rule mapped from the disk; several channels come first.

    `voxels`: how many voxels each label value has, background first.
    """

    image: npt.NDArray[Any]
    label: npt.NDArray[np.uint8]
    voxels: list[int]
    _positions: dict[int, Positions] = field(default_factory=dict)

    def positions(self, value: int) -> Positions:
        """Flat indices of at most 10,000 voxels of a label value, found once and always the same."""
        if value not in self._positions:
            # Half the memory where it is enough: up to 1290 voxels along each of three axes.
            self._positions[value] = self._find(value).astype(np.int32 if self.label.size < 2**31 else np.int64)
        return self._positions[value]

    def _find(self, value: int) -> npt.NDArray[np.int64]:
        rng = np.random.default_rng([value, self.label.size])
        if value == 0:  # most of the image: a few random voxels are found sooner than all
            tried = rng.integers(self.label.size, size=4 * POSITIONS)
            found = tried[self.label[np.unravel_index(tried, self.label.shape)] == 0]
            if len(found) >= POSITIONS:
                return found[:POSITIONS]
        # Block by block: memory for all voxels at once is what a loader process would never give back to the system.
        step = max(1, BLOCK * len(self.label) // self.label.size)
        blocks = [self.label[first : first + step] for first in range(0, len(self.label), step)]
        counts = [int(np.count_nonzero(block == value)) for block in blocks]
        number = sum(counts)
        taken = np.arange(number) if number <= POSITIONS else np.sort(rng.choice(number, POSITIONS, replace=False))
        found, passed = [], 0
        for block, n, offset in zip(blocks, counts, count(0, step * self.label[0].size)):
            here = taken[(taken >= passed) & (taken < passed + n)] - passed
            found.append(offset + np.flatnonzero(block == value)[here])
            passed += n
        return np.concatenate(found)


def read_case(folder: PreparedFolder, case: Case) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint8]]:
    """Image and label of a prepared case, mapped from the disk.

    Raises:
        DataError: a file is missing or damaged.
    """
    try:
        image, label = (np.load(file, mmap_mode="r") for file in (folder.image(case.id), folder.label(case.id)))
    except (OSError, ValueError, EOFError) as error:
        where = folder.cases / case.id
        raise DataError(f"The prepared case {where} is missing or damaged; run prepare again.") from error
    return image, label


class StoredCases:
    """Cases of a prepared folder, mapped: only the part under a patch is read.

    What was read stays in the system's file cache, which all processes of a machine share and which gives way where
    memory runs short; a copy in each loader process would multiply. A process of its own keeps nothing but where the
    labels of the cases it met lie, the latest ones.
    """

    def __init__(self, folder: PreparedFolder, positions_mb: float = POSITIONS_MB) -> None:
        self.folder = folder
        self.left = positions_mb * 2**20
        self._kept: dict[str, tuple[int, dict[int, Positions]]] = {}

    def __call__(self, case: Case) -> StoredCase:
        """The arrays of a case; mapped anew each time, as they hold a file open."""
        image, label = read_case(self.folder, case)
        return StoredCase(image=image, label=label, voxels=case.voxels, _positions=self._remembered(case))

    def _remembered(self, case: Case) -> dict[int, Positions]:
        if case.id not in self._kept:
            most = sum(min(n, POSITIONS) for n in case.voxels) * np.dtype(np.int32).itemsize
            self.left -= most
            while self.left < 0 and self._kept:
                oldest = next(iter(self._kept))
                self.left += self._kept.pop(oldest)[0]
            self._kept[case.id] = most, {}
        return self._kept[case.id][1]


def channels_of(image: npt.NDArray[Any], label: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
    """The image [channel, ...] that belongs to a label [...]."""
    return image if image.ndim > label.ndim else image[None]


def read_ahead(folder: PreparedFolder, cases: Iterable[Case], budget_mb: float) -> None:
    """Ask the system to bring prepared cases into its file cache, as many as `budget_mb` holds; does not wait."""
    if not hasattr(os, "posix_fadvise"):  # not on Windows and macOS: there the first epoch reads them
        return
    left = budget_mb * 2**20
    for case in cases:
        for path in (folder.image(case.id), folder.label(case.id)):
            try:
                with path.open("rb") as file:
                    size = os.fstat(file.fileno()).st_size
                    left -= size
                    if left < 0:
                        return
                    os.posix_fadvise(file.fileno(), 0, size, os.POSIX_FADV_WILLNEED)
            except OSError:
                return  # whoever needs the case will say so


def draw_center(case: StoredCase, sampling: Sampling, rng: np.random.Generator) -> Center:
    """The voxel around which a patch is cut, by the probabilities of `sampling`."""
    shape = case.label.shape
    if sampling.labels:
        shares = {value: p for value, p in sampling.labels.items() if p > 0 and case.voxels[value] > 0}
    elif rng.random() < sampling.foreground:
        shares = {value: float(n) for value, n in enumerate(case.voxels) if value > 0 and n > 0}
    else:
        shares = {}
    if not shares:
        return tuple(int(rng.integers(n)) for n in shape)
    weights = np.array(list(shares.values()))
    value = int(rng.choice(list(shares), p=weights / weights.sum()))
    return tuple(int(n) for n in np.unravel_index(rng.choice(case.positions(value)), shape))


def cut(array: npt.NDArray[T], center: Center, patch: tuple[int, ...], margin: Center, air: float) -> npt.NDArray[T]:
    """A patch and `margin` voxels on each side of it.

    The patch itself lies within the array as far as it fits, and in its middle where it is larger; what lies
    outside the array is `air`.
    """
    result = np.full([p + 2 * m for p, m in zip(patch, margin, strict=True)], air, array.dtype)
    source, target = [], []
    for n, c, p, m in zip(array.shape, center, patch, margin, strict=True):
        start = (n - p) // 2 if p >= n else min(max(c - p // 2, 0), n - p)
        low, high = max(start - m, 0), min(start + p + m, n)
        source.append(slice(low, high))
        target.append(slice(low - (start - m), high - (start - m)))
    result[tuple(target)] = array[tuple(source)]
    return result
