"""Which lesion of one scan is which of the other, once the livers lie on each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from LiverSegLib.followup.parts import LesionPart, Points
from LiverSegLib.followup.register import Registration

OVERLAP = 0.3
"""Two lesions are the same where so much of the smaller one lies in the other."""
GAP_MM = 8.0
"""Lesions that overlap with none are the same as the nearest whose surface is no farther: small ones may just miss."""


@dataclass(frozen=True)
class Group:
    """Lesions that are one: their places among those of the baseline and of the follow-up. Either may be empty."""

    baseline: tuple[int, ...]
    followup: tuple[int, ...]


def match(baseline: Sequence[LesionPart], followup: Sequence[LesionPart], registration: Registration) -> list[Group]:
    """Match lesions: those that overlap first; then, one to one, those that lie next to each other.

    Returns:
        Groups, each lesion in exactly one: pairs, a split lesion (one and several), merged ones (several and one), gone
        (none later) and new (none earlier); those with a baseline first, the largest lesions first.
    """
    moved = [registration.to_baseline(part.points) for part in followup]
    linked = np.zeros((len(baseline), len(followup)), bool)
    apart = np.full(linked.shape, np.inf)
    for row, one in enumerate(baseline):
        for column, other in enumerate(moved):
            share, gap = _nearness(one.points, other, _step(one), _step(followup[column]))
            linked[row, column] = share >= OVERLAP
            apart[row, column] = gap
    _link_near(linked, apart)
    return _groups(linked)


def _step(part: LesionPart) -> float:
    """The side of a cube of a voxel's volume, in mm."""
    return float((part.lesion.volume_ml * 1000 / len(part.points)) ** (1 / 3))


def _nearness(one: Points, other: Points, one_step: float, other_step: float) -> tuple[float, float]:
    """Share of the smaller lesion's voxels that lie in the other, and the gap between both in mm, 0 where they touch.

    A voxel lies in the other lesion where one of that lesion's is less than a voxel away.
    """
    from scipy.spatial import cKDTree

    reach = max(one_step, other_step)
    gap = np.linalg.norm(np.maximum(0, np.maximum(one.min(0) - other.max(0), other.min(0) - one.max(0))))
    if gap > GAP_MM + reach:
        return 0.0, float(gap)
    smaller, larger = (one, other) if len(one) * one_step**3 <= len(other) * other_step**3 else (other, one)
    distances, _ = cKDTree(larger).query(smaller)
    return float((distances < 0.75 * reach).mean()), max(0.0, float(distances.min()) - reach)


def _link_near(linked: npt.NDArray[np.bool_], apart: npt.NDArray[np.float64]) -> None:
    """Link, one to one and with the smallest gaps in all, lesions that overlap with none."""
    from scipy.optimize import linear_sum_assignment

    rows = np.flatnonzero(~linked.any(axis=1))
    columns = np.flatnonzero(~linked.any(axis=0))
    if not rows.size or not columns.size:
        return
    cost = np.minimum(apart[np.ix_(rows, columns)], 1e3)
    for row, column in zip(*linear_sum_assignment(cost), strict=True):
        if cost[row, column] <= GAP_MM:
            linked[rows[row], columns[column]] = True


def _groups(linked: npt.NDArray[np.bool_]) -> list[Group]:
    """The connected parts of the graph of links."""
    from scipy.sparse.csgraph import connected_components

    rows, columns = linked.shape
    graph = np.zeros((rows + columns,) * 2, bool)
    graph[:rows, rows:] = linked
    _, component = connected_components(graph, directed=False) if rows + columns else (0, np.zeros(0, int))
    groups: dict[int, Group] = {}
    for place, number in enumerate(component):
        group = groups.get(int(number), Group((), ()))
        is_first = place < rows
        groups[int(number)] = Group(
            (*group.baseline, place) if is_first else group.baseline,
            group.followup if is_first else (*group.followup, place - rows),
        )
    return sorted(groups.values(), key=lambda group: (not group.baseline, group.baseline, group.followup))
