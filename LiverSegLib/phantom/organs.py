"""The liver's neighbors: great vessels, kidneys, gallbladder, spleen, pancreas."""

from __future__ import annotations

import numpy as np

from LiverSegLib.phantom.canvas import Canvas
from LiverSegLib.phantom.space import Grid, Line, Noise, boxed_tube, ellipsoid, moved, smooth_max, tube, turn


def paint_great_vessels(canvas: Canvas) -> None:
    """Aorta and vena cava along the spine, and the psoas muscles beside it."""
    anatomy, tissue = canvas.anatomy, canvas.tissue
    heights = (-400, -230, -150, -90, -30, 20, 120, 300)
    spine = dict(zip(heights, anatomy.spine_at(np.array(heights, np.float32)).tolist(), strict=True))
    sx = anatomy.scale[0]
    for side in (-1.0, 1.0):
        line = [np.array([side * x * sx, spine[z] + y, z]) for x, y, z in
                ((27, -6, -90), (38, -6, -150), (48, 2, -230), (82, 40, -400))]  # fmt: skip
        _simple(canvas, line, [6, 14, 20, 16], tissue.muscle + 2, gap=2.0)
    aorta = [np.array([-11 * sx, spine[z] + 32, z]) for z in (300, 120, 20, -30, -90, -150, -230)]
    _simple(canvas, aorta, [12, 12, 12, 11, 10.5, 10, 9], tissue.aorta, gap=2.0)
    for side in (-1.0, 1.0):
        line = [aorta[-1], np.array([side * 30 * sx, spine[-230] + 28, -275]), np.array([side * 70, 42, -400])]
        _simple(canvas, line, [8, 6.5, 6], tissue.aorta, gap=2.0)
    cava = [anatomy.at(14, 0, 35), anatomy.at(15, -22, -8), anatomy.at(19, -27, -45)]
    cava += [np.array([17 * sx, spine[z] + 31, z]) for z in (-90, -150, -230)]
    _simple(canvas, cava, [13, 12, 12, 12, 11, 10], tissue.vena_cava, gap=0.0)


def _simple(canvas: Canvas, line: Line, radii: list[float], value: float, gap: float) -> None:
    """A tube of one tissue that later organs keep `gap` mm off."""
    box, distance = boxed_tube(canvas.grid, line, radii, max(radii) + 6)
    distance = distance + 1.4 * canvas.anatomy.bumps(canvas.grid, box)
    canvas.paint(distance, value, box)
    canvas.occupy(distance - gap, box)


def paint_kidneys(canvas: Canvas, rng: np.random.Generator) -> None:
    """Kidneys with cortex, medulla and sinus in a capsule of fat."""
    grid, tissue = canvas.grid, canvas.tissue
    halo = rng.uniform(2, 9)
    for side, height in ((1.0, -150.0), (-1.0, -132.0)):
        center = canvas.anatomy.at(side * 64, -44, height) + rng.normal(0, 4, 3)
        radii = np.array([26, 29, 54]) * rng.uniform(0.9, 1.1)
        tilt = np.deg2rad(14) * side
        rotation = np.array([[np.cos(tilt), 0, -np.sin(tilt)], [0, 1, 0], [np.sin(tilt), 0, np.cos(tilt)]])
        box = grid.box(center - 75, center + 75)
        rotation, wedges = rotation @ turn(rng, 10), Noise(rng, 9.0)
        kidney = ellipsoid(grid, box, center, radii, rotation)
        hilum = ellipsoid(grid, box, moved(center, -side * 20, 11, 0), (15, 12, 20), np.eye(3))
        kidney = canvas.fit(smooth_max(kidney, -hilum, 8) + 1.2 * canvas.anatomy.bumps(grid, box), box, 3.0)
        grain = canvas.grain(grid, box)
        canvas.paint(kidney, tissue.cortex, box)
        canvas.paint(np.maximum(kidney + 6, 2.5 * (0.1 - wedges(grid, box))), tissue.medulla, box)
        canvas.paint(np.maximum(kidney + 11, 3 * (hilum - 7 + grain)), -60.0, box)
        canvas.occupy(kidney - halo, box)


