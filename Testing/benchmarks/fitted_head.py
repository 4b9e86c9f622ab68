"""A network of random weights whose last layer is fitted, so that its labels are connected bodies and not noise.

All other layers stay random and are computed in full by every side, so times are those of a trained network. What the
random layers make of a phantom is given to the last one, which learns from it for some steps where the liver is. It
finds that, and more of the same gray value: a poor model, whose labels are as smooth as a good one's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

    from LiverSegLib.models.intensity import Intensity

_SEED = 20262
_STEPS = 60
_VOXELS = 60_000
"""That a layer which looks at each voxel by itself learns from, of a window."""
_SIDE = 48
"""Voxels of the windows that other layers learn from, at most."""


def fit(network: torch.nn.Module, head: str, steps: Sequence[Intensity], window: int, voxel_mm: float) -> None:
    """Fit the layers called `head` in place to the liver of a phantom; the network is left ready to be run.

    Args:
        network: takes [N, 1, X, Y, Z] and gives the logits of background and liver.
        head: its last submodule; whatever comes before is not changed.
        steps: the normalization of intensities.
        window: voxels of a side of its windows.
        voxel_mm: their size.
    """
    import torch
    import torch.nn.functional as F

    network.eval()
    layers = network.get_submodule(head)
    pointwise = all(max(getattr(layer, "kernel_size", (1,))) == 1 for layer in layers.modules())
    side = window if pointwise else min(window, _SIDE)
    cases = [_given(network, layers, *case, pointwise) for case in _windows(steps, side, voxel_mm)]
    learned = torch.optim.Adam(layers.parameters(), lr=0.02)
    # As many voxels of liver as of everything else count, however small the liver is in a window.
    share = sum(float((truth > 0).float().mean()) for _, truth in cases) / len(cases)
    weights = torch.tensor([share, 1 - share])
    for _ in range(_STEPS):
        learned.zero_grad()
        losses = [F.cross_entropy(layers(x), truth, weights) for x, truth in cases]
        torch.stack(losses).sum().backward()
        learned.step()


def _given(
    network: torch.nn.Module, layers: torch.nn.Module, image: torch.Tensor, truth: torch.Tensor, pointwise: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the last layers are given for an image, and the truth [N, X, Y, Z] of it; of `pointwise` ones a part."""
    import torch

    caught: list[torch.Tensor] = []
    hook = layers.register_forward_pre_hook(lambda _, given: caught.append(given[0].detach()))
    with torch.no_grad():
        network(image)
    hook.remove()
    if not pointwise:
        return caught[0], truth
    each = max(1, truth.numel() // _VOXELS)
    x = caught[0].flatten(2)[..., ::each, None, None].clone()
    return x, truth.flatten(1)[..., ::each, None, None]


def _windows(steps: Sequence[Intensity], window: int, voxel_mm: float) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Images [1, 1, X, Y, Z] around the liver of a phantom and away from it, and where it is [1, X, Y, Z]."""
    import torch

    from LiverSegLib.phantom import make_phantom

    made = make_phantom(_SEED, spacing=(voxel_mm,) * 3, orientation="RAS", phase="portal", lesions=0)
    liver = made.labelmap > 0
    inside = np.argwhere(liver)
    middle, (least, most) = inside.mean(axis=0), (inside.min(axis=0), inside.max(axis=0))
    found = []
    for center in (middle, np.array([least[0], middle[1], most[2]]), np.array([most[0], most[1], least[2]])):
        starts = [int(c) - window // 2 for c in center]
        image, truth = (_cut(array, starts, window) for array in (made.volume.array.astype(np.float32), liver))
        x = torch.from_numpy(image)
        for step in steps:
            x = step(x)
        found.append((x[None, None], torch.from_numpy(truth)[None].long()))
    return found


def _cut(array: npt.NDArray[Any], starts: Sequence[int], window: int) -> npt.NDArray[Any]:
    """A cube that begins at `starts`, which may lie outside: the voxels at the border go on there."""
    for axis, (start, size) in enumerate(zip(starts, array.shape, strict=True)):
        array = np.take(array, np.clip(np.arange(start, start + window), 0, size - 1), axis)
    return np.ascontiguousarray(array)
