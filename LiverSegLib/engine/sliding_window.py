"""Sliding-window inference over a model grid, 3D by windows and 2D slice by slice.

Window places and weights are MONAI's (`sliding_window_inference`: `dense_patch_slices`, Gaussian with
sigma = size / 8) or, with `evenly`, nnU-Net's (`compute_steps_for_sliding_window`, `compute_gaussian`), so that both
give the same logits; its full-size output of all channels is what we avoid: for two classes only the difference of the
logits is kept, which decides the label, and many classes come in slabs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F

from LiverSegLib.engine.progress import Monitor
from LiverSegLib.engine.slabs import Blend, Slab, inside, kept_slices
from LiverSegLib.models.inferer import Inferer

Network = Callable[[torch.Tensor], torch.Tensor]


def window_starts(size: int, window: int, overlap: float, evenly: bool = False) -> list[int]:
    """First index of each window along one axis of `size` >= `window`; see `Inferer.evenly`."""
    if size <= window:
        return [0]
    if evenly:
        count = math.ceil((size - window) / (window * (1 - overlap))) + 1
        return [round((size - window) / (count - 1) * n) for n in range(count)]
    step = max(1, int(window * (1 - overlap)))
    count = math.ceil((size - window) / step) + 1
    return [min(n * step, size - window) for n in range(count)]


def importance(inferer: Inferer, device: torch.device) -> torch.Tensor:
    """Weight of each voxel of a window, float32 of its size."""
    shape = inferer.roi_size
    if not inferer.gaussian:
        return torch.ones(shape, device=device)
    return (_peaked(shape) if inferer.evenly else _bell(shape)).to(device)


def _bell(shape: tuple[int, ...]) -> torch.Tensor:
    """MONAI's Gaussian, whose corners weigh a thousandth at least (`compute_importance_map`)."""
    weight = torch.ones((1,) * len(shape))
    for axis, size in enumerate(shape):
        away = torch.arange(start=-(size - 1) / 2.0, end=(size - 1) / 2.0 + 1, dtype=torch.float32)
        bell = torch.exp(away**2 / (-2 * (size * 0.125) ** 2))
        weight = weight * bell.view([-1 if other == axis else 1 for other in range(len(shape))])
    return weight.clamp_min(max(float(weight.min()), 1e-3))


