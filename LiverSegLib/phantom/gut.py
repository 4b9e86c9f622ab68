"""Stomach, colon and small bowel with what is in them."""

from __future__ import annotations

import numpy as np

from LiverSegLib.phantom.canvas import Canvas
from LiverSegLib.phantom.space import Array, Line, boxed_tube

Radii = list[float]
Random = np.random.Generator
Odds = tuple[float, float, float, float]
"""Of what a piece is filled with: gas over fluid, fluid, oral contrast, feces."""
_COLON: Odds = (0.2, 0.05, 0.1, 0.65)


def paint_stomach(canvas: Canvas, rng: Random) -> None:
    """Stomach from the left dome to the duodenum, with gas over fluid and sometimes oral contrast."""
    low = float(rng.uniform(-20, 12))
    body = ((-66, -24, canvas.anatomy.left_dome - 30), (-72, 14, -72), (-52, 42, -108 + low), (-10, 50, -128 + low))
    duodenum = ((30, 34, -122), (46, 14, -132), (42, 2, -172), (5, -6, -180))
    size = rng.uniform(0.8, 1.25)
    radii = [46 * size, 38 * size, 28 * size, 20 * size, 11, 12, 12, 11]
    line = [canvas.anatomy.at(*p) for p in (*body, *duodenum)]
    gap = float(rng.uniform(0.5, 3))
    _gut(canvas, line, radii, rng, gap=gap, wall=3.5, kinds=(0.55, 0.3, 0.15, 0.0))


def paint_colon(canvas: Canvas, rng: Random) -> None:
    """Ascending, transverse and descending colon with gas and feces."""
    sag, flexure = rng.uniform(-215, -160), rng.uniform(-100, -55)
    right = ((88, 10, -300), (98, 0, -250), (100, 0, -215), (80, 40, -172))
    across = ((40, 62, sag + 5), (-20, 68, sag), (-70, 58, sag + 25), (-88, 42, flexure))
    left = ((-106, 10, flexure - 12), (-112, -26, -150), (-110, -20, -230), (-100, -2, -300))
    points = (*right, *across, *left, (-60, 10, -345), (-20, -10, -360), (0, -45, -380))
    line = [canvas.anatomy.at(*p) + rng.normal(0, 5, 3) for p in points]
    size = rng.uniform(0.8, 1.2)
    fine = np.linspace(0, len(line) - 1, 4 * len(line))
    way = [np.array([np.interp(f, range(len(line)), [p[i] for p in line]) for i in range(3)]) for f in fine]
    radii = [float(size * rng.uniform(15, 23)) for _ in way]
    parts = [slice(first, first + 7) for first in range(0, len(way) - 1, 6)]
    for part in parts:
        _gut(canvas, way[part], radii[part], rng, gap=1.5, wall=2.5, kinds=_COLON, occupy=False)
    for part in parts:
        box, distance = boxed_tube(canvas.grid, way[part], radii[part], 30)
        canvas.occupy(distance - 1.0, box)


def paint_small_bowel(canvas: Canvas, rng: Random) -> None:
    """Loops of small bowel wherever there is room, then mesenteric vessels in the fat between them."""
    oral = bool(rng.uniform() < 0.3)
    for _ in range(125):
        point = canvas.anatomy.at(rng.uniform(-90, 85), rng.uniform(-25, 70), rng.uniform(-370, -110))
        way = [point]
        heading = rng.normal(0, 1, 3) * (1, 0.6, 0.7)
        for _step in range(5):
            heading = heading / np.linalg.norm(heading) + rng.normal(0, 0.5, 3)
            way.append(way[-1] + 15 * heading / np.linalg.norm(heading))
        radii = [float(r) for r in rng.uniform(9, 14, len(way))]
        kinds = (0.1, 0.1, 0.8, 0.0) if oral else (0.12, 0.83, 0.0, 0.05)
        _gut(canvas, way, radii, rng, gap=1.0, wall=2.2, kinds=kinds)
    for _ in range(60):
        depth = rng.uniform(-290, -125)
        root = canvas.anatomy.at(0.03 * (depth + 125), 8, depth)
        end = canvas.anatomy.at(rng.uniform(-95, 95), rng.uniform(-5, 70), depth + rng.uniform(-60, 20))
        way = [root, (root + end) / 2 + rng.normal(0, 10, 3), end]
        box, distance = boxed_tube(canvas.grid, way, [3.4, 2.4, 1.1], 6)
        distance = np.maximum(distance, canvas.free[box] + 1)
        canvas.paint(distance, canvas.tissue.portal_vein - 10, box)


def _gut(
    canvas: Canvas, line: Line, radii: Radii, rng: Random, *, gap: float, wall: float, kinds: Odds, occupy: bool = True
) -> None:
    """A piece of gut with one content, drawn by the odds in `kinds`, and a wall of `wall` mm."""
    kind = int(rng.choice(4, p=np.array(kinds) / sum(kinds)))
    level, fluid = float(rng.uniform(-0.3, 0.6)), float(rng.uniform(5, 35))
    bright = float(rng.uniform(150, 450))
    box, distance = boxed_tube(canvas.grid, line, radii, max(radii) + 5)
    distance = canvas.fit(distance + 1.5 * canvas.anatomy.bumps(canvas.grid, box), box, gap)
    if distance.min(initial=0) > -4:
        return
    grain = canvas.grain(canvas.grid, box)
    _, y, _ = canvas.grid.coordinates(box)
    heights = np.array(line)[:, 1]
    surface = float(heights.mean() + level * (np.ptp(heights) / 2 + max(radii)))
    content: Array | float = bright if kind == 2 else fluid
    if kind == 3:
        content = np.clip(-20 + 170 * np.minimum(grain, 0.4), -850, 90).astype(np.float32)
    canvas.paint(distance, canvas.tissue.gut_wall, box)
    canvas.paint(distance + wall, content, box)
    if kind in (0, 3):
        gas = np.maximum(distance + wall + 0.5, surface + (0 if kind == 0 else 8) - y).astype(np.float32)
        canvas.paint(gas, -950.0, box)
    if occupy:
        canvas.occupy(distance, box)
