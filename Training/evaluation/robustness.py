"""The tail test: real or phantom cases altered in the ways that break networks in the clinic.

Each alteration is deterministic and acts on a case resampled to 2 mm, image and reference together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from LiverSegLib.engine.geometry import model_grid, to_model_grid
from LiverSegLib.volume import Volume
from Training.augment import ct as augment
from Training.evaluation.cases import LabeledVolume, Unreadable
from Training.evaluation.metrics import Mask

Array = npt.NDArray[np.float32]
Change = Callable[[Array, Mask], tuple[Array, Mask]]
"""Changes image and organ [i, j, k] of 2 mm, LPS."""
SPACING = 2.0
AIR = -1000.0


def resampled(case: LabeledVolume) -> LabeledVolume:
    """The case on an LPS grid of 2 mm (thicker slices are kept), with the organ as its only label.

    The organ is everything that was drawn: the liver with its tumors.
    """
    spacing = sorted(case.volume.spacing)
    pixdim = (SPACING, SPACING, SPACING if spacing[-1] <= SPACING else -1.0)
    grid = model_grid(case.volume, "LPS", pixdim)
    cpu = torch.device("cpu")
    image = to_model_grid(case.volume.array, grid, cpu).numpy()
    assert case.reference is not None
    organ = to_model_grid((case.reference > 0).astype(np.uint8), grid, cpu).numpy() >= 0.5
    affine = np.diag([-grid.spacing[0], -grid.spacing[1], grid.spacing[2], 1.0])
    volume = Volume(image, affine, case.name, case.volume.modality)
    return replace(case, volume=volume, reference=organ.astype(np.uint8), names=case.names[:1])


def altered(case: LabeledVolume, changes: Mapping[str, Change] | None = None) -> Iterator[LabeledVolume]:
    """Every alteration of a case with a reference: those of the tail test, or the given ones."""
    base = resampled(case)
    for title, change in (ALTERATIONS if changes is None else changes).items():
        image, reference = change(np.array(base.volume.array), np.array(base.reference) > 0)
        # An alteration that joins slices makes them thicker.
        affine = base.volume.affine @ np.diag([1, 1, _JOINED.get(change, 1), 1])
        name = f"{case.name}, {title}"
        volume = replace(base.volume, array=image, affine=affine, name=name)
        yield replace(base, name=name, volume=volume, reference=reference.astype(np.uint8))


def altered_cases(
    cases: Iterable[LabeledVolume | Unreadable], changes: Mapping[str, Change] | None = None
) -> Iterator[LabeledVolume | Unreadable]:
    """Every alteration of every case with a reference; what is unreadable stays."""
    for case in cases:
        if isinstance(case, Unreadable):
            yield case
        elif case.reference is not None:
            yield from altered(case, changes)


THICK = 4


def _with(transform: augment._RandHU, seed: int, image: Array, reference: Mask) -> tuple[Array, Mask]:
    transform.set_random_state(seed)
    case = transform({"image": image[None], "label": reference.astype(np.uint8)[None]})
    return case["image"][0], case["label"][0] > 0


def _rotate(degrees: float, image: Array, reference: Mask) -> tuple[Array, Mask]:
    turned = ndimage.rotate(image, degrees, reshape=False, order=1, cval=AIR)
    return turned, ndimage.rotate(reference.astype(np.float32), degrees, reshape=False, order=1) >= 0.5


def _shift_liver(hu: float, image: Array, reference: Mask) -> tuple[Array, Mask]:
    return image + hu * ndimage.gaussian_filter(reference.astype(np.float32), 0.7), reference


def _native(image: Array, reference: Mask) -> tuple[Array, Mask]:
    """No contrast agent: what is brighter than 50 HU keeps a third of it, bone excepted."""
    soft = (image > 50) & (image < 250)
    return np.where(soft, 50 + (image - 50) * 0.33, image).astype(np.float32), reference


def _noise(hu: float, image: Array, reference: Mask) -> tuple[Array, Mask]:
    return image + np.random.default_rng(0).normal(0, hu, image.shape).astype(np.float32), reference


def _crop(image: Array, reference: Mask) -> tuple[Array, Mask]:
    """A field of view that ends inside the liver, in plane and along z."""
    box = tuple(slice(int(n * a), int(n * b)) for n, (a, b) in zip(image.shape, _KEEP, strict=True))
    return image[box], reference[box]


_KEEP = ((0.0, 0.62), (0.08, 0.92), (0.2, 0.75))


def _thick(image: Array, reference: Mask) -> tuple[Array, Mask]:
    """8 mm slices: averages of four."""
    depth = image.shape[2] // THICK * THICK
    groups = (*image.shape[:2], depth // THICK, THICK)
    thick = image[..., :depth].reshape(groups).mean(3)
    return thick, reference[..., :depth].reshape(groups).mean(3) >= 0.5


_JOINED: dict[Change, int] = {_thick: THICK}
ALTERATIONS: dict[str, Change] = {
    "as it is": lambda image, reference: (image, reference),
    "noise 30 HU": partial(_noise, 30),
    "thick slices": _thick,
    "rotated 25 degrees": partial(_rotate, 25),
    "lying on the side": partial(_rotate, 90),
    "native": _native,
    "fatty liver": partial(_shift_liver, -55),
    "bright liver": partial(_shift_liver, 45),
    "cropped": _crop,
    "lesions": partial(_with, augment.RandLesiond(1.0), 1),
    "mass A": partial(_with, augment.RandMassd(1.0), 2),
    "mass B": partial(_with, augment.RandMassd(1.0), 5),
    "mass C": partial(_with, augment.RandMassd(1.0), 8),
    "ascites": partial(_with, augment.RandFluidd(1.0), 3),
    "arms": partial(_with, augment.RandArmsd(1.0), 4),
}


def _flip(axis: int, image: Array, reference: Mask) -> tuple[Array, Mask]:
    return np.flip(image, axis).copy(), np.flip(reference, axis).copy()


def _soft(change: Callable[[Array], Array], image: Array, reference: Mask) -> tuple[Array, Mask]:
    """Other gray values, the air left as it is."""
    return np.where(image > -500, change(image), image).astype(np.float32), reference


def _slab(image: Array, reference: Mask) -> tuple[Array, Mask]:
    """Three centimeters through the middle of the organ."""
    middle = int(np.flatnonzero(reference.any(axis=(0, 1))).mean())
    place = (slice(None), slice(None), slice(max(0, middle - 8), middle + 8))
    return image[place].copy(), reference[place].copy()


def _cyst(image: Array, reference: Mask) -> tuple[Array, Mask]:
    """Half of the organ is filled with water."""
    half = reference.copy()
    half[int(np.flatnonzero(reference.any(axis=(1, 2))).mean()) :] = False
    water = np.where(half, np.float32(5), image)
    return ndimage.gaussian_filter(water, 0.7).astype(np.float32), reference


def _motion(image: Array, reference: Mask) -> tuple[Array, Mask]:
    """Every slice lies up to 12 mm from where it belongs."""
    image, reference = image.copy(), reference.copy()
    for k, (i, j) in enumerate(np.random.default_rng(1).integers(-6, 7, (image.shape[2], 2))):
        image[..., k] = np.roll(image[..., k], (i, j), (0, 1))
        reference[..., k] = np.roll(reference[..., k], (i, j), (0, 1))
    return image, reference


def _streaks(image: Array, reference: Mask) -> tuple[Array, Mask]:
    """Metal: bright and dark rays from a point beside the organ, in every slice."""
    i, j = np.meshgrid(*(np.arange(n) - n // 2 for n in image.shape[:2]), indexing="ij")
    rays = 250 * np.sin(24 * np.arctan2(j, i)) * np.exp(-np.hypot(i, j) / 60)
    return (image + np.where(image > -500, rays[..., None], 0)).astype(np.float32), reference


STRESS: dict[str, Change] = {
    "noise 90 HU": partial(_noise, 90),
    "blurred": lambda image, reference: (ndimage.gaussian_filter(image, 3).astype(np.float32), reference),
    "upside down": partial(_flip, 2),
    "mirrored": partial(_flip, 0),
    "rotated 60 degrees": partial(_rotate, 60),
    "half the contrast": partial(_soft, lambda x: x * 0.5),
    "80 HU darker": partial(_soft, lambda x: x - 80),
    "100 HU brighter": partial(_soft, lambda x: x + 100),
    "inverted": partial(_soft, lambda x: 100 - x),
    "a slab": _slab,
    "half of it water": _cyst,
    "motion": _motion,
    "metal": _streaks,
}
"""Beyond the tail: what should break a model, so that its failures can be told from its successes."""
