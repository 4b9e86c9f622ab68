"""Slices as plain RGB pixels, without matplotlib: grey values, translucent segments and their outlines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from LiverSegLib.pictures.scene import Overlay

Pixels = npt.NDArray[np.uint8]
_FILL = 0.35


def grey_pixels(image: npt.NDArray[Any], window: tuple[float, float]) -> Pixels:
    """Voxel values of any shape as 0 to 255, black at the window's low end; what is not finite is black."""
    low, high = window
    values = np.nan_to_num(image.astype(np.float32), nan=low, posinf=high, neginf=low)
    return np.clip(np.round((values - low) * (255 / (high - low))), 0, 255).astype(np.uint8)


def blend(grey: Pixels, labels: npt.NDArray[np.uint8], overlays: Sequence[Overlay], line: int = 1) -> Pixels:
    """Colour the segments of a slice.

    Args:
        grey: uint8 [rows, columns].
        labels: label map of the same shape.
        overlays: the segments, outer ones first.
        line: width of the outline in pixels; it lies on the segment's own side of the border.

    Returns:
        RGB, uint8 [rows, columns, 3]; pixels outside all segments keep their grey.
    """
    picture = np.repeat(grey[..., None], 3, axis=-1).astype(np.float32)
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
