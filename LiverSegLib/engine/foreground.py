"""The part of an image that a network is shown: the box around its foreground."""

from __future__ import annotations

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


def input_window(array: npt.NDArray[Any], volume: Volume, package: ModelPackage) -> Box | None:
    """The box of the input's voxels [i, j, k] that the model's grid covers; None for all of them.

    Raises:
        InputError: the model asks for the foreground, and there is none.
    """
    crop = package.crop
    if crop is None or crop.resampled:
        return None
    if not crop.normalized or crop.by_input:
        return _box(array, crop, volume, package)
    x = torch.from_numpy(np.array(array, np.float32))
    for step in package.intensity:
        x = step(x)
    return _box(x, crop, volume, package)


def cropped(x: torch.Tensor, grid: ModelGrid, volume: Volume, package: ModelPackage) -> tuple[torch.Tensor, ModelGrid]:
    """The foreground of an image [X, Y, Z] on the model's grid, in memory of its own, and the grid of it alone.

    Raises:
        InputError: there is none.
    """
    assert package.crop is not None
    box = _box(x, package.crop, volume, package)
    return x[box].clone(), grid.part(box, package.nearest)


def _box(array: Any, crop: ForegroundCrop, volume: Volume, package: ModelPackage) -> Box:
    """The box around the foreground of a numpy array or a tensor, as MONAI's `CropForeground` has it."""
    mask = (array != 0) if crop.nonzero else (array > 0)
    box = bounding_box(np.asarray(mask.cpu()) if isinstance(mask, torch.Tensor) else mask, crop.margin)
    if box is not None:
        return box
    where = "is not 0" if crop.nonzero else "lies above 0"
    raise InputError(
        f"{package.name} looks at nothing but the part of an image that {where}, and {volume.name} has none; check "
        "its values, or use another model."
    )
