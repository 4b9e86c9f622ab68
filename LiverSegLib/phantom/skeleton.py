"""Bones: spine, ribs, sternum, pelvis."""

from __future__ import annotations

import numpy as np

from LiverSegLib.phantom.canvas import Canvas
from LiverSegLib.phantom.space import Array, Line, boxed_tube, ellipsoid, moved, smooth_max

_MARROW, _CORTEX = 150.0, 560.0


def spine_distance(canvas: Canvas) -> Array:
    """Distance (mm) to the vertebral bodies, discs included."""
    x, y, z = canvas.grid.coordinates()
    sx = np.float32(canvas.anatomy.scale[0])
    wide = 19 + np.clip(-z - 60, 0, 160) * 0.045
    across = np.sqrt((x / (wide * sx)) ** 2 + ((y - canvas.anatomy.spine_at(z)) / (wide * 0.78 * sx)) ** 2)
    return np.asarray(np.maximum((across - 1) * 15 * sx, -262 * canvas.anatomy.scale[2] - z), np.float32)


def paint_spine(canvas: Canvas, bodies: Array, rng: np.random.Generator) -> None:
    """Vertebrae with discs, canal, arches and processes, from the skull side down to the sacrum."""
    x, y, z = canvas.grid.coordinates()
    pitch = np.float32(29 * canvas.anatomy.scale[2])
    phase = (z + rng.uniform(0, 30)) / pitch
    level = (phase - np.floor(phase) - 0.5) * pitch
    density = float(rng.uniform(130, 240))
    spine = canvas.anatomy.spine_at(z)
    back = y - (spine - 27)
    canal = np.sqrt((x / 11) ** 2 + (back / 8.5) ** 2) * 9 - 9
    arch = np.maximum(np.abs(canal - 3) - 3, np.abs(level + 4) - 9)
    pedicle = np.maximum(np.abs(np.abs(x) - 12) - 3.5, np.maximum(np.abs(back - 6) - 8, np.abs(level - 4) - 6))
    spinous = np.maximum(np.abs(x) - 3.2, np.maximum(np.abs(back + 23) - 15, np.abs(level + 7) - 9))
    wing = np.abs(back + 1 + 0.12 * np.abs(x)) - 4
    transverse = np.maximum(wing, np.maximum(np.abs(np.abs(x) - 24) - 13, np.abs(level - 3) - 6))
    bones = np.minimum(np.minimum(arch, pedicle), np.minimum(spinous, transverse))
    # Below the last lumbar vertebra there is the sacrum, which belongs to the pelvis.
    lowest = -258 * canvas.anatomy.scale[2] - z
    bones = smooth_max(np.maximum(bones, lowest).astype(np.float32), -canal, 3)
    canal = np.maximum(canal, lowest - 40)
    canvas.paint(bones, density + 60)
    canvas.paint(np.abs(bones + 0.8) - 0.9, _CORTEX)
    grain = canvas.grain(canvas.grid)
    waist = 1.5 * np.cos(level / pitch * 2 * np.pi)
    canvas.paint(bodies, 85.0)
    vertebra = np.maximum(bodies + waist, np.abs(level) - 0.5 * pitch + 3.5).astype(np.float32)
    canvas.paint(vertebra, density + 45 * grain)
    canvas.paint(np.abs(vertebra + 0.6) - 0.9, _CORTEX - 60)
    canvas.paint(np.broadcast_to(canal + 1, bodies.shape), 22.0)


def paint_ribs(canvas: Canvas, cavity: Array, rng: np.random.Generator) -> None:
    """Ribs as slanted rings in the chest wall, cartilage in front, and the sternum."""
    anatomy = canvas.anatomy
    x, y, z = canvas.grid.coordinates()
    forward = (np.arctan2(y, np.abs(x)) / np.pi + 0.5).astype(np.float32)
    pitch = 25 * anatomy.scale[2]
    phase = (z + (175 + rng.uniform(-15, 15)) * forward + rng.uniform(0, 25)) / pitch
    level = (phase - np.floor(phase) - 0.5) * pitch
    end = np.interp(forward, (0, 0.45, 0.62, 0.85, 1), (-100, -140, -150, -75, -25)).astype(np.float32)
    end *= np.float32(anatomy.scale[2])
    middle = cavity - 0.45 * anatomy.wall
    rib = np.sqrt((level / 6.5) ** 2 + (middle / 3.6) ** 2) * 3.6 - 3.6
    stop = np.maximum(end - z, (forward - 0.94) * 200)
    rib = np.maximum(np.maximum(rib, stop), (0.09 - forward) * 300).astype(np.float32)
    bone = forward < 0.74 + np.clip(z, -100, 100) * 0.0008
    inside = np.where(bone, _MARROW, 95.0).astype(np.float32)
    canvas.paint(rib, inside)
    canvas.paint(np.abs(rib + 0.9) - 1.0 + 50 * ~bone, _CORTEX)
    sternum = np.maximum(np.maximum(np.abs(x) - 15, np.abs(middle) - 5.5), -15 - z).astype(np.float32)
    sternum = sternum + 500 * (y < 0)
    canvas.paint(sternum, 150.0)
    canvas.paint(np.abs(sternum + 0.8) - 1.0, 380.0)


