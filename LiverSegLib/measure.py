"""Numbers from a label map: volumes in mL, lesions with their longest diameter, tumour burden."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class SegmentMeasurement:
    """Size of one segment. The liver's size includes the lesions inside it."""

    name: str
    voxels: int
    volume_ml: float


@dataclass(frozen=True)
class Lesion:
    """One connected lesion.

    Args:
        volume_ml: volume in mL.
        longest_diameter_mm: largest distance between two of its voxels, centre to centre plus one voxel, mm.
        center_ras: centroid in RAS mm.
    """

    volume_ml: float
    longest_diameter_mm: float
    center_ras: tuple[float, float, float]


@dataclass(frozen=True)
class Measurements:
    """All measurements of one case; lesions are sorted by falling volume."""

    segments: tuple[SegmentMeasurement, ...] = ()
    lesions: tuple[Lesion, ...] = ()
    tumor_burden_percent: float | None = None

    def volume_ml(self, name: str) -> float:
        """Volume in mL of the segment called `name`.

        Raises:
            KeyError: no such segment was measured.
        """
        for segment in self.segments:
            if segment.name == name:
                return segment.volume_ml
        raise KeyError(name)


def measure(labelmap: npt.NDArray[np.uint8], affine: npt.NDArray[np.float64], names: Mapping[int, str]) -> Measurements:
    """Measure a label map.

    Args:
        labelmap: uint8 [i, j, k].
        affine: 4x4, voxel index -> RAS mm; the voxel volume is its determinant.
        names: what the values mean; "tumor" counts as part of "liver".

    Returns:
        Volumes in mL of every named label (0 where it is absent), the lesions, and tumour volume in percent
        of liver volume where the model has both.
    """
    counts = _count_values(labelmap)
    voxel_ml = abs(float(np.linalg.det(affine[:3, :3]))) / 1000.0
    values = {name: value for value, name in names.items()}
    segments = []
    for value, name in sorted(names.items()):
        voxels = int(counts[value])
        if name == "liver" and "tumor" in values:
            voxels += int(counts[values["tumor"]])
        segments.append(SegmentMeasurement(name, voxels, voxels * voxel_ml))
    burden = None
    lesions: tuple[Lesion, ...] = ()
    if "tumor" in values:
        lesions = find_lesions(labelmap == values["tumor"], affine)
        whole = next((s.voxels for s in segments if s.name == "liver"), 0)
        burden = 100.0 * int(counts[values["tumor"]]) / whole if whole else None
    return Measurements(tuple(segments), lesions, burden)


def _count_values(labelmap: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """How often each of the values 0 to 255 occurs."""
    flat = labelmap.ravel(order="K")
    counts = np.zeros(256, np.int64)
    for first in range(0, flat.size, 1 << 20):  # in blocks: bincount turns every voxel into eight bytes
        counts += np.bincount(flat[first : first + (1 << 20)], minlength=256)
    return counts


def find_lesions(mask: npt.NDArray[np.bool_], affine: npt.NDArray[np.float64]) -> tuple[Lesion, ...]:
    """The 26-connected parts of a mask [i, j, k] as lesions, largest first; `affine` maps indices to RAS mm."""
    from scipy import ndimage

    if not mask.any():
        return ()
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    parts, count = ndimage.label(mask[box], ndimage.generate_binary_structure(3, 3))
    first = [s.start for s in box]
    voxel_ml = abs(float(np.linalg.det(affine[:3, :3]))) / 1000.0
    lesions = []
    for number, place in enumerate(ndimage.find_objects(parts), start=1):
        voxels = np.argwhere(parts[place] == number) + [s.start for s in place] + first
        points = voxels @ affine[:3, :3].T + affine[:3, 3]
        x, y, z = points.mean(axis=0)
        lesions.append(
            Lesion(len(voxels) * voxel_ml, _longest_diameter(points, affine), (float(x), float(y), float(z)))
        )
    assert len(lesions) == count
    return tuple(sorted(lesions, key=lambda lesion: -lesion.volume_ml))


def _longest_diameter(points: npt.NDArray[np.float64], affine: npt.NDArray[np.float64]) -> float:
    """Largest distance between voxel centres [n, 3] (mm) plus one voxel along that direction."""
    from scipy.spatial import ConvexHull, QhullError, distance

    corners = points
    if len(points) > 50:
        try:  # the farthest pair lies on the convex hull
            corners = points[ConvexHull(points).vertices]
        except QhullError:  # all in one plane: take the outermost along many directions
            angles = np.linspace(0, np.pi, 180, endpoint=False)
            spread = np.linalg.svd(points - points.mean(0), full_matrices=False)[2][:2]
            lines = np.outer(np.cos(angles), spread[0]) + np.outer(np.sin(angles), spread[1])
            at = points @ lines.T
            corners = points[np.unique(np.concatenate([at.argmin(0), at.argmax(0)]))]
    apart = distance.squareform(distance.pdist(corners))
    first, second = np.unravel_index(int(apart.argmax()), apart.shape)
    direction = corners[first] - corners[second]
    length = float(np.linalg.norm(direction))
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if length == 0:
        return float(spacing.max())
    # A lesion of n voxels in a row is n voxels long, not n - 1.
    along = np.abs(np.linalg.inv(affine[:3, :3]) @ (direction / length))
    return length + float(1 / along.max())
