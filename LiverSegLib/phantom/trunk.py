"""The trunk without bones and organs: skin, fat, muscle, lungs, heart, arms, and the table under it."""

from __future__ import annotations

import numpy as np

from LiverSegLib.phantom.canvas import Canvas
from LiverSegLib.phantom.space import EVERYWHERE, Array, ellipsoid, moved, smooth_max, tube, tube_box, turn

_LUNG, _SKIN = -840.0, 10.0


def paint_wall(canvas: Canvas, cavity: Array) -> Array:
    """Skin, subcutaneous fat, muscle and the fat of the cavity; returns the muscle's outer distance (mm)."""
    anatomy, tissue = canvas.anatomy, canvas.tissue
    x, y, z = canvas.grid.coordinates()
    radius = np.sqrt(x**2 + y**2) + 1
    back, front, side = -y / radius, y / radius, np.abs(x) / radius
    lower = np.clip((-245 - z) / 90, 0, 1)
    thick = anatomy.wall * (0.75 + 0.25 * np.clip(side, 0, 1))
    thick = thick * (1 + 0.2 * anatomy.bumps(canvas.grid)) + 22 * lower * np.clip((back + 0.35) / 0.8, 0, 1)
    behind = np.clip(-y / 60, 0, 1)
    muscle = cavity - thick - 20 * behind * np.exp(-(((np.abs(x) - 32) / 30) ** 4))
    # The skin bridges the groove between the back muscles, with a shallow one of its own.
    outline = cavity - thick - behind * (20 * np.exp(-((x / 62) ** 4)) - 6 * np.exp(-((x / 10) ** 2)))
    fat = anatomy.fat * (1 + 0.12 * anatomy.bumps(canvas.grid)) * (0.75 + 0.35 * np.clip(front - back, 0, 1)) + 3
    skin: Array = outline - fat * (1 + 0.6 * lower)
    canvas.paint(skin, _SKIN)
    canvas.paint(skin + 2.2, tissue.fat + 6 * canvas.grain(canvas.grid))
    grain = canvas.grain(canvas.grid)
    # Fat between and in the muscles: everybody has some, most of it at the back.
    marbling = np.clip(grain - 1.2 + 0.5 * np.clip(back, 0, 1), 0, 1.2) * -45
    canvas.paint(muscle, tissue.muscle + 4 * grain + marbling)
    canvas.paint(np.maximum(np.abs(cavity - 0.52 * thick) - 0.7, muscle + 2) + 60 * (back > 0.6), -40.0)
    linea = np.maximum(np.abs(x) - 4, np.abs(cavity - 5) - 6) + 100 * (y < 0) + 100 * (z > -40)
    canvas.paint(np.broadcast_to(linea, cavity.shape), -20.0)
    canvas.paint(cavity, tissue.fat + 9 * grain)
    return skin


def paint_chest(canvas: Canvas, cavity: Array, above: Array, rng: np.random.Generator) -> None:
    """Lungs with vessels, mediastinal fat, heart; `above` is the distance (mm) to the chest."""
    grid, anatomy, tissue = canvas.grid, canvas.anatomy, canvas.tissue
    x, y, z = grid.coordinates()
    sx, sy, _ = anatomy.scale
    middle = np.sqrt((x / (30 * sx)) ** 2 + ((y - 25 * sy) / (85 * sy)) ** 2) * 30 - 30
    radii = np.array([58, 50, 58]) * anatomy.scale * rng.uniform(0.9, 1.1)
    heart = ellipsoid(grid, EVERYWHERE, anatomy.at(-22, 30, 32), radii, turn(rng, 15))
    lung = np.maximum(smooth_max(above, cavity + 1.5, 5), 4 - np.minimum(middle, heart - 3)).astype(np.float32)
    grain = canvas.grain(grid)
    vessels = np.clip(grain - 1.75, 0, 1) * 700
    canvas.paint(lung, np.float32(_LUNG) + 18 * grain + 0.12 * (-y) + vessels)
    heart = smooth_max(np.maximum(heart, cavity + 4), above + 2, 6)
    canvas.paint(heart, tissue.gut_wall + 12)
    chambers = 4 * anatomy.bumps(grid)
    blood = 0.5 * (tissue.aorta + tissue.vena_cava)
    septum = np.abs((x + 22 * sx) + 0.8 * (y - 30 * sy) + 0.3 * (z - 30)) / 1.3 - 5 - 4 * anatomy.bumps(grid)
    canvas.paint(np.maximum(heart + 7 + 2 * chambers, -septum), blood)


def paint_arms(canvas: Canvas, skin: Array, rng: np.random.Generator) -> None:
    """Both arms beside the trunk, as in patients who cannot lift them."""
    grid, tissue = canvas.grid, canvas.tissue
    half = 132 * canvas.anatomy.scale[0] + canvas.anatomy.wall + canvas.anatomy.fat
    for side in (-1.0, 1.0):
        thick = float(rng.uniform(34, 42))
        x = side * (half + thick + rng.uniform(0, 12))
        elbow = np.array([x, rng.uniform(-45, -15), rng.uniform(-150, -60)])
        line = [moved(elbow, -side * 10, 5, 300), elbow, moved(elbow, -side * 15, 35, -260)]
        box = tube_box(grid, line, thick + 3)
        limb = np.maximum(tube(grid, box, line, [thick * 1.15, thick, thick * 0.75]), -skin[box])
        canvas.paint(limb, _SKIN, box)
        canvas.paint(limb + 2, tissue.fat, box)
        canvas.paint(limb + 5 + 0.3 * canvas.anatomy.fat, tissue.muscle + 6 * canvas.grain(grid, box), box)
        upper, lower = line[:2], [elbow, line[2]]
        shift = np.array([0.0, 11, 0])
        for bone, radius in ((upper, 11.0), ([p + shift for p in lower], 7.5), ([p - shift for p in lower], 7.5)):
            distance = tube(grid, box, bone, [radius, radius])
            canvas.paint(distance, 60.0, box)
            canvas.paint(np.abs(distance + 2) - 2, 1100.0, box)


def paint_table(canvas: Canvas, skin: Array, rng: np.random.Generator) -> None:
    """The table's thin shell under the patient, with foam in it."""
    x, y, _ = canvas.grid.coordinates()
    below = canvas.grid.y[np.any(skin < 0, axis=(0, 2))]
    lowest = float(below[0]) if below.size else 0.0
    surface = lowest - rng.uniform(3, 12) + x**2 * rng.uniform(0.0008, 0.0022)
    depth = surface - y
    inside = np.maximum(-depth, depth - rng.uniform(18, 35)) + 1000 * (np.abs(x) > rng.uniform(195, 230))
    outside = np.maximum(inside, -skin).astype(np.float32)
    canvas.paint(outside, -960.0)
    canvas.paint(np.abs(outside + 1) - 0.8, float(rng.uniform(-300, 100)))
