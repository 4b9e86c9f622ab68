"""Raw cases on the model's grid, with the intensities that the network will see."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch

from LiverSegLib.boxes import Box, bounding_box, whole_of
from LiverSegLib.engine.geometry import ModelGrid, model_grid, to_model_grid
from LiverSegLib.models.intensity import ScaleRange
from Training.data.patches import cut
from Training.data.readers import RawCase
from Training.data.readers.case import counts, present
from Training.recipe import Recipe
from Training.recipe.sources import IGNORE

Labels = npt.NDArray[np.uint8]
T = TypeVar("T", bound=np.generic)
HU_RANGE = (-1024, 3071)
_INT16 = (-32768, 32767)
# Below this width, whole numbers would be too coarse steps of the window.
_INT16_WIDTH = 100
_BODY_HU = -500
_MARGIN = 4
_CPU = torch.device("cpu")


def convert(raw: RawCase, recipe: Recipe) -> tuple[npt.NDArray[np.generic], Labels]:
    """Image and label of a case on the model's grid [x, y, z]; of several channels the image is [channel, x, y, z].

    The image is int16 before the window, or float32 where whole numbers do not hold it; with any other `normalize`
    it is float32 after it, taken over the whole volume as inference does. Each label is resampled linearly and the
    largest wins. A label that would vanish because it is smaller than the grid keeps its nearest voxels. Last, both are
    brought to `crop_or_pad`.
    """
    grid = grid_of(raw, recipe)
    channels = [to_model_grid(array, grid, _CPU) for array in raw.volume.channels]
    label = label_on(raw.label, grid)
    box = body_box(channels[0].numpy(), recipe) if recipe.preprocess.crop_foreground else (slice(None),) * 3
    image = [crop_or_pad(_normalized(channel, recipe)[box], recipe, recipe.air) for channel in channels]
    return image[0] if len(image) == 1 else np.stack(image), crop_or_pad(label[box], recipe, 0)


def crop_or_pad(array: npt.NDArray[T], recipe: Recipe, outside: float) -> npt.NDArray[T]:
    """A case's array [x, y, z] as the recipe's `crop_or_pad` has it, around its middle; added voxels are `outside`."""
    size = sized(array.shape, recipe)
    if size == array.shape:
        return array
    return cut(array, tuple(n // 2 for n in array.shape), size, (0,) * array.ndim, outside)


def sized(shape: tuple[int, ...], recipe: Recipe) -> tuple[int, ...]:
    """What the recipe's `crop_or_pad` makes of a shape."""
    wanted = recipe.preprocess.crop_or_pad or (-1, -1, -1)
    return tuple(most if most > 0 else n for n, most in zip(shape, wanted, strict=True))


def outline(raw: RawCase, recipe: Recipe) -> tuple[tuple[int, ...], list[list[int]]]:
    """What `convert` would give, without resampling: size on the model's grid, and voxels of each label value in the
    raw label, of the whole for 3D recipes and near each slice of the model's grid for 2D ones."""
    grid = grid_of(raw, recipe)
    at = [np.round(grid.positions(axis)).astype(np.intp) for axis in range(3)]
    shape: tuple[int, ...] = grid.shape
    if recipe.preprocess.crop_foreground:
        box = body_box(grid.axes.apply(raw.volume.array)[np.ix_(*at)], recipe)
        shape, at[2] = tuple(part.stop - part.start for part in box), at[2][box[2]]
    shape = sized(shape, recipe)
    label = grid.axes.apply(raw.label)
    parts = [label] if recipe.spatial_dims == 3 else [label[..., k] for k in at[2]]
    return shape, [counts(part, len(recipe.labels) + 1) for part in parts]


def grid_of(raw: RawCase, recipe: Recipe) -> ModelGrid:
    """The model's grid over a case; a picture that does not tell the size of its pixels is taken as being on it."""
    prep = recipe.preprocess
    return model_grid(raw.volume, prep.axcodes, prep.pixdim if raw.spacing_told else (-1.0, -1.0, -1.0), prep.size)


def _normalized(image: torch.Tensor, recipe: Recipe) -> npt.NDArray[np.generic]:
    step = recipe.preprocess.intensity
    if not isinstance(step, ScaleRange):
        return step(image).numpy()
    if stored_type(recipe) != np.int16:
        return image.numpy()
    allowed = HU_RANGE if recipe.modality == "CT" else _INT16
    return np.clip(np.round(image.numpy()), *allowed).astype(np.int16)


def stored_type(recipe: Recipe) -> npt.DTypeLike:
    """The type that prepared images have: int16 before a window that is wide enough for whole numbers, or float32."""
    step = recipe.preprocess.intensity
    if not isinstance(step, ScaleRange) or step.extent < _INT16_WIDTH:
        return np.float32
    return np.int16 if step.low >= _INT16[0] and step.high <= _INT16[1] else np.float32


def label_on(label: Labels, grid: ModelGrid) -> Labels:
    """The label [i, j, k] on the model's grid."""
    values = [v for v in present(label) if v]
    shares = [to_model_grid((label == v).astype(np.uint8), grid, _CPU).numpy() for v in values]
    mask = np.zeros(grid.shape, np.uint8)
    if not shares:
        return mask
    inside = np.sum(shares, axis=0) >= 0.5
    mask[inside] = np.asarray(values, np.uint8)[np.argmax(shares, axis=0)][inside]
    for value in values:
        if value != IGNORE and not (mask == value).any():
            mask[_nearest(label == value, grid)] = value
    return mask


def _nearest(inside: npt.NDArray[np.bool_], grid: ModelGrid) -> tuple[npt.NDArray[np.intp], ...]:
    """The model voxels nearest to the input's."""
    at = np.nonzero(grid.axes.apply(inside))
    places = []
    for axis, index in enumerate(at):
        nearest = np.round(grid.model_positions(axis)[index]).astype(np.intp)
        places.append(np.clip(nearest, 0, grid.shape[axis] - 1))
    return tuple(places)


def body_box(image: npt.NDArray[np.generic], recipe: Recipe, margin: int = _MARGIN) -> Box:
    """The box around the body with a margin: above -500 HU in CT, above 0 otherwise (MONAI's CropForeground)."""
    inside = np.asarray(image) > (_BODY_HU if recipe.modality == "CT" else 0)
    return bounding_box(inside, margin) or whole_of(inside)
