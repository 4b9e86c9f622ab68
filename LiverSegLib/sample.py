"""A simple phantom CT, made on the spot, to try everything without patient data or a download."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from LiverSegLib.volume import Volume

SHAPE = (128, 112, 72)
_SPACING_MM = (3.0, 3.0, 4.0)
_FAT, _MUSCLE, _LUNG, _AIR = -90.0, 55.0, -800.0, -1000.0
# Centre and half axes in mm (right, anterior, superior of the body's middle), tilt in degrees, HU.
_ORGANS = {
    "liver": ((55, 10, 25), (85, 65, 62), 20, 110.0),
    "spleen": ((-90, -35, 30), (28, 38, 45), -15, 125.0),
    "stomach": ((-55, 45, 25), (40, 32, 45), 10, 20.0),
    "left kidney": ((-60, -45, -40), (26, 25, 48), 0, 170.0),
    "right kidney": ((60, -45, -50), (26, 25, 48), 0, 170.0),
    "spine": ((0, -65, 0), (22, 20, 400), 0, 320.0),
    "aorta": ((-12, -32, 0), (11, 11, 400), 0, 190.0),
}
_LESIONS = (((75, 25, 35), 17.0), ((35, 5, 5), 11.0), ((80, -15, 10), 9.0))
_LESION_HU = 65.0


def make_sample(seed: int = 0) -> tuple[Volume, npt.NDArray[np.uint8]]:
    """A portal-venous abdomen with three lesions in its liver.

    Args:
        seed: of the noise; the anatomy is always the same.

    Returns:
        The CT (int16 HU, LPS axes) and its true label map: 1 liver, 2 tumor; both [i, j, k].
    """
    affine = np.diag([-_SPACING_MM[0], -_SPACING_MM[1], _SPACING_MM[2], 1.0])
    affine[:3, 3] = [(n - 1) / 2 * s * sign for n, s, sign in zip(SHAPE, _SPACING_MM, (1, 1, -1), strict=True)]
    right, front, top = (
        (affine[a, a] * np.arange(SHAPE[a]) + affine[a, 3]).reshape([-1 if b == a else 1 for b in range(3)])
        for a in range(3)
    )
    body = (right / 165) ** 2 + (front / 120) ** 2 + 0 * top
    image = np.where(body < 1, _FAT, _AIR)
    image[body < 0.86] = _MUSCLE
    image[body < 0.72] = _FAT
    for side in (-1, 1):
        lung = ((right - 75 * side) / 62) ** 2 + (front / 75) ** 2 + ((top - 150) / 95) ** 2 < 1
        image[lung] = _LUNG
    organs = {name: _ellipsoid(right, front, top, *shape[:3]) for name, shape in _ORGANS.items()}
    for name, (_center, _axes, _tilt, value) in _ORGANS.items():
        image[organs[name]] = value
    labelmap = np.zeros(SHAPE, np.uint8)
    others = np.any([mask for name, mask in organs.items() if name != "liver"], axis=0)
    labelmap[organs["liver"] & ~others] = 1
    for center, radius in _LESIONS:
        inside = _ellipsoid(right, front, top, center, (radius,) * 3, 0) & (labelmap == 1)
        image[inside], labelmap[inside] = _LESION_HU, 2
    noise = np.random.default_rng(seed).normal(0, 12, SHAPE)
    blurred = _smoothed(image) + noise
    return Volume(np.clip(blurred, -1024, 3000).astype(np.int16), affine, "Liver phantom CT", "CT"), labelmap


def _ellipsoid(
    right: npt.NDArray[np.float64],
    front: npt.NDArray[np.float64],
    top: npt.NDArray[np.float64],
    center: tuple[float, ...],
    axes: tuple[float, ...],
    tilt: float,
) -> npt.NDArray[np.bool_]:
    """Mask of an ellipsoid that is tilted in the axial plane."""
    cos, sin = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
    x, y = right - center[0], front - center[1]
    u, v = cos * x + sin * y, cos * y - sin * x
    inside: npt.NDArray[np.bool_] = (u / axes[0]) ** 2 + (v / axes[1]) ** 2 + ((top - center[2]) / axes[2]) ** 2 < 1
    return inside


def _smoothed(image: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """A scanner's blur: a small kernel along each axis."""
    for axis in range(3):
        image = 0.25 * np.roll(image, 1, axis) + 0.5 * image + 0.25 * np.roll(image, -1, axis)
    return image
