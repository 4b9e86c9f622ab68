"""The part of an image that a network is shown: the box around its foreground."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import or_
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from LiverSegLib.boxes import Box, bounding_box
from LiverSegLib.engine.geometry import ModelGrid
from LiverSegLib.errors import InputError
from LiverSegLib.models.crop import ForegroundCrop
from LiverSegLib.models.spec import ModelPackage
from LiverSegLib.volume import Volume


def input_window(channels: Sequence[npt.NDArray[Any]], volume: Volume, package: ModelPackage) -> Box | None:
    """The box of the input's voxels [i, j, k] that the model's grid covers; None for all of them.

    Raises:
        InputError: the model asks for the foreground, and there is none.
    """
    crop = package.crop
    if crop is None or crop.resampled:
        return None
    if not crop.normalized or crop.by_input:
        return _box(channels, crop, volume, package)
    normalized = []
    for number, array in enumerate(channels):
        x = torch.from_numpy(np.array(array, np.float32))
        for step in package.steps(number):
            x = step(x)
        normalized.append(x)
    return _box(normalized, crop, volume, package)


def cropped(
    channels: Sequence[torch.Tensor], grid: ModelGrid, volume: Volume, package: ModelPackage
) -> tuple[list[torch.Tensor], ModelGrid]:
    """The foreground of channels [X, Y, Z] on the model's grid, in memory of its own, and the grid of it alone.

    Raises:
        InputError: there is none.
    """
    assert package.crop is not None
    box = _box(channels, package.crop, volume, package)
    return [x[box].clone() for x in channels], grid.part(box, package.nearest)


def _box(channels: Sequence[Any], crop: ForegroundCrop, volume: Volume, package: ModelPackage) -> Box:
    """The box around the foreground of any of the numpy arrays or tensors, as MONAI's `CropForeground` has it."""
    mask = reduce(or_, ((array != 0) if crop.nonzero else (array > 0) for array in channels))
    box = bounding_box(np.asarray(mask.cpu()) if isinstance(mask, torch.Tensor) else mask, crop.margin)
    if box is not None:
        return box
    where = "is not 0" if crop.nonzero else "lies above 0"
    raise InputError(
        f"{package.name} looks at nothing but the part of an image that {where}, and {volume.name} has none; check "
        "its values, or use another model."
    )
