"""Augmentation that CT livers need and MONAI does not have, as MONAI dictionary transforms.

All work in HU on `image` [1, ...] and `label` [1, ...] (2D or 3D) before the window is applied; blur, low
resolution and noise suit other images too. They imitate what breaks networks in the clinic: contrast phases and
fatty livers, lesions, masses beside the liver, ascites, arms in the field, cropped fields of view, noise.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from monai.transforms import Randomizable, Transform
from scipy import ndimage

from Training.recipe.sources import IGNORE

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Case = dict[str, Any]
Box = tuple[slice, ...]
MUSCLE, AIR = 55.0, -1000.0


def body_mask(image: Array) -> Mask:
    """The patient: the largest thing denser than fat, closed and filled."""
    solid = ndimage.binary_opening(image > -60)
    parts, count = ndimage.label(ndimage.binary_dilation(solid, iterations=4))
    if count == 0:
        return np.zeros(image.shape, bool)
    largest = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    return ndimage.binary_erosion(ndimage.binary_fill_holes(largest), iterations=4)


class _RandHU(Randomizable, Transform):
    """Base: with `prob`, change the image (and perhaps the label) of a case in place of a copy.

    Sizes are in voxels of the first axis; `aspect` says how many of them one voxel of the third axis is long.
    """

    def __init__(self, prob: float, aspect: float = 1.0) -> None:
        self.prob, self.aspect = prob, aspect

    def __call__(self, case: Case) -> Case:
        if self.R.random() >= self.prob:
            return case
        image, label = np.asarray(case["image"]), np.asarray(case["label"])
        # What nobody knows is no organ to paint lesions into.
        ignored = label[0] == IGNORE
        known = np.where(ignored, 0, label[0]).astype(label.dtype)
        # Channels differ in noise and sharpness; what changes labels is for one CT (`Recipe`).
        changed = [self.change(channel.astype(np.float32), known) for channel in image]
        mask, images = changed[0][1], np.stack([one for one, _ in changed]).astype(np.float32)
        return {**case, "image": images, "label": np.where(ignored, IGNORE, mask)[None]}

    def change(self, image: Array, label: Array) -> tuple[Array, Array]:
        raise NotImplementedError

    def uniform(self, low: float, high: float) -> float:
        return float(self.R.uniform(low, high))

    def texture(self, shape: tuple[int, ...], smooth: float, hu: float) -> Array:
        """Correlated noise of standard deviation `hu`, grain size `smooth` voxels."""
        sigma = [smooth, smooth, smooth / self.aspect][: len(shape)]
        grain = ndimage.gaussian_filter(self.R.standard_normal(shape).astype(np.float32), sigma)
        return grain * (hu / max(float(grain.std()), 1e-6))

    def blob(self, shape: tuple[int, ...], center: Array, radius: float) -> tuple[Box, Array]:
        """An irregular ellipsoid of mean `radius` voxels around `center`: the box around it, and soft membership there.

        The box may be empty where the center lies outside the image.
        """
        sides = [radius, radius, radius / self.aspect][: len(shape)]
        spans = [
            (int(np.clip(c - 1.6 * side - 2, 0, n)), int(np.clip(c + 1.6 * side + 3, 0, n)))
            for c, side, n in zip(center, sides, shape, strict=True)
        ]
        box = tuple(slice(low, high) for low, high in spans)
        axes = [np.arange(low, high, dtype=np.float32) - c for (low, high), c in zip(spans, center, strict=True)]
        offset = np.meshgrid(*axes, indexing="ij", sparse=True)
        angle = self.uniform(0, np.pi)
        c, s = np.cos(angle), np.sin(angle)
        first, second = c * offset[0] + s * offset[1], c * offset[1] - s * offset[0]
        stretch = self.uniform(0.65, 1.0)
        rest = (offset[2] * self.aspect) ** 2 if len(shape) == 3 else 0.0
        distance = np.sqrt(first**2 * stretch + second**2 / stretch + rest)
        if not distance.size:
            return box, distance.astype(np.float32)
        ripple = self.texture(distance.shape, max(radius / 3, 1.5), 0.12 * radius)
        return box, np.clip(radius + ripple - distance + 0.5, 0, 1).astype(np.float32)


class RandContrastd(_RandHU):
    """Soft-tissue contrast and level of the whole image (tube voltage, phase, calibration)."""

    def change(self, image: Array, label: Array) -> tuple[Array, Array]:
        gain, shift = self.uniform(0.7, 1.35), self.uniform(-15, 20)
        soft = image > -60  # fat and air keep their values: their contrast to tissue is physical
        return np.where(soft, (image - 60) * gain + 60 + shift, image), label


class RandOrganContrastd(_RandHU):
    """The liver alone darker or brighter: fatty, native, arterial or iron-laden liver."""

    def change(self, image: Array, label: Array) -> tuple[Array, Array]:
        edge = ndimage.gaussian_filter((label > 0).astype(np.float32), self.uniform(0.6, 1.2))
        shift = self.uniform(-70, 45) if self.R.random() < 0.7 else self.uniform(-25, 25)
        return image + edge * shift, label


class RandLesiond(_RandHU):
    """One to four lesions inside the liver; they stay liver, or become the tumor's label where the model has one.

    Cysts, a sixth of them, stay liver in any case: they are no tumors.
    """

    def __init__(self, prob: float, aspect: float = 1.0, tumor_label: int | None = None) -> None:
        super().__init__(prob, aspect)
        self.tumor_label = tumor_label

    def change(self, image: Array, label: Array) -> tuple[Array, Array]:
        inside = np.argwhere(label > 0)
        if len(inside) < 60:
            return image, label
        level = float(np.median(image[label > 0]))
        liver = label > 0
        image, label = image.copy(), label.copy()
        for _ in range(self.R.randint(1, 5)):
            center = inside[self.R.randint(len(inside))].astype(np.float32)
            radius = min(np.exp(self.uniform(np.log(3), np.log(32))), 0.8 * len(inside) ** 0.5)
            self._paint(image, label, liver, center, radius, level)
        return image, label

    def _paint(self, image: Array, label: Array, liver: Mask, center: Array, radius: float, level: float) -> None:
        """Draw one lesion into image and label."""
        box, soft = self.blob(image.shape, center, radius)
        part, soft = image[box], soft * liver[box]
        value, cyst = self._value(level)
        if self.R.random() < 0.25:  # enhancing rim, necrotic core
            distance = ndimage.distance_transform_edt(soft > 0.5, [1, 1, self.aspect][: soft.ndim])
            part[:] = part * (1 - soft) + (value + self.uniform(10, 60)) * soft
            soft = soft * np.clip(distance - 0.3 * radius, 0, 1).astype(np.float32)
        grain = self.texture(part.shape, self.uniform(0.6, 3), self.uniform(3, 14))
        part[:] = part * (1 - soft) + (value + grain) * soft
        if self.tumor_label is not None and not cyst:
            label[box][soft > 0.5] = self.tumor_label
        if self.R.random() < 0.15:  # a calcified part
            box, chalk = self.blob(image.shape, center, radius * self.uniform(0.2, 0.5))
            chalk = chalk * liver[box]
            image[box] = image[box] * (1 - chalk) + self.uniform(180, 600) * chalk

    def _value(self, level: float) -> tuple[float, bool]:
        """HU, and whether it is a cyst."""
        kind = self.R.random()
        if kind < 0.15:
            return self.uniform(0, 20), True
        if kind < 0.22:
            return self.uniform(150, 350), False  # calcified or iodized oil
        return level + (self.uniform(-70, -10) if kind < 0.8 else self.uniform(10, 60)), False


class RandMassd(_RandHU):
    """A big mass that touches the liver from outside; it is background."""

    def change(self, image: Array, label: Array) -> tuple[Array, Array]:
        liver = label > 0
        if liver.sum() < 60:
            return image, label
        points = np.argwhere(liver & ~ndimage.binary_erosion(liver))
        anchor = points[self.R.randint(len(points))].astype(np.float32)
        out = anchor - np.argwhere(liver).mean(0)
        out /= max(float(np.linalg.norm(out)), 1e-6)
        radius = self.uniform(14, 48)
        center = anchor + out * radius * self.uniform(0.5, 0.95)
        # Air outside the patient stays air; a mass may well fill what was lung or bowel gas.
        inside = body_mask(image) & ~liver
        box, soft = self.blob(image.shape, center.astype(np.float32), radius)
        soft = soft * inside[box]
        level = float(np.median(image[liver]))
        value = level + self.uniform(-80, 25) if self.R.random() < 0.8 else self.uniform(0, 20)
        if not soft.size:
            return image, label
        image = image.copy()
        part, near = image[box], liver[box]
        grain = self.texture(part.shape, self.uniform(0.7, 6), self.uniform(3, 18))
        part[:] = part * (1 - soft) + (value + grain) * soft
        if self.R.random() < 0.5:  # a capsule or fat plane between the two
            rim = ndimage.binary_dilation(near, iterations=self.R.randint(1, 3)) & ~near & (soft > 0.5)
            part[rim] = value + self.uniform(-60, 40)
        return image, label


class RandFluidd(_RandHU):
    """Ascites or effusion: a rim of fluid around the liver where fat, lung or gas was."""

    def change(self, image: Array, label: Array) -> tuple[Array, Array]:
        liver = label > 0
        if not liver.any():
            return image, label
        distance = ndimage.distance_transform_edt(~liver, [1, 1, self.aspect][: liver.ndim])
        width = self.uniform(3, 22) * (1 + self.texture(image.shape, 12, 0.4))
        rim = (distance < width) & ~liver & body_mask(image) & (image < 15)
        soft = ndimage.gaussian_filter(rim.astype(np.float32), 0.7) * ~liver
        fluid = self.uniform(0, 25) + self.texture(image.shape, 0.8, self.uniform(3, 10))
        return (image * (1 - soft) + fluid * soft).astype(np.float32), label


class RandArmsd(_RandHU):
    """One or two arms (skin, muscle, bone) beside or in front of the body."""

    def change(self, image: Array, label: Array) -> tuple[Array, Array]:
        rows, columns = image.shape[:2]
        outside = ~body_mask(image) & (label == 0)
        image = image.copy()
        for side in self.R.choice([0, 1], size=self.R.randint(1, 3), replace=False):
            x = self.uniform(0.0, 0.12) * rows
            center = [x if side else rows - x, self.uniform(0.2, 0.8) * columns]
            center += [n / 2 for n in image.shape[2:]]
            radius = self.uniform(0.07, 0.12) * rows
            at = np.asarray(center, dtype=np.float32)
            box, flesh = self.blob(image.shape, at, radius)
            flesh = flesh * outside[box]
            if flesh.size:
                image[box] = image[box] * (1 - flesh) + (MUSCLE + self.texture(flesh.shape, 1, 8)) * flesh
            box, bone = self.blob(image.shape, at, radius * self.uniform(0.2, 0.35))
            bone = bone * outside[box]
            image[box] = image[box] * (1 - bone) + self.uniform(250, 900) * bone
        return image, label


class RandCropFieldd(_RandHU):
    """A smaller field of view: everything outside a box or circle is air, and background."""

    def change(self, image: Array, label: Array) -> tuple[Array, Array]:
        shape = image.shape
        if self.R.random() < 0.5:
            keep = np.zeros(shape, bool)
            box = []
            for size in shape:
                length = int(size * self.uniform(0.45, 0.9))
                start = self.R.randint(0, size - length + 1)
                box.append(slice(start, start + length))
            keep[tuple(box)] = True
        else:
            across, down = np.indices(shape[:2], dtype=np.float32)
            x, y = (n / 2 + self.uniform(-0.1, 0.1) * n for n in shape[:2])
            circle = np.hypot(across - x, down - y) < self.uniform(0.3, 0.48) * min(shape[:2])
            keep = np.broadcast_to(circle.reshape(circle.shape + (1,) * (len(shape) - 2)), shape)
        return np.where(keep, image, AIR), np.where(keep, label, 0)


class RandBlurd(_RandHU):
    """A soft kernel or a thick slice."""

    def change(self, image: Array, label: Array) -> tuple[Array, Array]:
        sigma = self.uniform(0.4, 1.3)
        return ndimage.gaussian_filter(image, [sigma, sigma, sigma / self.aspect][: image.ndim]), label


class RandLowResolutiond(_RandHU):
    """Coarser voxels, interpolated back."""

    def change(self, image: Array, label: Array) -> tuple[Array, Array]:
        factor = self.uniform(0.4, 0.9)
        small = ndimage.zoom(image, factor, order=1)
        zoom = [n / m for n, m in zip(image.shape, small.shape, strict=True)]
        return ndimage.zoom(small, zoom, order=1), label


class RandNoised(_RandHU):
    """CT noise, white or correlated, up to that of a low-dose scan; `unit` is what one HU is in other images."""

    def __init__(self, prob: float, aspect: float = 1.0, unit: float = 1.0) -> None:
        super().__init__(prob, aspect)
        self.unit = unit

    def change(self, image: Array, label: Array) -> tuple[Array, Array]:
        hu = self.uniform(2, 14) if self.R.random() < 0.6 else self.uniform(10, 40)
        return image + self.texture(image.shape, self.uniform(0.01, 1.1), hu * self.unit), label
