"""The drawing board: a grid in patient millimeters, smooth noise, soft edges and distance functions.

All coordinates are RAS millimeters (x to the right, y to the front, z to the head). A distance is negative
inside a body and positive outside of it, so bodies are cut and joined with `smooth_max` and `np.minimum`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Field = npt.NDArray[np.floating]  # distances while they are being computed
Box = tuple[slice, slice, slice]
Point = Sequence[float] | npt.NDArray[np.floating]
Line = Sequence[Point] | npt.NDArray[np.floating]  # a chain of points, [n, 3]

# Where noise lives; the same for every grid, so that the anatomy does not depend on the sampling.
DOMAIN = ((-260.0, 260.0), (-220.0, 220.0), (-560.0, 320.0))
EVERYWHERE: Box = (slice(None), slice(None), slice(None))


@dataclass(frozen=True)
class Grid:
    """Voxel centers of an axis-aligned RAS grid.

    Args:
        x, y, z: rising, equidistant coordinates in mm, one per plane.
    """

    x: Array
    y: Array
    z: Array

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along x, y, z."""
        return self.x.size, self.y.size, self.z.size

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel distances along x, y, z in mm."""
        steps = [float(axis[1] - axis[0]) if axis.size > 1 else 1.0 for axis in (self.x, self.y, self.z)]
        return steps[0], steps[1], steps[2]

    @property
    def affine(self) -> npt.NDArray[np.float64]:
        """4x4, voxel index -> RAS mm."""
        matrix = np.diag([*self.spacing, 1.0])
        matrix[:3, 3] = self.x[0], self.y[0], self.z[0]
        return matrix

    def box(self, low: Point, high: Point) -> Box:
        """Slices of the voxels between the corners `low` and `high` (mm).

        They may be empty: whatever is computed and painted there has no voxels then.
        """
        axes = zip((self.x, self.y, self.z), low, high, strict=True)
        x, y, z = (slice(*map(int, np.searchsorted(axis, ends))) for axis, *ends in axes)
        return x, y, z

    def coordinates(self, box: Box = EVERYWHERE) -> tuple[Array, Array, Array]:
        """x, y, z of the voxels in `box`, shaped so that they broadcast to its shape."""
        return self.x[box[0], None, None], self.y[None, box[1], None], self.z[None, None, box[2]]

    def cover(self, distance: Field) -> Array:
        """Share of each voxel inside of the body (0 to 1): the partial volume at its surface."""
        fades_over = np.float32(np.mean(self.spacing))  # mm; about one voxel
        share: Array = np.clip(0.5 - distance.astype(np.float32, copy=False) / fades_over, 0, 1)
        return share


class Noise:
    """Smooth random field with mean 0 and standard deviation 1, defined on all of the patient.

    Args:
        rng: source of randomness.
        wavelength: distance in mm of the cubic B-spline's knots.
    """

    def __init__(self, rng: np.random.Generator, wavelength: float) -> None:
        self._step = wavelength
        size = [int((high - low) / wavelength) + 5 for low, high in DOMAIN]
        # A cubic B-spline keeps 0.479 of white noise's variance along every axis.
        self._knots = rng.standard_normal(size, dtype=np.float32) / np.float32(0.479**1.5)

    def __call__(self, grid: Grid, box: Box = EVERYWHERE) -> Array:
        """Values at the voxels of `box`."""
        axes = zip(grid.coordinates(box), DOMAIN, self._knots.shape, strict=True)
        near, weights = zip(*(self._weights(at.ravel(), low, knots) for at, (low, _), knots in axes), strict=True)
        values = self._knots[near]
        for axis in range(3):
            values = np.moveaxis(np.tensordot(weights[axis], values, axes=(1, axis)), 0, axis)
        return np.ascontiguousarray(values)

    def _weights(self, coordinates: Array, low: float, knots: int) -> tuple[slice, Array]:
        """The knots that matter and a dense [coordinate, knot] matrix of their B-spline weights."""
        at = np.clip((coordinates - low) / self._step + 1, 1, knots - 3)
        first, last = (int(at.min()) - 1, int(at.max()) + 3) if at.size else (0, 1)
        t = np.abs(at[:, None] - np.arange(first, last)[None])
        near, far = 2 / 3 - t**2 + t**3 / 2, np.clip(2 - t, 0, None) ** 3 / 6
        return slice(first, last), np.where(t < 1, near, far).astype(np.float32)


def even_axis(first: float, step: float, count: int) -> Array:
    """`count` coordinates (mm) from `first` on, `step` apart."""
    return (first + step * np.arange(count)).astype(np.float32)


def smooth_max(a: Array, b: Array, rounding: float) -> Array:
    """max(a, b) with the crease rounded over `rounding` mm: the intersection of two bodies."""
    overlap = np.clip(1 - np.abs(a - b) / np.float32(rounding), 0, None)
    joined: Array = np.maximum(a, b) + np.float32(rounding / 4) * overlap**2
    return joined


def ellipsoid(grid: Grid, box: Box, center: Point, radii: Point, rotation: npt.NDArray[np.floating]) -> Array:
    """Approximate distance to an ellipsoid whose axes are the columns of `rotation` (3x3)."""
    x, y, z = grid.coordinates(box)
    offset = (x - np.float32(center[0]), y - np.float32(center[1]), z - np.float32(center[2]))
    total: Array = np.zeros((1, 1, 1), np.float32)
    for axis, radius in enumerate(radii):
        across = sum(offset[i] * np.float32(rotation[i, axis] / radius) for i in range(3))
        total = total + np.square(across)
    return ((np.sqrt(total) - 1) * np.float32(min(radii))).astype(np.float32)


def tube(grid: Grid, box: Box, points: Line, radii: Sequence[float]) -> Array:
    """Distance to a chain of round cones through two or more `points` ([n, 3], mm) with the given radii (mm)."""
    x, y, z = grid.coordinates(box)
    line = np.asarray(points, np.float32)
    nearest: Array = np.full((1, 1, 1), np.inf, np.float32)
    for start, stop, first, last in zip(line[:-1], line[1:], radii[:-1], radii[1:], strict=True):
        way = stop - start
        length = max(float(way @ way), 1e-6)
        dx, dy, dz = x - start[0], y - start[1], z - start[2]
        t = np.clip((dx * way[0] + dy * way[1] + dz * way[2]) / np.float32(length), 0, 1)
        away = np.sqrt((dx - t * way[0]) ** 2 + (dy - t * way[1]) ** 2 + (dz - t * way[2]) ** 2)
        nearest = np.minimum(nearest, away - (np.float32(first) + t * np.float32(last - first)))
    return nearest


def tube_box(grid: Grid, points: Line, margin: float) -> Box:
    """Box around a chain of points with `margin` mm on every side."""
    line = np.asarray(points, float)
    return grid.box(line.min(axis=0) - margin, line.max(axis=0) + margin)


def boxed_tube(grid: Grid, points: Line, radii: Sequence[float], margin: float) -> tuple[Box, Array]:
    """The `tube_box` of a chain of points and the distance to the `tube` in it."""
    box = tube_box(grid, points, margin)
    return box, tube(grid, box, points, radii)


def moved(point: Point, x: float, y: float, z: float) -> npt.NDArray[np.float64]:
    """The point x, y, z mm further on."""
    place: npt.NDArray[np.float64] = np.asarray(point, np.float64) + np.array([x, y, z])
    return place


def turn(rng: np.random.Generator, degrees: float) -> npt.NDArray[np.float64]:
    """3x3 rotation about a random axis by up to `degrees`."""
    axis = rng.standard_normal(3)
    axis /= np.linalg.norm(axis)
    angle = np.deg2rad(rng.uniform(-degrees, degrees))
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    rotation: npt.NDArray[np.float64] = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return rotation
