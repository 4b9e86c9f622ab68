"""From the voxels of an input to what the network is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy.typing as npt
import torch

from LiverSegLib.boxes import whole_of
from LiverSegLib.engine.foreground import cropped
from LiverSegLib.engine.geometry import ModelGrid, on_own_voxels, resample_window, to_model_grid
from LiverSegLib.engine.progress import Monitor
from LiverSegLib.engine.splines import resample_cubic
from LiverSegLib.models import ModelPackage
from LiverSegLib.models.intensity import Intensity
from LiverSegLib.volume import Volume


def shown(
    volume: Volume,
    channels: Sequence[npt.NDArray[Any]],
    grid: ModelGrid,
    package: ModelPackage,
    device: torch.device,
    monitor: Monitor,
) -> tuple[torch.Tensor, ModelGrid]:
    """The image [C, X, Y, Z] on the model's grid with its intensity steps done, and the grid of what is left of it.

    Args:
        volume: what errors name.
        channels: the usable voxels [i, j, k] of each; not changed.
        grid: the model's grid over it.
        package: the model, which says what is done in which order.
        device: where the image is wanted.
        monitor: asked for a stop.

    Raises:
        InputError: the model asks for the foreground of the image, and there is none.
    """
    first = package.resampling.normalize_first
    xs = [_resampled(array, grid, package, package.steps(n), device, monitor) for n, array in enumerate(channels)]
    crop = package.crop if package.crop is not None and package.crop.resampled else None
    if crop is not None and not crop.normalized:
        xs, grid = cropped(xs, grid, volume, package)
    xs = xs if first else [_normalized(x, package.steps(n), monitor) for n, x in enumerate(xs)]
    if crop is not None and crop.normalized:
        xs, grid = cropped(xs, grid, volume, package)
    return torch.stack(xs) if len(xs) > 1 else xs[0][None], grid


def _resampled(
    array: npt.NDArray[Any],
    grid: ModelGrid,
    package: ModelPackage,
    steps: Sequence[Intensity],
    device: torch.device,
    monitor: Monitor,
) -> torch.Tensor:
    """One channel on the model's grid; its intensity steps are done where they come before resampling."""
    how = package.resampling
    if not (how.normalize_first or how.cubic):  # in the stored type, which is less to move
        return to_model_grid(array, grid, device)
    crop = package.crop
    if how.normalize_first and crop is not None and crop.normalized and not crop.resampled:
        everything = replace(grid, window=whole_of(grid.axes.apply(array)))
        x = _normalized(on_own_voxels(array, everything, device), steps, monitor)[grid.window].contiguous()
    else:
        x = on_own_voxels(array, grid, device)
        x = _normalized(x, steps, monitor) if how.normalize_first else x
    if how.cubic:
        return resample_cubic(x, grid, monitor)
    for axis in range(3):
        monitor.check()
        x = resample_window(x, axis, grid)
    return x


def _normalized(x: torch.Tensor, steps: Sequence[Intensity], monitor: Monitor) -> torch.Tensor:
    """A channel with the model's intensity steps done, in place."""
    for step in steps:
        monitor.check()
        x = step(x)
    return x
