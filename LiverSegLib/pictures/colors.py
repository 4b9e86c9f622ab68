"""Colors of segments in pictures, where several lie side by side and must be told apart.

Anatomical colors, which segmentations keep, are hardly meant for that: liver, stomach and kidney share one brown.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from LiverSegLib.labels import Color, Label, by_rank

FAR = 30.0
"""Distance in CIELAB (1976) from which two colors are taken for different at a glance; 2.3 is just noticeable."""
_HUES = 36
_SHADES = ((1.0, 1.0), (0.55, 1.0), (1.0, 0.72), (0.6, 0.75))
_MIXED = [colorsys.hsv_to_rgb(hue / _HUES, *shade) for shade in _SHADES for hue in range(_HUES)]
_CANDIDATES = [(round(255 * r), round(255 * g), round(255 * b)) for r, g, b in _MIXED]
"""Colors that stand out from gray, of all hues."""
# sRGB (D65) to XYZ, relative to white.
_XYZ = np.array([[0.4339, 0.3762, 0.1899], [0.2126, 0.7152, 0.0722], [0.0177, 0.1095, 0.8729]])


def picture_colors(labels: Iterable[Label]) -> dict[str, Color]:
    """A color, 0 to 255, for each label's name.

    Organs that hold lesions, the liver and the lesions have theirs in every picture. Any other label keeps its own
    where that is far from all before it, and otherwise gets the saturated one that is farthest from them: a model's
    labels always look the same.
    """
    chosen: dict[str, Color] = {}
    for label in by_rank(labels):
        taken = list(chosen.values())
        is_apart = _distances([label.color], taken).min(initial=FAR) >= FAR
        farthest = 0 if is_apart else int(_distances(_CANDIDATES, taken).min(axis=1).argmax())
        chosen[label.name] = label.color if is_apart else _CANDIDATES[farthest]
    return chosen


def _distances(some: list[Color], others: list[Color]) -> npt.NDArray[np.float64]:
    """CIELAB distances, [some, others]."""
    difference: npt.NDArray[np.float64] = np.linalg.norm(lab(some)[:, None] - lab(others)[None], axis=-1)
    return difference


def lab(colors: list[Color]) -> npt.NDArray[np.float64]:
    """sRGB, 0 to 255, as CIELAB, [colors, (L, a, b)]."""
    rgb = np.array(colors, dtype=np.float64).reshape(-1, 3) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = linear @ _XYZ.T
    x, y, z = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