def paint_pelvis(canvas: Canvas, cavity: Array, rng: np.random.Generator) -> None:
    """Iliac wings, sacrum, hip joints, pubis, bladder and thighs, far below the liver."""
    if canvas.grid.z[0] > -225:
        return
    top = -float(rng.uniform(228, 250))
    _paint_thighs(canvas, cavity)
    for side in (-1.0, 1.0):
        _paint_hip(canvas, cavity, side, top)
    sacrum = [np.array([0.0, canvas.anatomy.spine - 4 - 2.2 * k, top - 24 - 12.0 * k]) for k in range(8)]
    _bone(canvas, sacrum, [30.0, 30, 28, 25, 21, 17, 13, 9])
    bladder = np.array([0.0, 18, top - 120])
    box = canvas.grid.box(bladder - 60, bladder + 60)
    radii = np.array([42, 34, 36]) * rng.uniform(0.7, 1.2)
    distance = np.maximum(ellipsoid(canvas.grid, box, bladder, radii, np.eye(3)), cavity[box] + 6)
    canvas.paint(distance - 3, canvas.tissue.gut_wall, box)
    canvas.paint(distance, float(rng.uniform(0, 12)), box)
    canvas.occupy(distance - 4, box)


def _paint_thighs(canvas: Canvas, cavity: Array) -> None:
    """Muscle below the pelvic floor, and the fat between the legs."""
    grid, bumps = canvas.grid, canvas.anatomy.bumps(canvas.grid)
    floor = np.maximum(cavity, grid.z[None, None] + 392 + 8 * bumps)
    canvas.paint(floor, canvas.tissue.muscle + np.clip(canvas.grain(grid) - 1, 0, 1.2) * -45)
    canvas.paint(np.maximum(np.abs(grid.x[:, None, None]) - 7 - 4 * bumps, floor + 20), canvas.tissue.fat)
    canvas.occupy(floor)


def _paint_hip(canvas: Canvas, cavity: Array, side: float, top: float) -> None:
    """One iliac wing between its muscles, hip joint, pubis and femur; `top` is the crest's z (mm)."""
    wing = []
    for k in np.arange(0, 8.5, 0.4):
        back = np.array([side * (42 + 1.5 * k), -62 + 2.0 * k, top - 4 - 13.0 * k])
        out = np.array([side * (126 - 3.2 * k), 28 - 2.0 * k, top - 4 - 13.0 * k])
        bend = (back + out) / 2 + np.array([side * 14, -12, 0])
        _flesh(canvas, [moved(back, 0, -20, 0), moved(bend, side * 16, -14, 0), moved(out, side * 4, -8, 0)], cavity)
        _flesh(canvas, [moved(back, 0, 6, 0), moved(bend, -side * 6, 8, 0), out], cavity)
        wing.append([back, bend, out])
    for k, line in enumerate(wing):
        _bone(canvas, line, [7.0, 3.6 + 0.08 * k, 6.0])
    hip = np.array([side * 92, -2, top - 135])
    _bone(canvas, [moved(hip, 0, 0, 40), moved(hip, 0, -4, 18)], [14.0, 30.0])
    pubis = [moved(hip, -side * 6, 0, 0), moved(hip, -side * 70, 40, -30), moved(hip, -side * 88, 42, -42)]
    _bone(canvas, pubis, [22.0, 7, 9])
    _bone(canvas, [hip, moved(hip, side * 2, 1, 1)], [23.0, 23.0])
    _bone(canvas, [hip, moved(hip, side * 28, -6, -30), moved(hip, side * 12, 4, -150)], [15.0, 17, 14])


def _flesh(canvas: Canvas, points: Line, cavity: Array) -> None:
    """Muscle along the iliac bone."""
    box, distance = boxed_tube(canvas.grid, points, [14.0, 13, 9], 18)
    distance = np.maximum(distance, cavity[box])
    canvas.paint(distance, canvas.tissue.muscle, box)
    canvas.occupy(distance, box)


def _bone(canvas: Canvas, points: Line, radii: list[float]) -> None:
    box, distance = boxed_tube(canvas.grid, points, radii, max(radii) + 3)
    canvas.paint(distance, 170 + 60 * canvas.grain(canvas.grid, box), box)
    canvas.paint(np.abs(distance + 1) - 1.2, _CORTEX, box)
    canvas.occupy(distance - 3, box)
