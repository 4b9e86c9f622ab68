"""The liver's shape, fitted to the room that its neighbors leave, and where its vessels and lesions go."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from LiverSegLib.phantom.anatomy import Anatomy
from LiverSegLib.phantom.canvas import Canvas
from LiverSegLib.phantom.space import Array, Box, Grid, smooth_max

Points = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class LiverPlan:
    """What is decided on a coarse grid once, so that it is the same however the patient is scanned.

    Args:
        anatomy: the patient with the liver's final stretch.
        vessel_ends: [2, n, 3] RAS mm, where portal and hepatic veins end.
        lesion_centers: [m, 3] RAS mm.
        lesion_radii: [m] mm.
    """

    anatomy: Anatomy
    vessel_ends: Points
    lesion_centers: Points
    lesion_radii: npt.NDArray[np.float64]


def liver_box(canvas: Canvas) -> Box:
    """Where the liver may be: all of the upper abdomen except the far left."""
    sx, _, sz = canvas.anatomy.scale
    low = -canvas.anatomy.tip * canvas.anatomy.stretch * 1.25
    return canvas.grid.box((-(canvas.anatomy.reach + 50) * sx, -400, low * sz), (400, 400, 30))


def liver_distance(canvas: Canvas, box: Box) -> Array:
    """Distance (mm) to the liver on `box`: right of its visceral face, cut to the room that is free."""
    grid = Grid(canvas.grid.x[box[0]], canvas.grid.y[box[1]], canvas.grid.z[box[2]])
    face = canvas.anatomy.visceral_face(grid)
    slope = [np.gradient(face, axis, axis=i) if axis.size > 1 else 0 for i, axis in enumerate((grid.y, grid.z))]
    steep = np.sqrt(1 + np.square(slope[0]) + np.square(slope[1])).astype(np.float32)
    bumps = canvas.anatomy.bumps(canvas.grid, box)
    distance = (face[None] - grid.x[:, None, None]) / steep[None] + 4 * bumps
    distance = smooth_max(distance, -_fissure(grid, canvas.anatomy, bumps), 5.0)
    limit = np.maximum(canvas.free[box], canvas.shell[box] + canvas.ascites(box))
    return _largest(smooth_max(distance, limit, 8.0))


def _fissure(grid: Grid, anatomy: Anatomy, bumps: Array) -> Array:
    """Fat wedge of the ligamentum teres between the left lobe's segments, open to below and front."""
    x, y, z = grid.coordinates()
    sx, sy, sz = anatomy.scale
    below = np.clip(-(z / sz + 85 * anatomy.stretch) / 40, 0, 1)
    wedge = np.abs(x - 4 * sx - 0.15 * y + 5 * bumps) - 4.5 * below
    floor = np.maximum(z + 85 * anatomy.stretch * sz, 38 * sy - y + 4 * bumps)
    return np.asarray(np.maximum(wedge, floor), np.float32)


def _largest(distance: Array) -> Array:
    """Only the largest connected part of a body."""
    parts, count = ndimage.label(distance < 0)
    if count < 2:
        return distance
    keep = np.bincount(parts.ravel())[1:].argmax() + 1
    return np.where((parts > 0) & (parts != keep), np.abs(distance) + 2, distance).astype(np.float32)


def plan_liver(canvas: Canvas, rng: np.random.Generator, lesions: int, lesion_mm: tuple[float, float]) -> LiverPlan:
    """Stretch the liver to its volume on a coarse canvas and choose where vessels and lesions go.

    Args:
        canvas: coarse, with everything in place that the liver has to respect.
        rng: source of randomness.
        lesions: how many.
        lesion_mm: smallest and largest diameter in mm; every size is as likely as its double.
    """
    base, grid = canvas.anatomy, canvas.grid
    voxel = float(np.prod(grid.spacing)) / 1000
    natural = np.count_nonzero(liver_distance(canvas, liver_box(canvas)) < 0) * voxel
    goal = float(np.clip(natural * base.bulk, 1000, 2200))
    low, high = 0.62, 1.5
    for _ in range(9):
        canvas.anatomy = replace(base, stretch=(low + high) / 2)
        volume = np.count_nonzero(liver_distance(canvas, liver_box(canvas)) < 0) * voxel
        low, high = ((low + high) / 2, high) if volume < goal else (low, (low + high) / 2)
    box = liver_box(canvas)
    distance = liver_distance(canvas, box)
    smallest, largest = (float(np.log(mm / 2)) for mm in lesion_mm)
    radii = np.exp(rng.uniform(smallest, largest, lesions))
    deepest = -float(distance.min())
    centers = [_spots(distance, min(r, 0.8 * deepest) * rng.uniform(0.5, 1), canvas, box, rng, 1) for r in radii]
    ends = np.stack([_spots(distance, 6.0, canvas, box, rng, 80) for _ in range(2)])
    spots = np.array(centers).reshape(-1, 3)
    return LiverPlan(anatomy=canvas.anatomy, vessel_ends=ends, lesion_centers=spots, lesion_radii=radii)


def _spots(distance: Array, depth: float, canvas: Canvas, box: Box, rng: np.random.Generator, count: int) -> Points:
    """`count` random points (mm) at least `depth` mm under the liver's surface."""
    inside = np.argwhere(distance < -min(depth, -0.9 * float(distance.min())))
    chosen = inside[rng.integers(len(inside), size=count)]
    axes = (canvas.grid.x[box[0]], canvas.grid.y[box[1]], canvas.grid.z[box[2]])
    return np.stack([axes[i][chosen[:, i]] for i in range(3)], axis=1).astype(float)