def _peaked(shape: tuple[int, ...]) -> torch.Tensor:
    """nnU-Net's Gaussian, rounded to half precision as there: far corners weigh more than they would else."""
    weight = torch.full((1,) * len(shape), 10.0, dtype=torch.float64)
    for axis, size in enumerate(shape):
        bell = torch.exp(-0.5 * ((torch.arange(size, dtype=torch.float64) - size // 2) / (size / 8)) ** 2)
        weight = weight * bell.view([-1 if other == axis else 1 for other in range(len(shape))])
    rounded = weight.half().float()
    return rounded.clamp_min(float(rounded[rounded > 0].min()))


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


def margin(logits: torch.Tensor, softmax: bool, regions: bool = False) -> torch.Tensor:
    """What is kept of logits [N, C, ...]: the difference of two classes [N, 1, ...], else (and of regions) all."""
    values = logits.float()
    if regions:
        return values
    if softmax:
        values = values.softmax(1)
    return values[:, 1:] - values[:, :1] if values.shape[1] == 2 else values


def infer_windows(
    x: torch.Tensor,
    network: Network,
    inferer: Inferer,
    monitor: Monitor,
    *,
    softmax: bool = False,
    regions: bool = False,
    most: int | None = None,
) -> Iterator[Slab]:
    """Run a network over a volume by windows.

    Args:
        x: the image [X, Y, Z], or its channels [C, X, Y, Z].
        network: gives logits [N, classes, ...] of windows [N, C, ...].
        inferer: the windows, of a size in voxels along each axis.
        monitor: told of each batch.
        softmax: applied to the blended logits, as MONAI does after its inferer.
        regions: channels do not exclude each other: all of them are kept.
        most: numbers of the logits that are kept at once, see `kept_slices`.

    Yields:
        Logits [D, X, Y, n]; for two classes their margin, D = 1.
    """
    image, inner = pad_to(x[None] if x.ndim == 4 else x[None, None], inferer.roi_size, inferer.padding)
    size = tuple(image.shape[2:])
    starts = _starts(size, inferer)
    count = math.prod(len(axis) for axis in starts)  # counted, never listed: there may be very many
    weight = importance(inferer, x.device)
    blend = Blend(size, inferer.roi_size[2], x.device, most)

    def slabs() -> Iterator[Slab]:
        monitor.report("network", 0, count, "windows")
        done = 0
        places = ((i, j, k) for k, i, j in itertools.product(starts[2], starts[0], starts[1]))
        while group := list(itertools.islice(places, inferer.batch_size)):
            windows = [tuple(slice(s, s + w) for s, w in zip(start, inferer.roi_size, strict=True)) for start in group]
            out = network(torch.cat([image[(slice(None), slice(None), *w)] for w in windows])).float()
            if not softmax:
                out = margin(out, False, regions)
            for window, values in zip(windows, out, strict=True):
                yield from blend.add(window, values, weight)
            done += len(group)
            monitor.report("network", done, count, "windows")
        yield blend.rest()

    for slab in inside(slabs(), inner):
        yield Slab(slab.first, margin(slab.logits[None], True, regions)[0]) if softmax else slab


def mirrored(network: Network, axes: Sequence[int]) -> Network:
    """A network that answers with the mean of what it says of an image and of its mirror images.

    Args:
        network: gives logits [N, C, ...] of windows [N, 1, ...].
        axes: along which it is mirrored, in all combinations; 0 is the first axis of the window.
    """
    if not axes:
        return network
    flips = [[n + 2 for n in some] for count in range(len(axes) + 1) for some in itertools.combinations(axes, count)]

    def run(x: torch.Tensor) -> torch.Tensor:
        total = network(x).float()
        for flip in flips[1:]:
            total = total + network(x.flip(flip)).flip(flip).float()
        return total / len(flips)

    return run


def _starts(size: Sequence[int], inferer: Inferer) -> list[list[int]]:
    """First indices of the windows along each axis."""
    axes = zip(size, inferer.roi_size, strict=True)
    return [window_starts(s, w, inferer.overlap, inferer.evenly) for s, w in axes]


def infer_slices(
    x: torch.Tensor,
    network: Network,
    inferer: Inferer,
    monitor: Monitor,
    *,
    softmax: bool = False,
    regions: bool = False,
    most: int | None = None,
) -> Iterator[Slab]:
    """As `infer_windows`, with a 2D network over the slices x[..., k]."""
    x = x if x.ndim == 4 else x[None]
    count, shape = x.shape[3], x.shape[1:]
    slices, inner = pad_to(x.permute(3, 0, 1, 2), inferer.roi_size, inferer.padding)
    weight = importance(inferer, x.device)
    out, held, first = torch.empty(0), 0, 0
    monitor.report("network", 0, count, "slices")
    for start in range(0, count, inferer.batch_size):
        logits = _slices_logits(slices[start : start + inferer.batch_size], network, inferer, weight)
        kept = margin(logits, softmax, regions)[(slice(None), slice(None), *inner)]
        if not held:  # memory in z, y, x order: that is how most images lie
            depth = kept_slices(shape, kept.shape[1], inferer.batch_size, most)
            out = torch.empty((kept.shape[1], depth, shape[1], shape[0]), device=x.device)
        if held + len(kept) > out.shape[1]:
            yield Slab(first, out[:, :held].permute(0, 3, 2, 1))
            out[:, 0] = out[:, held - 1].clone()
            first, held = first + held - 1, 1
        out[:, held : held + len(kept)] = kept.permute(1, 0, 3, 2)
        held += len(kept)
        monitor.report("network", min(start + inferer.batch_size, count), count, "slices")
    yield Slab(first, out[:, :held].permute(0, 3, 2, 1))


def _slices_logits(images: torch.Tensor, network: Network, inferer: Inferer, weight: torch.Tensor) -> torch.Tensor:
    """Logits [N, C, X, Y] of slices [N, channels, X, Y], by windows where they are larger than one."""
    size = tuple(images.shape[2:])
    starts = _starts(size, inferer)
    if all(len(axis) == 1 for axis in starts):
        return network(images.contiguous()).float()
    total: torch.Tensor | None = None
    weights = torch.zeros(size, device=images.device)
    for start in itertools.product(*starts):
        window = tuple(slice(s, s + w) for s, w in zip(start, inferer.roi_size, strict=True))
        values = network(images[(slice(None), slice(None), *window)].contiguous()).float()
        if total is None:
            total = torch.zeros((*values.shape[:2], *size), device=images.device)
        total[(slice(None), slice(None), *window)] += values * weight
        weights[window] += weight
    assert total is not None
    return total / weights
