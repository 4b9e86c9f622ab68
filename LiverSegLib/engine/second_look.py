"""What can be seen of a segmentation's quality: the agreement of two models, and where they differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from LiverSegLib.engine.geometry import GridLabels, ModelGrid
from LiverSegLib.engine.posture import STRAIGHT, Turn
from LiverSegLib.engine.progress import Monitor
from LiverSegLib.engine.slabs import Slab
from LiverSegLib.quality import Doubt

Mask = npt.NDArray[np.bool_]
Number = TypeVar("Number", bound=np.generic)
_SLAB_VALUES = 8_000_000
_SMALLEST_ML = 5.0
_SMALLEST_SHARE = 0.02
"""Of the organ: two good segmentations differ here and there by less."""
_MOST_DOUBTS = 5
_THIN = 2
"""Voxels of the guide's grid from both sides: borders, and what lies between two organs, differ by as much."""


class Certainty:
    """The Dice that the network's own probabilities expect of its foreground: 2 sum(p m) / (sum(p) + sum(m)).

    Args:
        monitor: asked for a stop.
    """

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._both = self._chosen = self._probable = 0.0

    @property
    def value(self) -> float | None:
        """Of all slabs that went by; None where nothing is foreground."""
        return 2 * self._both / (self._chosen + self._probable) if self._chosen else None

    def watch(self, slabs: Iterable[Slab]) -> Iterator[Slab]:
        """The same slabs, looked at as they go by."""
        for slab in slabs:
            self.add(slab.logits if slab.first == 0 else slab.logits[..., 1:])
            yield slab

    def add(self, logits: torch.Tensor) -> None:
        """Take logits [D, X, Y, n] into account, or with D 1 the margin of the only label."""
        depth = max(1, _SLAB_VALUES // max(1, logits[..., 0].numel()))
        for first in range(0, logits.shape[3], depth):
            self._monitor.check()
            part = logits[..., first : first + depth].float()
            margin = part[0] if part.shape[0] == 1 else torch.logsumexp(part[1:], 0) - part[0]
            inside = part[0] > 0 if part.shape[0] == 1 else part[1:].amax(0) > part[0]
            p = torch.sigmoid(margin)
            self._both += float(p[inside].sum())
            self._chosen += float(inside.sum())
            self._probable += float(p.sum())


def on_grid(labels: npt.NDArray[Number], grid: ModelGrid) -> npt.NDArray[Number]:
    """Labels or a mask [i, j, k] of the input at the voxel centers [X, Y, Z] of a model's grid."""
    at = [np.round(grid.positions(axis)).astype(int) for axis in range(3)]
    return np.asarray(grid.axes.apply(labels)[np.ix_(*at)])


def compare(
    organ: Mask, found: GridLabels, affine: npt.NDArray[np.float64], turn: Turn = STRAIGHT
) -> tuple[dict[str, float], tuple[Doubt, ...]]:
    """How well a result and a second model's look at the same scan agree, and where they do not.

    Args:
        organ: the result [X, Y, Z] on the grid of the second look: a mask of the input is as large as the input.
        found: the second look; all of its labels are the organ.
        affine: of the input, 4x4, voxel index -> RAS mm.
        turn: how the patient lies against it; left and right, front and back are the patient's.

    Returns:
        The evidence "agreement", and the places where the two differ by more than a border's thickness.
    """
    ours, theirs = organ, found.labels.cpu().numpy() > 0
    total = int(ours.sum()) + int(theirs.sum())
    if not total:
        return {}, ()
    evidence = {"agreement": 2 * int((ours & theirs).sum()) / total}
    to_ras = affine @ grid_affine(found.grid)
    doubts = [doubt for side in (True, False) for doubt in _doubts(ours, theirs, to_ras, turn, left_out=side)]
    return evidence, tuple(sorted(doubts, key=lambda doubt: -doubt.volume_ml)[:_MOST_DOUBTS])


def grid_affine(grid: ModelGrid) -> npt.NDArray[np.float64]:
    """4x4, index on a model's grid -> index of the input."""
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1
    for axis, (source, flip) in enumerate(zip(grid.axes.order, grid.axes.flip, strict=True)):
        sign = -1 if flip else 1
        matrix[source, axis] = sign * grid.step[axis]
        matrix[source, 3] = grid.input_shape[axis] - 1 - grid.offset[axis] if flip else grid.offset[axis]
    return matrix


def _doubts(ours: Mask, theirs: Mask, to_ras: npt.NDArray[np.float64], turn: Turn, *, left_out: bool) -> list[Doubt]:
    """What only one of the two has, without the thin layers that any two borders leave."""
    only = theirs & ~ours if left_out else ours & ~theirs
    cores = ndimage.binary_erosion(only, iterations=_THIN)
    parts, _ = ndimage.label(ndimage.binary_propagation(cores, mask=only))
    voxel_ml = abs(float(np.linalg.det(to_ras[:3, :3]))) / 1000
    sizes = np.bincount(parts.ravel())[1:] * voxel_ml
    whole = _ras(np.argwhere(ours | theirs), turn.matrix @ to_ras)
    doubts = []
    smallest = max(_SMALLEST_ML, _SMALLEST_SHARE * int(ours.sum()) * voxel_ml)
    for number in np.flatnonzero(sizes >= smallest) + 1:
        center = _ras(np.argwhere(parts == number), to_ras).mean(axis=0)
        x, y, z = (float(at) for at in center)
        doubts.append(
            Doubt(
                place=_place(center @ turn.matrix[:3, :3].T, whole),
                volume_ml=float(sizes[number - 1]),
                center_ras=(x, y, z),
                is_left_out=left_out,
            )
        )
    return doubts


def _ras(index: npt.NDArray[np.int64], to_ras: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(index @ to_ras[:3, :3].T + to_ras[:3, 3])


def _place(center: npt.NDArray[np.float64], whole: npt.NDArray[np.float64]) -> str:
    """Where a point lies in the organ's box, in a person's words; right is the patient's."""
    low, high = whole.min(axis=0), whole.max(axis=0)
    right, front, up = (center - low) / np.maximum(high - low, 1e-6)
    height = "upper " if up > 2 / 3 else "lower " if up < 1 / 3 else ""
    side = "left part" if right < 0.5 else "right part"  # RAS: x grows to the patient's right
    depth = ", in front" if front > 2 / 3 else ", at the back" if front < 1 / 3 else ""
    return f"{height}{side}{depth}"
