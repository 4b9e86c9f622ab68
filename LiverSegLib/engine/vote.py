"""Several models about one organ: what most of them say holds."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from LiverSegLib.boxes import Box, is_one_of
from LiverSegLib.engine.geometry import GridLabels
from LiverSegLib.engine.progress import Monitor
from LiverSegLib.engine.restore import restore_slabs
from LiverSegLib.engine.slabs import Slab
from LiverSegLib.labels import Label, values_of

Mask = npt.NDArray[np.bool_]


def mask_of(found: GridLabels, within: Box, shape: tuple[int, ...], monitor: Monitor) -> Mask:
    """Everything that a model found on its own grid, as a smooth mask of a part of the input.

    Args:
        found: what it found.
        within: the box of the input, in the order of the grid's axes.
        shape: [i, j, k] of the input in this box.
        monitor: asked for a stop.
    """
    margin = (found.labels > 0).float().mul_(2).sub_(1)
    return restore_slabs([Slab(0, margin[None])], found.grid, shape, False, monitor, within=within) > 0


def outvote(
    labelmap: npt.NDArray[np.uint8], organ: str, labels: Sequence[Label], others: Sequence[Mask]
) -> float | None:
    """Make an organ what most models say it is, in place; a tie is decided by the label map.

    Lesions stay lesions where the organ stays; what the others add to the organ is no lesion.

    Args:
        labelmap: labels [i, j, k] of the first model.
        organ: its name among `labels`.
        labels: what the values mean.
        others: the organ, lesions included, as each of the other models sees it [i, j, k].

    Returns:
        How well the models agreed: the mean Dice of all pairs; None where none of them saw anything.
    """
    own, *parts = values_of(organ, labels)
    ours = is_one_of(labelmap, (own, *parts))
    agreement = _pairwise_dice([ours, *others])
    votes = ours.astype(np.int8)
    for other in others:
        votes += other
    count = len(others) + 1
    kept = 2 * votes > count
    kept |= (2 * votes == count) & ours
    labelmap[ours & ~kept] = 0
    labelmap[kept & ~ours] = own
    return agreement


def _pairwise_dice(masks: Sequence[Mask]) -> float | None:
    sizes = [int(np.count_nonzero(mask)) for mask in masks]
    pairs = [
        2 * int(np.count_nonzero(one & other)) / (sizes[a] + sizes[b])
        for (a, one), (b, other) in itertools.combinations(enumerate(masks), 2)
        if sizes[a] + sizes[b]
    ]
    return sum(pairs) / len(pairs) if pairs else None
