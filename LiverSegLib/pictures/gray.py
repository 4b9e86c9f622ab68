"""Gray values of pictures: which are black and white, as pixels, and with segments in color; without matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from LiverSegLib.pictures.scene import Overlay

Pixels = npt.NDArray[np.uint8]
_FILL = 0.35
# The usual window for the liver on CT: level 50 HU, width 350 HU.
CT_WINDOW = (-125.0, 225.0)
_SAMPLES = 1_000_000


def looks_like_hu(image: npt.NDArray[Any], modality: str | None) -> bool:
    """True for CT; where the modality is unknown, True if there is air, which only HU put this low.

    Eight bits without a sign are a picture of a CT, not its HU.
    """
    if image.dtype == np.uint8:
        return False
    if modality is not None:
        return modality == "CT"
    return bool(np.min(_sample(image), initial=0.0) <= -500)


def display_window(image: npt.NDArray[Any], modality: str | None) -> tuple[float, float]:
    """Darkest and brightest value to show of an [i, j, k] image.

    CT gets its fixed window, so that cases can be compared; anything else the 1st to 99.5th percentile of
    what is brighter than the background.
    """
    if looks_like_hu(image, modality):
        return CT_WINDOW
    values = _sample(image)
    if not values.size:
        return 0.0, 1.0
    brighter = values[values > values.min()]
    if not brighter.size:
        return float(values.min()) - 0.5, float(values.min()) + 0.5
    low, high = np.percentile(brighter, (1, 99.5))
    if high <= low:  # one value on a background, such as a mask
        low = values.min()
    return float(low), float(high)


def _sample(image: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Finite values on a regular coarse grid of at most about a million voxels."""
    step = max(1, int(np.ceil((image.size / _SAMPLES) ** (1 / 3))))
    values = image[tuple(slice(None, None, min(step, n)) for n in image.shape)].astype(np.float64).ravel()
    return values[np.isfinite(values)]


def gray_pixels(image: npt.NDArray[Any], window: tuple[float, float]) -> Pixels:
    """Voxel values of any shape as 0 to 255, black at the window's low end; what is not finite is black."""
    low, high = window
    values = np.nan_to_num(image.astype(np.float32), nan=low, posinf=high, neginf=low)
    return np.clip(np.round((values - low) * (255 / (high - low))), 0, 255).astype(np.uint8)


def blend(gray: Pixels, labels: npt.NDArray[np.uint8], overlays: Sequence[Overlay], line: int = 1) -> Pixels:
    """Color the segments of a slice.

    Args:
        gray: uint8 [rows, columns].
        labels: label map of the same shape.
        overlays: the segments, outer ones first.
        line: width of the outline in pixels; it lies on the segment's own side of the border.

    Returns:
        RGB, uint8 [rows, columns, 3]; pixels outside all segments keep their gray.
    """
    picture = np.repeat(gray[..., None], 3, axis=-1).astype(np.float32)
    for overlay in overlays:
        mask = overlay.mask(labels)
        color = np.array(overlay.color, dtype=np.float32)
        picture[mask] += _FILL * (color - picture[mask])
        picture[mask & ~_shrunk(mask, line)] = color
    return np.round(picture).astype(np.uint8)


def _shrunk(mask: npt.NDArray[np.bool_], pixels: int) -> npt.NDArray[np.bool_]:
    """The mask without its outermost `pixels`; beyond the picture's border it is taken to go on."""
    for _ in range(pixels):
        wide = np.pad(mask, 1, mode="edge")
        mask = mask & wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
    return mask
