"""A made-up patient at two times: one liver, lesions that are known, and another place on the table."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from LiverSegLib.followup import TimePoint
from LiverSegLib.labels import labels_for
from LiverSegLib.phantom import make_phantom
from LiverSegLib.volume import Volume

Ball = tuple[npt.NDArray[np.float64], float]
"""Center in RAS mm of the baseline, and radius in mm."""
LABELS = tuple(labels_for({1: "liver", 2: "tumor"}))
SEED = 3


@lru_cache
def liver(spacing: tuple[float, float, float]) -> tuple[Volume, npt.NDArray[np.bool_]]:
    """The scan of a patient without lesions on a grid, and the liver in it."""
    phantom = make_phantom(SEED, spacing=spacing, lesions=0, phase="portal", noise=10.0, fatty=False)
    return phantom.volume, phantom.labelmap > 0


def scan(
    balls: Sequence[Ball],
    name: str,
    *,
    spacing: tuple[float, float, float] = (3.0, 3.0, 3.0),
    moved: npt.NDArray[np.float64] | None = None,
) -> TimePoint:
    """The patient with balls as lesions, moved on the table by a 4x4 matrix of RAS mm."""
    volume, organ = liver(spacing)
    index = np.stack(np.meshgrid(*map(np.arange, organ.shape), indexing="ij"), axis=-1)
    world = index @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    labelmap = organ.astype(np.uint8)
    image = np.array(volume.array)
    for center, radius in balls:
        inside = np.linalg.norm(world - center, axis=-1) <= radius
        labelmap[inside] = 2
        image[inside] = 40
    affine = volume.affine if moved is None else moved @ volume.affine
    return TimePoint(
        labelmap=labelmap, affine=affine, labels=LABELS, name=name, volume=Volume(image, affine, name, "CT")
    )


def places(count: int) -> list[npt.NDArray[np.float64]]:
    """Centers deep in the liver and far from each other, always the same."""
    from scipy import ndimage

    volume, organ = liver((3.0, 3.0, 3.0))
    deep = np.argwhere(ndimage.distance_transform_edt(organ) * 3 > 17)
    world = deep @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    chosen = [world[np.argmin(world[:, 0])]]
    while len(chosen) < count:
        apart = np.min([np.linalg.norm(world - place, axis=-1) for place in chosen], axis=0)
        chosen.append(world[np.argmax(apart)])
    return chosen


def motion(degrees: float, shift: Sequence[float]) -> npt.NDArray[np.float64]:
    """A turn about a slanted axis through the origin and a shift in mm."""
    axis = np.array([0.3, 0.5, 0.8])
    axis /= np.linalg.norm(axis)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    angle = np.deg2rad(degrees)
    matrix = np.eye(4)
    matrix[:3, :3] += np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    matrix[:3, 3] = shift
    return matrix
