"""The augmentation of a recipe as one MONAI pipeline: ours for CT, MONAI's for any image."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from monai import transforms as mt
from torch.nn import functional

from LiverSegLib.labels import labels_for
from LiverSegLib.models.intensity import ScaleRange
from Training.augment import ct as our
from Training.recipe import Recipe, RecipeError
from Training.recipe.options import CT_ONLY, Augment

KEYS = ("image", "label")
MODES = ("bilinear", "nearest")
# Anatomical axis of a letter of `axcodes`.
AXIS_OF = {"L": "x", "R": "x", "P": "y", "A": "y", "S": "z", "I": "z"}
CONTEXT = 0.125
GAMMA, BRIGHTNESS = (0.7, 1.5), 0.2


def margin(recipe: Recipe) -> tuple[int, ...]:
    """Voxels that are read around a patch, so that turning it does not bring in air at its corners."""
    a = recipe.augment
    if a.affine + a.any_rotation + a.elastic == 0:
        return (0,) * recipe.spatial_dims
    return tuple(int(np.ceil(CONTEXT * n)) for n in recipe.patch_size)


def augmentation(recipe: Recipe) -> mt.Compose:
    """Patch with its margin -> augmented patch, normalized.

    Takes and gives `image` float32 [1, ...] and `label` uint8 [1, ...]. CT transforms, noise and resolution work in
    the values of prepared images (HU, or normalized), gamma and brightness in those that the network sees.
    """
    a, aspect = recipe.augment, _aspect(recipe)
    # What 1 HU of noise is in these images: 400 HU of soft tissue compare to their whole range.
    unit = 1.0 if recipe.in_hounsfield else recipe.preprocess.intensity.extent / 400
    steps = _organ_transforms(recipe) + _spatial_transforms(recipe) + _flips(recipe)
    if a.crop > 0:
        steps.append(RandZoomCropd(a.crop, *a.crop_size))
    steps += [our.RandBlurd(a.blur, aspect), our.RandLowResolutiond(a.low_resolution)]
    steps += [our.RandNoised(a.noise, aspect, unit), *normalization(recipe)]
    steps.append(mt.RandAdjustContrastd(["image"], a.gamma, GAMMA))
    return mt.Compose([*steps, *_brightness(recipe), typed()])


def _brightness(recipe: Recipe) -> list[mt.Transform]:
    """More or less light: the values above the darkest one are multiplied, and what gets too bright is cut."""
    prob, (dark, bright) = recipe.augment.brightness, recipe.preprocess.output
    steps: list[mt.Transform] = [mt.RandScaleIntensityd(["image"], BRIGHTNESS, prob=prob)]
    if dark != 0 and recipe.preprocess.normalize != "zscore":
        steps = [mt.ShiftIntensityd(["image"], -dark), *steps, mt.ShiftIntensityd(["image"], dark)]
    if prob and normalization(recipe):
        steps.append(mt.ThresholdIntensityd(["image"], bright, above=False, cval=bright))
    return steps


def typed() -> mt.Transform:
    """The last step: every sample leaves as float32 image and uint8 label, so that they fit into one batch."""
    return mt.EnsureTyped(KEYS, dtype=(torch.float32, torch.uint8), track_meta=False)


def normalization(recipe: Recipe) -> list[mt.Transform]:
    """What prepared images still lack to be the network's input: the window, where the recipe has one."""
    step = recipe.preprocess.intensity
    if not isinstance(step, ScaleRange):
        return []
    return [mt.ScaleIntensityRanged(["image"], step.low, step.high, step.out_low, step.out_high, clip=step.clip)]


def _aspect(recipe: Recipe) -> float:
    """Voxels of the first axis that one of the third is long; 1 where the grid is the image's own."""
    first, _, third = recipe.preprocess.pixdim
    return third / first if recipe.spatial_dims == 3 and first > 0 and third > 0 else 1.0


def _organ_transforms(recipe: Recipe) -> list[Any]:
    a = recipe.augment
    if not any(getattr(a, key) for key in CT_ONLY):
        return []
    aspect = _aspect(recipe)
    lesion = next((label.value for label in labels_for(recipe.labels) if label.is_lesion), None)
    return [
        our.RandOrganContrastd(a.organ_contrast),
        our.RandContrastd(a.contrast),
        our.RandLesiond(a.lesion, aspect, lesion),
        our.RandMassd(a.mass, aspect),
        our.RandFluidd(a.fluid, aspect),
        our.RandArmsd(a.arms, aspect),
        our.RandCropFieldd(a.crop_field),
    ]


