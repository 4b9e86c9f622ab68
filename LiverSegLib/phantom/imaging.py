"""The scanner: slice profile, noise, streaks, reconstruction circle, and how the voxels are stored."""

from __future__ import annotations

import itertools
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from LiverSegLib.phantom.space import Array, Grid

Number = TypeVar("Number", bound=np.generic)
Affine = npt.NDArray[np.float64]
_PAIRS = (("R", "L"), ("A", "P"), ("S", "I"))


def axis_codes() -> tuple[str, ...]:
    """All 48 ways to store three axes, for example "LPS": i rises to the left, j to the back, k upwards."""
    orders = itertools.permutations(_PAIRS)
    return tuple("".join(codes) for order in orders for codes in itertools.product(*order))


def expose(hu: Array, grid: Grid, rng: np.random.Generator, *, noise: float, streaks: bool) -> None:
    """Blur and noise of a CT scanner, in place.

    Args:
        hu: float32 [x, y, z].
        grid: its voxels.
        rng: source of randomness.
        noise: standard deviation in HU.
        streaks: add the horizontal streaks of photon starvation.
    """
    dx, dy, dz = grid.spacing
    in_plane = rng.uniform(0.5, 0.9)
    blur = [max(in_plane / dx, 0.25), max(in_plane / dy, 0.25), 0.35 if dz > 1.5 else 0.5 / dz]
    ndimage.gaussian_filter(hu, blur, output=hu, truncate=3)
    raw = rng.standard_normal(hu.shape, dtype=np.float32)
    width = rng.uniform(0.6, 1.1)
    ndimage.gaussian_filter(raw, [width / dx, width / dy, 0.3], output=raw, truncate=3)
    hu += raw * np.float32(noise / max(float(raw.std()), 1e-6))
    if streaks:
        raw = rng.standard_normal(hu.shape, dtype=np.float32)
        ndimage.gaussian_filter(raw, [45 / dx, 0.8 / dy, 0.2], output=raw, truncate=3)
        height = np.exp(-(((grid.y + 20) / 70) ** 2))[None, :, None]
        hu += raw * (height * np.float32(rng.uniform(6, 14) / max(float(raw.std()), 1e-6)))


def store(hu: Array, grid: Grid, rng: np.random.Generator) -> npt.NDArray[np.int16]:
    """Round to int16, -1024 to 3071 HU; some scanners set -1024 outside of the reconstruction circle."""
    np.clip(hu, -1024, 3071, out=hu)
    stored = np.rint(hu).astype(np.int16)
    if rng.uniform() < 0.5:
        cx, cy = (grid.x[0] + grid.x[-1]) / 2, (grid.y[0] + grid.y[-1]) / 2
        reach = max(grid.x[-1] - cx, grid.y[-1] - cy)
        outside = (grid.x[:, None] - cx) ** 2 + (grid.y[None] - cy) ** 2 > reach**2
        stored[outside] = -1024
    return stored


def orient(array: npt.NDArray[Number], affine: Affine, code: str) -> tuple[npt.NDArray[Number], Affine]:
    """Permute and flip a RAS array [x, y, z] so that its axes run as one of `axis_codes`, the world staying put."""
    order = [next(i for i, pair in enumerate(_PAIRS) if letter in pair) for letter in code]
    turned = affine.copy()
    turned[:3, :3] = affine[:3, order]
    array = array.transpose(order)
    for axis, letter in enumerate(code):
        if letter in "LPI":
            array = np.flip(array, axis)
            turned[:3, 3] += turned[:3, axis] * (array.shape[axis] - 1)
            turned[:3, axis] *= -1
    return np.ascontiguousarray(array), turned


def resample(array: Array, grid: Grid, affine: Affine, shape: tuple[int, int, int], fill: float) -> Array:
    """Linear interpolation of a grid's values at the voxels of another affine and shape."""
    step = np.linalg.inv(grid.affine) @ affine
    matrix = step[:3, :3]
    if np.allclose(matrix, np.diag(np.diag(matrix)), atol=1e-9):
        matrix = np.diag(matrix)
    out: Array = ndimage.affine_transform(
        array, matrix, step[:3, 3], output_shape=shape, order=1, mode="constant", cval=fill, output=np.float32
    )
    return out
