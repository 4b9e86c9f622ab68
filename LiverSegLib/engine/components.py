"""Connected parts of masks of any size, found slab by slab.

Numbering the parts of a whole volume takes four to eight bytes a voxel, which a large one does not leave.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Mask = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64]
SLAB_VOXELS = 1 << 22


def nothing() -> None:
    """Does nothing; stands for a check that nobody wants."""


def slabs(shape: tuple[int, ...], check: Callable[[], None] = nothing) -> Iterator[slice]:
    """Ranges of the first axis that hold at most `SLAB_VOXELS` voxels (or one layer); `check` runs before each."""
    layer = max(1, int(np.prod(shape[1:], dtype=np.int64)))
    depth = max(1, SLAB_VOXELS // layer)
    for start in range(0, shape[0], depth):
        check()
        yield slice(start, min(start + depth, shape[0]))


class Parts:
    """The face-connected parts of a mask [k, j, i], numbered from 1 in the order of their first voxels.

    Args:
        mask: not copied; it may be changed in a slab once that slab was given out.
        check: called several times a second; may raise.

    Attributes:
        sizes: voxels of each part, int64 [count + 1]; that of 0, the background, is 0.
    """

    def __init__(self, mask: Mask, check: Callable[[], None] = nothing) -> None:
        self._mask, self._check = mask, check
        self._places = list(slabs(mask.shape))
        self._kept: npt.NDArray[np.int32] | None = None
        counts, sizes, links = [0], [np.zeros(1, np.int64)], []
        last = None
        for place in self._places:
            check()
            labels, count = ndimage.label(mask[place])
            sizes.append(np.bincount(labels.ravel(), minlength=count + 1)[1:])
            if last is not None:
                links.append(_links(last, labels[0], counts[-2], counts[-1]))
            last = labels[-1].copy()
            counts.append(counts[-1] + count)
            if len(self._places) == 1:
                self._kept = labels
        self._starts = counts
        self._numbers = _joined(links, counts[-1])
        self.sizes = np.bincount(self._numbers, np.concatenate(sizes)).astype(np.int64)

    @property
    def count(self) -> int:
        """How many parts there are."""
        return len(self.sizes) - 1

    def labeled(self) -> Iterator[tuple[slice, Numbers]]:
        """Slab by slab, its range along the first axis and the part number of each voxel."""
        yield from self._looked_up(np.arange(len(self.sizes)))

    def chosen(self, wanted: Mask) -> Iterator[tuple[slice, Mask]]:
        """Slab by slab, its range and which voxels belong to a part n with `wanted[n]`; the background never does."""
        yield from self._looked_up(wanted & (np.arange(len(self.sizes)) > 0))

    def _looked_up(self, values: npt.NDArray[Any]) -> Iterator[tuple[slice, npt.NDArray[Any]]]:
        for place, start, stop in zip(self._places, self._starts[:-1], self._starts[1:], strict=True):
            self._check()
            labels = self._kept if self._kept is not None else ndimage.label(self._mask[place])[0]
            numbers = np.concatenate([[0], self._numbers[start + 1 : stop + 1]])
            yield place, values[numbers][labels]


def _links(above: npt.NDArray[np.int32], below: npt.NDArray[np.int32], first: int, second: int) -> Numbers:
    """Which parts of two neighboring slabs touch, as pairs [n, 2]; the slabs' numbers begin after these."""
    both = (above > 0) & (below > 0)
    pairs = np.stack([above[both].astype(np.int64) + first, below[both].astype(np.int64) + second], axis=1)
    return np.unique(pairs, axis=0) if len(pairs) else pairs


def _joined(links: list[Numbers], count: int) -> Numbers:
    """The final number of each of the `count` parts of all slabs, and 0 for 0."""
    pairs = np.concatenate(links) if links else np.zeros((0, 2), np.int64)
    if not len(pairs):
        return np.arange(count + 1, dtype=np.int64)
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    graph = coo_matrix((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(count + 1, count + 1))
    found = connected_components(graph, directed=False)[1]
    _, first, back = np.unique(found, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[back]
