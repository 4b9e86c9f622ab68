"""Sliding-window inference over a model grid, 3D by windows and 2D slice by slice.

Window places and weights are MONAI's (`sliding_window_inference`: `dense_patch_slices`, Gaussian with
sigma = size / 8), so that both give the same logits; its full-size output of all channels is what we avoid:
for two classes only the difference of the logits is kept, which decides the label.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

from LiverSegLib.engine.progress import Monitor
from LiverSegLib.models.inferer import Inferer

Network = Callable[[torch.Tensor], torch.Tensor]


def window_starts(size: int, window: int, overlap: float) -> list[int]:
    """First index of each window along one axis of `size` >= `window`."""
    if size <= window:
        return [0]
    step = max(1, int(window * (1 - overlap)))
    count = math.ceil((size - window) / step) + 1
    return [min(n * step, size - window) for n in range(count)]


def importance(shape: tuple[int, ...], gaussian: bool, device: torch.device) -> torch.Tensor:
    """Weight of each voxel of a window, float32 of `shape`."""
    if not gaussian:
        return torch.ones(shape, device=device)
    from monai.data.utils import compute_importance_map

    weight: torch.Tensor = compute_importance_map(shape, mode="gaussian", sigma_scale=0.125, device=device)
    return weight


def pad_to(x: torch.Tensor, window: Sequence[int], mode: str) -> tuple[torch.Tensor, tuple[slice, ...]]:
    """Pad the last axes of `x` [N, C, ...] to at least `window`, half on each side; give where `x` lies in that.

    An image that is too small to be mirrored or wound so far has its border voxels repeated instead.
    """
    size = x.shape[2:]
    missing = [max(want - have, 0) for want, have in zip(window, size, strict=True)]
    if any(missing):
        widths = [w for n in reversed(missing) for w in (n // 2, n - n // 2)]
        if mode in ("reflect", "circular") and any(n - n // 2 >= s for n, s in zip(missing, size, strict=True)):
            mode = "replicate"
        x = F.pad(x, widths, mode=mode)
    return x, tuple(slice(n // 2, n // 2 + s) for n, s in zip(missing, size, strict=True))


def margin(logits: torch.Tensor, softmax: bool) -> torch.Tensor:
    """What is kept of logits [N, C, ...]: the difference of two classes [N, 1, ...], else all of them."""
    values = logits.float()
    if softmax:
        values = values.softmax(1)
    return values[:, 1:] - values[:, :1] if values.shape[1] == 2 else values


def infer_windows(
    x: torch.Tensor, network: Network, inferer: Inferer, monitor: Monitor, *, softmax: bool = False
) -> torch.Tensor:
    """Run a network over a volume by windows.

    Args:
        x: the image [X, Y, Z].
        network: gives logits [N, C, ...] of windows [N, 1, ...].
        inferer: the windows, of a size in voxels along each axis.
        monitor: told of each batch.
        softmax: applied to the blended logits, as MONAI does after its inferer.

    Returns:
        Logits [D, X, Y, Z]; for two classes their margin, D = 1.
    """
    image, inner = pad_to(x[None, None], inferer.roi_size, inferer.padding)
    size = tuple(image.shape[2:])
    starts = [window_starts(s, w, inferer.overlap) for s, w in zip(size, inferer.roi_size, strict=True)]
    count = math.prod(len(axis) for axis in starts)  # counted, never listed: there may be very many
    weight = importance(inferer.roi_size, inferer.gaussian, x.device)
    total: torch.Tensor | None = None
    weights = torch.zeros(size, device=x.device)
    monitor.report("network", 0, count, "windows")
    done = 0
    places = itertools.product(*starts)
    while group := list(itertools.islice(places, inferer.batch_size)):
        windows = [tuple(slice(s, s + w) for s, w in zip(start, inferer.roi_size, strict=True)) for start in group]
        out = network(torch.cat([image[(slice(None), slice(None), *w)] for w in windows])).float()
        if not softmax:
            out = margin(out, False)
        if total is None:
            total = torch.zeros((out.shape[1], *size), device=x.device)
        for window, values in zip(windows, out, strict=True):
            total[(slice(None), *window)] += values * weight
            weights[window] += weight
        done += len(group)
        monitor.report("network", done, count, "windows")
    assert total is not None
    total /= weights
    cropped = total[(slice(None), *inner)]
    return margin(cropped[None], True)[0] if softmax else cropped


def infer_slices(
    x: torch.Tensor, network: Network, inferer: Inferer, monitor: Monitor, *, softmax: bool = False
) -> torch.Tensor:
    """As `infer_windows`, with a 2D network over the slices x[:, :, k]."""
    count = x.shape[2]
    slices, inner = pad_to(x.permute(2, 0, 1)[:, None], inferer.roi_size, inferer.padding)
    size = tuple(slices.shape[2:])
    starts = [window_starts(s, w, inferer.overlap) for s, w in zip(size, inferer.roi_size, strict=True)]
    single = all(len(axis) == 1 for axis in starts)
    weight = importance(inferer.roi_size, inferer.gaussian, x.device)
    out: torch.Tensor | None = None
    monitor.report("network", 0, count, "slices")
    for first in range(0, count, inferer.batch_size):
        images = slices[first : first + inferer.batch_size]
        total: torch.Tensor | None = None
        weights = torch.zeros(size, device=x.device)
        for start in itertools.product(*starts):
            window = tuple(slice(s, s + w) for s, w in zip(start, inferer.roi_size, strict=True))
            values = network(images[(slice(None), slice(None), *window)].contiguous()).float()
            if single:
                total, weights = values, torch.ones(size, device=x.device)
                break
            if total is None:
                total = torch.zeros((*values.shape[:2], *size), device=x.device)
            total[(slice(None), slice(None), *window)] += values * weight
            weights[window] += weight
        assert total is not None
        kept = margin(total / weights, softmax)[(slice(None), slice(None), *inner)]
        if out is None:  # memory in z, y, x order: that is how most images lie
            out = torch.empty((kept.shape[1], count, x.shape[1], x.shape[0]), device=x.device)
        out[:, first : first + inferer.batch_size] = kept.permute(1, 0, 3, 2)
        monitor.report("network", min(first + inferer.batch_size, count), count, "slices")
    assert out is not None
    return out.permute(0, 3, 2, 1)
