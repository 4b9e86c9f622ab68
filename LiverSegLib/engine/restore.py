"""From logits on the model grid to a label map on the input grid, slab by slab inside a box."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from LiverSegLib.boxes import Box, bounding_box, whole_of
from LiverSegLib.engine.geometry import ModelGrid, Taps, resample_axis
from LiverSegLib.engine.progress import Monitor
from LiverSegLib.engine.slabs import Slab

Labels = npt.NDArray[np.uint8]
Report = Callable[[str, int, int], None]
_SLAB_VALUES = 1 << 20


def restore(
    logits: torch.Tensor,
    grid: ModelGrid,
    shape: tuple[int, ...],
    nearest: bool,
    monitor: Monitor,
    regions: tuple[int, ...] = (),
) -> Labels:
    """As `restore_slabs`, of all logits (or a margin) [D, X, Y, Z] at once."""
    return restore_slabs([Slab(0, logits)], grid, shape, nearest, monitor, regions)


def restore_slabs(
    slabs: Iterable[Slab],
    grid: ModelGrid,
    shape: tuple[int, ...],
    nearest: bool,
    monitor: Monitor,
    regions: tuple[int, ...] = (),
    wanted: Collection[int] = (),
    within: Box | None = None,
) -> Labels:
    """Label map uint8 [i, j, k] of the input `shape` from logits (or a margin) on the model grid.

    Interpolation between background voxels gives background, so only the box around the others (one model
    voxel wider) is interpolated: the result is that of the whole grid. The argmax is taken after interpolating,
    or before with `nearest`; with `regions` each channel above 0 paints its value instead.

    Args:
        slabs: the logits; each slab is used up before the next is asked for.
        grid: the model's grid.
        shape: of the input.
        nearest: labels are brought back instead of logits.
        monitor: asked for a stop, and told of the last slab.
        regions: see `ModelSpec.regions`.
        wanted: labels of which the surroundings are enough; () for all. Outside the box of theirs in a slab there is
            background, and inside it all labels are drawn: what is wanted is that of the whole grid, but for specks
            thinner than a model voxel between two other labels far from it.
        within: the box of the input, in the order of the grid's axes, of which labels are wanted, where `shape` is that
            of this box; None for the whole input.
    """
    # Fortran order: NIfTI, NRRD and Slicer all keep i fastest, and so do the slabs below.
    labelmap = np.zeros(shape, np.uint8, order="F")
    view = grid.axes.apply(labelmap)
    at = grid.model_positions(2)
    done = 0
    for slab in slabs:
        end = slab.first + slab.logits.shape[3]
        is_last = end == grid.shape[2]
        rows = slice(done, len(at) if is_last else int(np.searchsorted(at, end - 1, side="right")))
        report = monitor.report if is_last else _only_checks(monitor)
        _restore_slab(slab, view, within or whole_of(view), rows, grid, nearest, regions, wanted, report)
        done = rows.stop
    return labelmap


def _only_checks(monitor: Monitor) -> Report:
    return lambda *_: monitor.check()


def _restore_slab(
    slab: Slab,
    view: npt.NDArray[Any],
    place: Box,
    rows: slice,
    grid: ModelGrid,
    nearest: bool,
    regions: tuple[int, ...],
    wanted: Collection[int],
    report: Report,
) -> None:
    """Fill `rows` of the input along the last model axis in the view [X, Y, Z] of its box `place`."""
    labels = labels_of(slab.logits, regions).cpu().numpy()
    box = bounding_box(np.isin(labels, list(wanted)) if wanted else labels > 0, margin=1)
    target = None if box is None else grid.input_box(_moved(box, slab.first))
    if target is not None:
        target = _common(target, (*place[:2], _both(place[2], rows)))
    if box is None or target is None:
        for done in range(2):
            report("restore", done, 1)
        return
    inside = view[tuple(slice(t.start - p.start, t.stop - p.start) for t, p in zip(target, place, strict=True))]
    starts = [side.start for side in _moved(box, slab.first)]
    positions = [grid.model_positions(axis)[target[axis]] for axis in range(3)]
    part = slab.logits[(slice(None), *box)]
    if nearest:
        part = labels_of(part, regions)[None].float()
        positions = [np.round(at) for at in positions]  # before the box: halves go to even places of the whole grid
    positions = [at - start for at, start in zip(positions, starts, strict=True)]
    zyx = part.permute(0, 3, 2, 1)  # slabs along z, x fastest
    count = inside.shape[2]
    depth = max(1, _SLAB_VALUES // (len(positions[0]) * len(positions[1]) * part.shape[0]))
    layers = Taps.at(positions[2], zyx.shape[1])
    report("restore", 0, count)
    for first in range(0, count, depth):
        needed, along = layers.part(slice(first, first + depth))
        piece = along.take(zyx[:, needed].contiguous(), 1)
        # Voxels side by side are gathered one by one, rows as a whole: so along x first, where there are fewest rows.
        piece = resample_axis(resample_axis(piece, 3, positions[0]), 2, positions[1])
        found = piece[0] if nearest else _as_labels(piece, regions)
        done = first + found.shape[0]
        inside[:, :, first:done] = found.to(torch.uint8).cpu().numpy().transpose(2, 1, 0)
        report("restore", done, count)


def _common(one: Box, other: Box) -> Box | None:
    """What two boxes have in common."""
    i, j, k = (_both(a, b) for a, b in zip(one, other, strict=True))
    return None if any(side.stop <= side.start for side in (i, j, k)) else (i, j, k)


def _both(one: slice, other: slice) -> slice:
    return slice(max(one.start, other.start), min(one.stop, other.stop))


def _moved(box: Box, first: int) -> Box:
    return box[0], box[1], slice(box[2].start + first, box[2].stop + first)


def _as_labels(logits: torch.Tensor, regions: tuple[int, ...]) -> torch.Tensor:
    """Labels [...] of logits [D, ...]."""
    if regions:
        found = torch.zeros(logits.shape[1:], dtype=torch.uint8, device=logits.device)
        for value, channel in zip(regions, logits, strict=True):
            found[channel > 0] = value
        return found
    if logits.shape[0] == 1:
        return logits[0] > 0
    return logits.max(0).indices  # many times faster than argmax on a CPU


def labels_of(logits: torch.Tensor, regions: tuple[int, ...] = ()) -> torch.Tensor:
    """Labels uint8 [X, Y, Z] of logits [D, X, Y, Z] (for `regions` see `ModelSpec`).

    Some slices at a time: their indices take eight bytes each.
    """
    found = torch.empty(logits.shape[1:], dtype=torch.uint8, device=logits.device)
    depth = max(1, _SLAB_VALUES // (logits[..., 0].numel() or 1))
    for first in range(0, logits.shape[3], depth):
        found[..., first : first + depth] = _as_labels(logits[..., first : first + depth], regions).to(torch.uint8)
    return found


def labels_on_grid(slabs: Iterable[Slab], shape: Sequence[int], regions: tuple[int, ...] = ()) -> torch.Tensor:
    """Labels uint8 [X, Y, Z] of the model grid of this `shape`."""
    found = torch.empty(0, dtype=torch.uint8)
    for slab in slabs:
        if slab.first == 0:
            found = torch.empty(tuple(shape), dtype=torch.uint8, device=slab.logits.device)
        found[..., slab.first : slab.first + slab.logits.shape[3]] = labels_of(slab.logits, regions)
    return found
