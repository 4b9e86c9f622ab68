"""One random patient: sizes, the surfaces that everything else is fitted to, and how tissues enhance.

The origin is the top of the right diaphragm dome in the midline; +x is the patient's right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator

from LiverSegLib.phantom.space import Array, Grid, Noise, smooth_max

Phase = Literal["native", "arterial", "portal", "delayed"]
PHASES: tuple[Phase, ...] = ("native", "arterial", "portal", "delayed")


@dataclass(frozen=True, kw_only=True)
class Tissue:
    """CT numbers in HU of what takes up contrast medium."""

    liver: float
    spleen: float
    aorta: float
    vena_cava: float
    portal_vein: float
    hepatic_vein: float
    cortex: float
    medulla: float
    pancreas: float
    gut_wall: float
    muscle: float = 55.0
    fat: float = -105.0


# Lowest and highest value per phase, in the order of Tissue's first ten fields.
_RANGES: dict[Phase, tuple[tuple[float, float], ...]] = {
    "native": ((45, 65), (40, 55), (35, 50), (35, 48), (35, 48), (35, 48), (28, 40), (25, 36), (35, 48), (30, 45)),
    "arterial": ((58, 82), (95, 150), (240, 360), (60, 110), (70, 130), (58, 80), (150, 210), (60, 100),
                 (85, 120), (70, 100)),
    "portal": ((90, 125), (100, 130), (135, 180), (130, 170), (140, 180), (135, 175), (155, 200), (145, 195),
               (80, 110), (70, 95)),
    "delayed": ((75, 100), (80, 105), (95, 125), (95, 125), (95, 125), (95, 122), (130, 170), (150, 200),
                (65, 85), (60, 80)),
}  # fmt: skip


def draw_tissue(rng: np.random.Generator, phase: Phase, fatty: bool) -> Tissue:
    """Random HU for a contrast phase; a fatty liver is 10-40 HU without contrast and enhances from there."""
    names = [item.name for item in fields(Tissue)][: len(_RANGES[phase])]
    values = {name: float(rng.uniform(*limits)) for name, limits in zip(names, _RANGES[phase], strict=True)}
    if fatty:
        values["liver"] -= rng.uniform(25, 35)
    return replace(Tissue(**values), muscle=float(rng.uniform(48, 65)), fat=float(rng.uniform(-115, -98)))


def _curve(knots: Mapping[float, float]) -> PchipInterpolator:
    positions = sorted(knots)
    return PchipInterpolator(positions, [knots[p] for p in positions], extrapolate=True)


_WIDTH = _curve({-600: 0.9, -430: 0.9, -350: 0.92, -280: 0.94, -200: 0.96, -100: 1, 0: 1, 90: 0.94, 180: 0.8, 330: 0.5})
_DEPTH = _curve({-600: 0.8, -430: 0.8, -350: 0.86, -280: 0.9, -200: 0.96, -100: 1, 0: 1, 90: 0.93, 180: 0.78, 330: 0.5})


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """Sizes of one patient; lengths in mm.

    Args:
        scale: stretch along x, y, z of everything.
        fat: thickness of the subcutaneous fat at the flanks.
        wall: thickness of the chest and abdominal wall's muscle.
        squareness: exponent of the cavity's super-ellipse; 2 is an ellipse.
        dome: height of the right diaphragm dome over its rim.
        left_dome: top of the left dome under the right one's.
        tip: how far the liver's inferior tip lies under the dome, before scaling.
        reach: how far the left lobe crosses the midline.
        bulk: the liver's volume relative to the room that it has on average.
        spine: y of the vertebral bodies' center.
        ascites: thickness of the fluid between liver and wall, 0 for none.
        bumps: the noise that makes every surface this patient's own.
        stretch: the liver's height relative to its average, found from `bulk`.
    """

    scale: npt.NDArray[np.float64]
    fat: float
    wall: float
    squareness: float
    dome: float
    left_dome: float
    tip: float
    reach: float
    bulk: float
    spine: float
    ascites: float
    bumps: Noise = field(repr=False)
    stretch: float = 1.0

    @classmethod
    def draw(cls, rng: np.random.Generator, *, ascites: bool) -> Anatomy:
        """A random adult."""
        size = rng.uniform(0.92, 1.08)
        scale = size * rng.uniform(0.95, 1.05, 3)
        return cls(
            scale=scale,
            fat=float(5 + 30 * rng.beta(1.4, 2.5)),
            wall=float(rng.uniform(10, 15)),
            squareness=float(rng.uniform(2.15, 2.6)),
            dome=float(rng.uniform(70, 95)),
            left_dome=float(rng.uniform(-30, -8)),
            tip=float(rng.uniform(150, 190)),
            reach=float(rng.uniform(45, 110)),
            bulk=float(np.clip(rng.normal(0.93, 0.09), 0.7, 1.15)),
            spine=float(rng.uniform(-60, -52) * scale[1]),
            ascites=float(rng.uniform(6, 15)) if ascites else 0.0,
            bumps=Noise(rng, 55.0),
        )

    def at(self, x: float, y: float, z: float) -> npt.NDArray[np.float64]:
        """The point (mm) of this patient that lies at x, y, z in the average one."""
        return np.array([x, y, z]) * self.scale

    def cavity(self, grid: Grid) -> Array:
        """Distance (mm) to the inner surface of the chest and abdominal wall, shape of `grid`."""
        x, y, z = grid.coordinates()
        half_x = (132 * self.scale[0] * _WIDTH(z / self.scale[2])).astype(np.float32)
        half_y = (92 * self.scale[1] * _DEPTH(z / self.scale[2])).astype(np.float32)
        power = np.float32(self.squareness)
        norm = (np.abs(x / half_x) ** power + np.abs(y / half_y) ** power) ** (1 / power)
        distance: Array = np.sqrt(x**2 + y**2) * (1 - 1 / np.maximum(norm, 0.05)) + 1.5 * self.bumps(grid)
        return distance

    def diaphragm(self, grid: Grid) -> tuple[Array, Array]:
        """Height (mm) of the diaphragm [x, y], and the factor that turns heights into distances."""
        x, y = grid.x[:, None], grid.y[None]
        sx, sy, sz = self.scale
        domes = []
        for center, reach, top in ((62 * sx, 73 * sx, 0.0), (-64 * sx, 71 * sx, self.left_dome)):
            q = np.sqrt(((x - center) / reach) ** 2 + ((y - 4 * sy) / (88 * sy)) ** 2)
            inner = np.minimum(q, 0.985)
            drop = 1 - np.sqrt(1 - inner**2) + (q - inner) * 6
            domes.append((top - self.dome * drop).astype(np.float32))
        level = Grid(grid.x, grid.y, np.zeros(1, np.float32))
        height = smooth_max(domes[0], domes[1], 22.0) + 4 * self.bumps(level)[:, :, 0]
        floor = ((-100 + 0.5 * y - 30 * (x / 130) ** 2 + 8 * np.sin(y / 19)) * sz).astype(np.float32)
        height = smooth_max(height, floor, 10.0)
        slope = [np.gradient(height, axis, axis=i) if axis.size > 1 else 0 for i, axis in enumerate((grid.x, grid.y))]
        return height, (1 / np.sqrt(1 + slope[0] ** 2 + slope[1] ** 2)).astype(np.float32)

    def visceral_face(self, grid: Grid) -> Array:
        """x (mm) of the liver's visceral face over each y, z: [y, z]. The liver lies to the right of it."""
        low, reach = -self.tip, self.reach
        lower = {-600: 700, low * 1.08: 124, low * 0.86: 70, low * 0.66: -2}
        front = lower | {low * 0.42: -0.75 * reach, low * 0.2: -reach, 60: -reach}
        back = {-600: 700, low: 140, low * 0.82: 106, low * 0.62: 72, low * 0.42: 40, low * 0.2: 20, 60: 8}
        z = grid.z / (self.scale[2] * self.stretch)
        t = np.clip((grid.y / self.scale[1] + 45) / 110, 0, 1)[:, None] ** 0.85
        face = (1 - t) * _curve(back)(z)[None] + t * _curve(front)(z)[None]
        return np.asarray((face - 40 * (self.stretch - 1)) * self.scale[0], np.float32)

    def spine_at(self, z: Array) -> Array:
        """y (mm) of the vertebral bodies' center: lumbar lordosis, thoracic kyphosis."""
        bend = 9 * np.exp(-(((z + 210) / 90) ** 2)) - 9 * np.exp(-(((z - 90) / 90) ** 2))
        return np.asarray(self.spine + bend, np.float32)
