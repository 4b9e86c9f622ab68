"""From logits on the model grid to a label map on the input grid, slab by slab inside a box."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from LiverSegLib.boxes import bounding_box
from LiverSegLib.engine.geometry import ModelGrid, resample_axis
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
    box = bounding_box((labels_of(logits) > 0).cpu().numpy(), margin=1)
    target = grid.input_box(box) if box is not None else None
    if box is None or target is None:
        for done in range(2):
            monitor.report("restore", done, 1)
        return labelmap
    inside = view[target]
    positions = [grid.model_positions(axis)[target[axis]] - box[axis].start for axis in range(3)]
    part = logits[(slice(None), *box)]
    if nearest:
        part = labels_of(part)[None].float()
        positions = [np.round(at) for at in positions]
    zyx = part.permute(0, 3, 2, 1)  # slabs along z, x fastest
    count = inside.shape[2]
    depth = max(1, _SLAB_VALUES // (len(positions[0]) * len(positions[1]) * part.shape[0]))
    monitor.report("restore", 0, count)
    for first in range(0, count, depth):
        slab = resample_axis(zyx, 1, positions[2][first : first + depth])
        slab = resample_axis(resample_axis(slab, 2, positions[1]), 3, positions[0])
        labels = slab[0] if nearest else _as_labels(slab)
        done = first + labels.shape[0]
        inside[:, :, first:done] = labels.to(torch.uint8).cpu().numpy().transpose(2, 1, 0)
        monitor.report("restore", done, count)
    return labelmap


def _as_labels(logits: torch.Tensor) -> torch.Tensor:
    """Labels [...] of logits [D, ...]."""
    if logits.shape[0] == 1:
        return logits[0] > 0
    return logits.max(0).indices  # many times faster than argmax on a CPU


def labels_of(logits: torch.Tensor) -> torch.Tensor:
    """Labels uint8 [X, Y, Z] of logits [D, X, Y, Z], some slices at a time: their indices take eight bytes each."""
    found = torch.empty(logits.shape[1:], dtype=torch.uint8, device=logits.device)
    depth = max(1, _SLAB_VALUES // (logits[..., 0].numel() or 1))
    for first in range(0, logits.shape[3], depth):
        found[..., first : first + depth] = _as_labels(logits[..., first : first + depth]).to(torch.uint8)
    return found
