"""Which voxel values are black and which are white."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

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
