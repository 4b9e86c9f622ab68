"""Branching vessels inside the liver."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from LiverSegLib.phantom.canvas import Canvas
from LiverSegLib.phantom.space import Array, Box, boxed_tube

Points = npt.NDArray[np.float64]


def branch(rng: np.random.Generator, root: Points, ends: Points, tip: float, trunk: float) -> tuple[Points, Points]:
    """Grow a vessel tree from the polyline `root` ([m, 3], mm) to all `ends` ([n, 3], mm).

    Every end joins the nearest point of the tree so far. Radii follow Murray's law (1926,
    doi:10.1073/pnas.12.3.207) with the exponent 2.7: at a fork, r**2.7 is conserved.

    Args:
        rng: source of randomness.
        root: where the tree starts.
        ends: what it supplies.
        tip: radius (mm) of a vessel with one end.
        trunk: largest radius (mm).

    Returns:
        Segments [k, 2, 3] in mm and their radii [k, 2] in mm.
    """
    nodes = [np.asarray(p, float) for p in root]
    parents = list(range(-1, len(nodes) - 1))
    for end in ends[np.argsort(np.linalg.norm(ends - nodes[-1], axis=1))]:
        nearest = int(cKDTree(np.array(nodes)).query(end)[1])
        start, way = nodes[nearest], end - nodes[nearest]
        steps = max(1, int(np.linalg.norm(way) / 9))
        for step in range(1, steps + 1):
            jitter = rng.normal(0, 1.3, 3) if step < steps else 0
            nodes.append(start + way * step / steps + jitter)
            parents.append(nearest if step == 1 else len(nodes) - 2)
    flow = np.full(len(nodes), 0.25)
    for child in range(len(nodes) - 1, 0, -1):
        flow[parents[child]] += flow[child]
    radii = np.minimum(tip * flow ** (1 / 2.7), trunk)
    points = np.array(nodes)
    pairs = np.array([(parents[child], child) for child in range(1, len(nodes))])
    return points[pairs], radii[pairs]


def paint_vessels(canvas: Canvas, liver: Array, box: Box, ends: Points, rng: np.random.Generator) -> None:
    """Portal and hepatic venous trees, from the hilum and from the vena cava.

    Args:
        canvas: painted in place.
        liver: distance (mm) to the liver on `box`; vessels stay within 3 mm of it.
        box: where that is.
        ends: [2, n, 3] RAS mm, ends of the portal and of the hepatic veins.
        rng: source of randomness.
    """
    anatomy, tissue = canvas.anatomy, canvas.tissue
    hilum = [anatomy.at(8, 2, -105), anatomy.at(22, 6, -88), anatomy.at(40, 4, -80)]
    cava = [anatomy.at(20, -24, -35), anatomy.at(28, -14, -28)]
    course = np.empty(canvas.grid.shape, np.float32)
    trees = ((hilum, 1.7, 7.0, tissue.portal_vein), (cava, 1.6, 6.0, tissue.hepatic_vein))
    for (root, tip, trunk, value), goals in zip(trees, ends, strict=True):
        course.fill(99)
        for points, radii in zip(*branch(rng, np.array(root), goals, tip, trunk), strict=True):
            part, segment = boxed_tube(canvas.grid, points, radii.tolist(), float(radii.max()) + 3)
            np.minimum(course[part], segment, out=course[part])
        canvas.paint(np.maximum(course[box], liver - 3), value, box)
