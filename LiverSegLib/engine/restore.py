"""From logits on the model grid to a label map on the input grid, slab by slab inside a box."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from LiverSegLib.engine.geometry import Box, ModelGrid, resample_axis
from LiverSegLib.engine.progress import Monitor

_SLAB_VALUES = 4_000_000


def restore(
    logits: torch.Tensor, grid: ModelGrid, shape: tuple[int, ...], nearest: bool, monitor: Monitor
) -> npt.NDArray[np.uint8]:
    """Label map uint8 [i, j, k] of the input `shape` from logits (or a margin) [D, X, Y, Z] on the model grid.

    Interpolation between background voxels gives background, so only the box around the others (one model
    voxel wider) is interpolated: the result is that of the whole grid. The argmax is taken after interpolating,
    or before with `nearest`.
    """
    # Fortran order: NIfTI, NRRD and Slicer all keep i fastest, and so do the slabs below.
    labelmap = np.zeros(shape, np.uint8, order="F")
    view = grid.axes.apply(labelmap)
    box = foreground_box(logits)
    if box is None:
        return _empty(labelmap, monitor)
    target = grid.input_box(box)
    positions = [grid.model_positions(axis)[slice(*target[axis])] - box[axis][0] for axis in range(3)]
    if any(at.size == 0 for at in positions):
        return _empty(labelmap, monitor)
    part = logits[(slice(None), *(slice(*ends) for ends in box))]
    if nearest:
        part = _labels(part)[None].float()
        positions = [np.round(at) for at in positions]
    zyx = part.permute(0, 3, 2, 1)  # slabs along z, x fastest
    (x0, x1), (y0, y1), (z0, z1) = target
    depth = max(1, _SLAB_VALUES // (len(positions[0]) * len(positions[1]) * part.shape[0]))
    monitor.report("restore", 0, z1 - z0)
    for first in range(0, z1 - z0, depth):
        slab = resample_axis(zyx, 1, positions[2][first : first + depth])
        slab = resample_axis(resample_axis(slab, 2, positions[1]), 3, positions[0])
        labels = slab[0] if nearest else _as_labels(slab)
        done = first + labels.shape[0]
        view[x0:x1, y0:y1, z0 + first : z0 + done] = labels.to(torch.uint8).cpu().numpy().transpose(2, 1, 0)
        monitor.report("restore", done, z1 - z0)
    return labelmap


def _empty(labelmap: npt.NDArray[np.uint8], monitor: Monitor) -> npt.NDArray[np.uint8]:
    """The label map without a label, once the stage is reported: nothing is to be done in it."""
    for done in range(2):
        monitor.report("restore", done, 1)
    return labelmap


def _as_labels(logits: torch.Tensor) -> torch.Tensor:
    """Labels [...] of logits [D, ...]."""
    if logits.shape[0] == 1:
        return logits[0] > 0
    return logits.max(0).indices  # many times faster than argmax on a CPU


def _labels(logits: torch.Tensor) -> torch.Tensor:
    """Labels uint8 [X, Y, Z] of logits [D, X, Y, Z], some slices at a time: their indices take eight bytes each."""
    found = torch.empty(logits.shape[1:], dtype=torch.uint8, device=logits.device)
    depth = max(1, _SLAB_VALUES // (logits[..., 0].numel() or 1))
    for first in range(0, logits.shape[3], depth):
        found[..., first : first + depth] = _as_labels(logits[..., first : first + depth]).to(torch.uint8)
    return found


def foreground_box(logits: torch.Tensor) -> Box | None:
    """Model index box around all foreground, one voxel wider where there is room; None without any."""
    found = _labels(logits) > 0
    if not bool(found.any()):
        return None
    box = []
    for axis in range(3):
        others = [n for n in range(3) if n != axis]
        at = found.any(others[1]).any(others[0]).nonzero().flatten()
        box.append((max(int(at[0]) - 1, 0), min(int(at[-1]) + 2, found.shape[axis])))
    return tuple(box)