def paint_gallbladder(canvas: Canvas, rng: np.random.Generator) -> None:
    """Gallbladder in its bed on the visceral face; one patient in seven has none."""
    if rng.uniform() < 0.15:
        return
    level = -canvas.anatomy.tip * canvas.anatomy.stretch * 0.68 * canvas.anatomy.scale[2]
    y = 38 * canvas.anatomy.scale[1]
    spot = Grid(*(np.array([value], np.float32) for value in (0, y, level)))
    x = float(canvas.anatomy.visceral_face(spot)[0, 0]) + rng.uniform(-2, 8)
    line = [np.array([x + 8, y + 16, level - 16]), np.array([x, y, level]), np.array([x - 12, y - 24, level + 18])]
    size = rng.uniform(0.7, 1.15)
    box, distance = boxed_tube(canvas.grid, line, [15 * size, 14 * size, 5 * size], 30)
    distance = canvas.fit(distance + canvas.anatomy.bumps(canvas.grid, box), box, 2.0)
    canvas.paint(distance, canvas.tissue.gut_wall, box)
    canvas.paint(distance + 2, float(rng.uniform(2, 20)), box)
    if rng.uniform() < 0.15:
        stone = tube(canvas.grid, box, [line[0], line[0] + 0.1], [6.0, 6.0])
        canvas.paint(np.maximum(stone, distance + 2), float(rng.uniform(90, 400)), box)
    canvas.occupy(distance, box)


def paint_spleen(canvas: Canvas, rng: np.random.Generator) -> None:
    """Spleen behind and left, under its half of the diaphragm."""
    grid = canvas.grid
    center = canvas.anatomy.at(-98, -46, canvas.anatomy.left_dome - 62) + rng.normal(0, 5, 3)
    radii = np.array([34, 54, 54]) * rng.uniform(0.85, 1.2)
    box = grid.box(center - 95, center + 95)
    turned = np.deg2rad(-28)
    rotation = np.array([[np.cos(turned), -np.sin(turned), 0], [np.sin(turned), np.cos(turned), 0], [0, 0, 1]])
    distance = ellipsoid(grid, box, center, radii, rotation @ turn(rng, 10))
    distance = distance + 3 * canvas.anatomy.bumps(grid, box)
    distance = canvas.fit(np.maximum(distance, canvas.shell[box] + canvas.ascites(box)), box, 1.5, 8.0)
    mottle = 18 if canvas.tissue.aorta > 220 else 3
    value = canvas.tissue.spleen + mottle * Noise(rng, 12.0)(grid, box) + 3 * canvas.grain(grid, box)
    canvas.paint(distance, value, box)
    canvas.occupy(distance, box)


def paint_pancreas(canvas: Canvas, rng: np.random.Generator) -> None:
    """Pancreas from the duodenum to the splenic hilum, with the splenic vein behind it."""
    points = ((38, 4, -128), (22, 14, -118), (-10, 22, -104), (-45, 2, -95), (-78, -22, -86))
    line = [canvas.anatomy.at(*p) + rng.normal(0, 4, 3) for p in points]
    box, distance = boxed_tube(canvas.grid, line, [14, 12, 9, 9, 8], 25)
    distance = canvas.fit(distance + 1.8 * canvas.grain(canvas.grid, box), box, 2.0)
    canvas.paint(distance, canvas.tissue.pancreas + 10 * canvas.grain(canvas.grid, box), box)
    canvas.occupy(distance - 1.0, box)
    vein = [moved(p, 0, -10, 0) for p in line[1:]]
    portal = [canvas.anatomy.at(8, 2, -105), vein[0]]
    for way, radii in ((vein, [5.0, 4.5, 4, 3.5]), (portal, [6.5, 6.5])):
        box, distance = boxed_tube(canvas.grid, way, radii, 9)
        distance = np.maximum(distance, canvas.free[box] - 6)
        canvas.paint(distance, canvas.tissue.portal_vein, box)
        canvas.occupy(distance - 1.0, box)