def _spatial_transforms(recipe: Recipe) -> list[Any]:
    """Warp, turn, scale, shear, shift, then the patch without its margin; what comes in from outside is air."""
    a, dims, outside = recipe.augment, recipe.spatial_dims, recipe.air
    if not any(margin(recipe)):
        return []
    turns = rotations(recipe)
    moved: dict[str, Any] = {"mode": MODES, "padding_mode": "zeros"}
    steps: list[Any] = [mt.ShiftIntensityd(["image"], -outside)]
    if a.elastic > 0:
        steps.append(_elastic(a, dims, moved))
    if a.any_rotation > 0:
        full = [*turns[:-1], np.pi]
        steps.append(mt.RandAffined(KEYS, prob=a.any_rotation, rotate_range=full, **moved))
    steps += [
        mt.RandAffined(
            KEYS,
            prob=a.affine,
            spatial_size=recipe.patch_size,
            rotate_range=turns,
            # MONAI scales the sampling grid, so that 1 / scale is the size of the anatomy.
            scale_range=[(1 / a.scale[1] - 1, 1 / a.scale[0] - 1)] * dims,
            translate_range=[a.shift] * dims,
            shear_range=[a.shear] * (2 if dims == 2 else 6),
            **moved,
        ),
        mt.ShiftIntensityd(["image"], outside),
        # MONAI's spatial transforms give float32; every other transform here keeps the type of the label.
        mt.CastToTyped(["label"], torch.uint8),
    ]
    return steps


def rotations(recipe: Recipe) -> list[float]:
    """The largest turn in radians about each axis of a 3D patch in its order, or about the one across a 2D patch.

    Raises:
        RecipeError: a 2D recipe asks for a turn out of its plane.
    """
    asked, dims = recipe.augment.rotate_degrees, recipe.spatial_dims
    if not isinstance(asked, dict):
        turn = float(np.deg2rad(asked))
        return [turn] if dims == 2 else [turn / 2, turn / 2, turn]
    axes = [AXIS_OF[letter] for letter in recipe.preprocess.axcodes][-1 if dims == 2 else 0 :]
    if lost := next((name for name, most in asked.items() if name not in axes and most > 0), None):
        raise RecipeError(f"augment.rotate_degrees turns slices about {lost}, which would leave them; name {axes[0]}.")
    return [float(np.deg2rad(asked.get(name, 0.0))) for name in axes]  # type: ignore[call-overload]


def _elastic(a: Augment, dims: int, moved: dict[str, Any]) -> Any:
    if dims == 2:
        return mt.Rand2DElasticd(KEYS, spacing=(32, 32), magnitude_range=a.warp_pixels, prob=a.elastic, **moved)
    # A warped grid: MONAI's smooth 3D displacement fields take longer than a training step.
    return mt.RandGridDistortiond(KEYS, num_cells=4, prob=a.elastic, distort_limit=a.warp_cells, **moved)


def _flips(recipe: Recipe) -> list[Any]:
    axes = [AXIS_OF[letter] for letter in recipe.preprocess.axcodes][: recipe.spatial_dims]
    flips = recipe.augment.flip
    if lost := next((name for name in flips if name not in axes), None):
        raise RecipeError(f"augment.flip names the axis {lost}, which a 2D recipe of these axcodes does not have.")
    return [mt.RandFlipd(KEYS, prob, spatial_axis=axes.index(name)) for name, prob in flips.items()]


class RandZoomCropd(mt.RandomizableTransform):
    """A random box of `smallest` to `largest` of each side, enlarged to the whole; labels by the nearest voxel."""

    def __init__(self, prob: float, smallest: float = 0.6, largest: float = 1.0) -> None:
        super().__init__(prob)
        self.smallest, self.largest = smallest, largest

    def __call__(self, case: dict[str, Any]) -> dict[str, Any]:
        """Crop `image` and `label` [1, ...] alike and bring them back to their size."""
        self.randomize(None)
        if not self._do_transform:
            return case
        size = case["image"].shape[1:]
        box = []
        for n in size:
            length = max(1, round(n * self.R.uniform(self.smallest, self.largest)))
            start = self.R.randint(0, n - length + 1)
            box.append(slice(start, start + length))
        image, label = (torch.as_tensor(case[key])[(slice(None), *box)][None] for key in KEYS)
        smooth = functional.interpolate(image.float(), size, mode="bilinear" if len(size) == 2 else "trilinear")
        nearest = functional.interpolate(label.float(), size, mode="nearest-exact")
        return {**case, "image": smooth[0], "label": nearest[0].to(label.dtype)}
