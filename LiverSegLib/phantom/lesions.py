"""What is wrong with the patient: lesions in the liver, and a mass beside it."""

from __future__ import annotations

import numpy as np

from LiverSegLib.phantom.canvas import Canvas
from LiverSegLib.phantom.liver import LiverPlan
from LiverSegLib.phantom.space import Array, Box, Noise, ellipsoid, turn


def paint_lesions(canvas: Canvas, liver: Array, plan: LiverPlan, rng: np.random.Generator) -> Array:
    """Paint the planned lesions.

    Args:
        canvas: painted in place.
        liver: distance (mm) to the liver, on all of the grid; lesions do not leave it.
        plan: centers and radii.
        rng: source of randomness.

    Returns:
        Distance (mm) to the nearest lesion, on all of the grid.
    """
    everything = np.full(canvas.grid.shape, 99, np.float32)
    for center, radius in zip(plan.lesion_centers, plan.lesion_radii, strict=True):
        kind = int(rng.choice(5, p=(0.45, 0.12, 0.15, 0.2, 0.08)))
        radii, rotation = radius * rng.uniform(0.75, 1.2, 3), turn(rng, 180)
        rough, tone = Noise(rng, max(6.0, radius * 0.8)), rng.uniform(0, 1, 2)
        box = canvas.grid.box(center - radius * 1.7 - 4, center + radius * 1.7 + 4)
        shape = ellipsoid(canvas.grid, box, center, radii, rotation) + 0.14 * radius * rough(canvas.grid, box)
        shape = np.maximum(shape, liver[box] + 0.5).astype(np.float32)
        _paint_lesion(canvas, shape, box, float(radius), kind, float(tone[0]), float(tone[1]))
        np.minimum(everything[box], shape, out=everything[box])
    return everything


def _paint_lesion(canvas: Canvas, shape: Array, box: Box, radius: float, kind: int, a: float, b: float) -> None:
    """Kinds: hypodense, cyst, hyperdense, ring with necrosis, calcified; `a` and `b` are shades, 0 to 1."""
    liver, grain = canvas.tissue.liver, canvas.grain(canvas.grid, box)
    dark = max(liver - 22 - 38 * a, 5.0)
    if kind == 1:
        canvas.paint(shape, 14 * a, box)
    elif kind == 2:
        canvas.paint(shape, liver + 25 + 30 * a + 5 * grain, box)
    elif kind == 3:
        canvas.paint(shape, liver + 5 + 35 * b, box)
        canvas.paint(shape + max(1.5, 0.25 * radius), dark, box)
    else:
        canvas.paint(shape, dark + 5 * grain, box)
    if kind == 4:
        specks = shape + 0.3 * radius + 2.5 * np.clip(1.2 - grain, 0, 3)
        canvas.paint(specks, 180 + 320 * b, box)


def paint_mass(canvas: Canvas, rng: np.random.Generator) -> None:
    """A solid, cystic or necrotic mass of 60-140 mm; the liver, painted after it, gives way."""
    spots = (canvas.anatomy.at(75, 45, -165), canvas.anatomy.at(-30, 55, -95), canvas.anatomy.at(65, -45, -125))
    center = spots[rng.integers(len(spots))] + rng.uniform(-8, 8, 3)
    radius, kind = float(rng.uniform(34, 64)), int(rng.integers(3))
    radii, rotation = radius * rng.uniform(0.9, 1.1, 3), turn(rng, 180)
    rough, tone = Noise(rng, 0.6 * radius), rng.uniform(0, 1, 3)
    box = canvas.grid.box(center - radius * 1.6, center + radius * 1.6)
    shape = ellipsoid(canvas.grid, box, center, radii, rotation) + 0.07 * radius * rough(canvas.grid, box)
    shape = canvas.fit(shape, box, 1.0)
    tissue, bumps = canvas.tissue, canvas.anatomy.bumps(canvas.grid, box)
    if kind == 0:
        grain = canvas.grain(canvas.grid, box)
        canvas.paint(shape, 0.5 * (tissue.liver + tissue.muscle) + 8 * grain + 9 * bumps, box)
    else:
        canvas.paint(shape, tissue.muscle + 25 * float(tone[0]), box)
        wall = 2 + 2 * tone[1] if kind == 1 else 9 + 6 * bumps
        canvas.paint(shape + np.asarray(wall, np.float32), float(3 + 15 * tone[2] + 12 * (kind == 2)), box)
    canvas.occupy(shape, box)
