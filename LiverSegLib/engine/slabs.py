"""Logits of many classes a few slices at a time: what no later window reaches is used at once and let go.

A hundred classes on the grid of a whole body would take ten gigabytes. The windows go along the last axis of the grid,
so that the slices behind them are final; only those that are not are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

KEPT_VALUES = 1 << 27
"""Below this many numbers nothing is let go: half a gigabyte, the whole grid of most models with few classes."""


@dataclass(frozen=True)
class Slab:
    """Some slices of what a network gives; each slab begins with the last slice of the one before it.

    Args:
        first: index of its first slice along the last axis of the grid.
        logits: [D, X, Y, n], or a margin where D is 1; good until the next slab is asked for.
    """

    first: int
    logits: torch.Tensor


def kept_slices(shape: Sequence[int], values: int, reach: int, most: int | None = None) -> int:
    """How many slices of a grid [X, Y, Z] are kept at once.

    Args:
        shape: of the grid.
        values: kept of each voxel.
        reach: the slices that are computed at once, fewer than which are of no use.
        most: numbers that are kept, if that is more than the fewest slices; None for `KEPT_VALUES`.
    """
    most = KEPT_VALUES if most is None else most
    return min(shape[2], max(reach + 1, most // max(1, shape[0] * shape[1] * values)))


def whole(slabs: Iterable[Slab]) -> torch.Tensor:
    """All slices as one tensor [D, X, Y, Z]."""
    parts: list[torch.Tensor] = []
    for slab in slabs:
        parts.append(slab.logits.clone() if slab.first == 0 else slab.logits[..., 1:].clone())
    return torch.cat(parts, 3) if len(parts) > 1 else parts[0]


def inside(slabs: Iterable[Slab], box: Sequence[slice]) -> Iterator[Slab]:
    """The part of the slabs in a box [X, Y, Z], counted from its own first slice."""
    low, high = box[2].start, box[2].stop
    least = min(2, high - low)  # one slice alone comes again with the next slab, or was in the last
    for slab in slabs:
        start, stop = max(low - slab.first, 0), min(high - slab.first, slab.logits.shape[3])
        if stop - start >= least:
            yield Slab(slab.first + start - low, slab.logits[(slice(None), *box[:2], slice(start, stop))])
            least = 2


class Blend:
    """The weighted sum of overlapping windows that come by rising start along the last axis.

    Args:
        size: of the grid [X, Y, Z].
        reach: length of a window along the last axis.
        device: where the sum is kept.
        most: see `kept_slices`.
    """

    def __init__(self, size: Sequence[int], reach: int, device: torch.device, most: int | None = None) -> None:
        self._size, self._reach, self._device, self._most = tuple(size), reach, device, most
        self._first = self._finished = 0
        self._total: torch.Tensor | None = None
        self._weights = torch.empty(0)

    def add(self, window: Sequence[slice], values: torch.Tensor, weight: torch.Tensor) -> Iterator[Slab]:
        """Add the values [D, ...] of a window; gives first what must leave to make room for it."""
        if self._total is None:
            depth = kept_slices(self._size, values.shape[0], self._reach, self._most)
            self._total = torch.zeros((values.shape[0], *self._size[:2], depth), device=self._device)
            self._weights = torch.zeros((*self._size[:2], depth), device=self._device)
        if window[2].stop - self._first > self._total.shape[3]:
            yield self._slab(window[2].start)
            self._move_on(window[2].start)
        here = (*window[:2], slice(window[2].start - self._first, window[2].stop - self._first))
        self._total[(slice(None), *here)] += values * weight
        self._weights[here] += weight

    def rest(self) -> Slab:
        """What is left when all windows are there."""
        return self._slab(self._size[2])

    def _slab(self, stop: int) -> Slab:
        assert self._total is not None
        new = slice(self._finished, stop - self._first)
        self._total[..., new] /= self._weights[..., new]
        return Slab(self._first, self._total[..., : new.stop])

    def _move_on(self, stop: int) -> None:
        """Let all slices before `stop` go but the last of them, with which the next slab begins."""
        assert self._total is not None
        gone = stop - 1 - self._first
        left = self._weights.shape[2] - gone
        for values in (*self._total, self._weights):  # one after the other, to need little room
            values[..., :left] = values[..., gone:].clone()
            values[..., left:] = 0
        self._first, self._finished = stop - 1, 1
