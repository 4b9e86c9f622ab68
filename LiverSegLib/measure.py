"""Numbers from a label map: volumes in mL, grey values, lesions with their longest diameter, tumour burden."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class SegmentMeasurement:
    """Size and grey value of one segment. The liver's include the lesions inside it.

    Args:
        voxels: number of voxels.
        volume_ml: volume in mL.
        mean_intensity: mean of the image in it, in the image's unit (HU for CT); None where it is not known.
        std_intensity: standard deviation of the image in it, likewise.
    """

    name: str
    voxels: int
    volume_ml: float
    mean_intensity: float | None = field(default=None, kw_only=True)
    std_intensity: float | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class Lesion:
    """One connected lesion.

    Args:
        volume_ml: volume in mL.
        longest_diameter_mm: largest distance between two of its voxels, centre to centre plus one voxel, mm.
        center_ras: centroid in RAS mm.
        mean_intensity: mean of the image in it, in the image's unit (HU for CT); None where it is not known.
        std_intensity: standard deviation of the image in it, likewise.
    """

    volume_ml: float
    longest_diameter_mm: float
    center_ras: tuple[float, float, float]
    mean_intensity: float | None = field(default=None, kw_only=True)
    std_intensity: float | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class Measurements:
    """All measurements of one case; lesions are sorted by falling volume.

    Args:
        intensity_unit: unit of the grey values: "HU" for CT, "" where the image has none.
    """

    segments: tuple[SegmentMeasurement, ...] = ()
    lesions: tuple[Lesion, ...] = ()
    tumor_burden_percent: float | None = None
    intensity_unit: str = field(default="", kw_only=True)

    def volume_ml(self, name: str) -> float:
        """Volume in mL of the segment called `name`.

        Raises:
            KeyError: no such segment was measured.
        """
        for segment in self.segments:
            if segment.name == name:
                return segment.volume_ml
        raise KeyError(name)


def measure(
    labelmap: npt.NDArray[np.uint8],
    affine: npt.NDArray[np.float64],
    names: Mapping[int, str],
    image: npt.NDArray[Any] | None = None,
    intensity_unit: str = "",
) -> Measurements:
    """Measure a label map.

    Args:
        labelmap: uint8 [i, j, k].
        affine: 4x4, voxel index -> RAS mm; the voxel volume is its determinant.
        names: what the values mean; "tumor" counts as part of "liver".
        image: the grey values [i, j, k] that it was made of; None leaves those of the segments out.
        intensity_unit: their unit, "HU" for CT.

    Returns:
        Volumes in mL of every named label (0 where it is absent), mean and standard deviation of the image in
        each, the lesions, and tumour volume in percent of liver volume where the model has both.
    """
    counts = _count_values(labelmap)
    grey = _GreySums(labelmap, image)
    voxel_ml = abs(float(np.linalg.det(affine[:3, :3]))) / 1000.0
    values = {name: value for value, name in names.items()}
    segments = []
    for value, name in sorted(names.items()):
        parts = [value, values["tumor"]] if name == "liver" and "tumor" in values else [value]
        voxels = int(counts[parts].sum())
        mean, std = grey.of(parts)
        segments.append(SegmentMeasurement(name, voxels, voxels * voxel_ml, mean_intensity=mean, std_intensity=std))
    burden = None
    lesions: tuple[Lesion, ...] = ()
    if "tumor" in values:
        lesions = find_lesions(labelmap == values["tumor"], affine, image)
        whole = next((s.voxels for s in segments if s.name == "liver"), 0)
        burden = 100.0 * int(counts[values["tumor"]]) / whole if whole else None
    return Measurements(tuple(segments), lesions, burden, intensity_unit=intensity_unit)


class _GreySums:
    """Sums of the image over each label, from which means and deviations of any joined labels follow.

    Args:
        labelmap: uint8 [i, j, k].
        image: grey values [i, j, k], or None. Voxels that are not finite are left out.
    """

    def __init__(self, labelmap: npt.NDArray[np.uint8], image: npt.NDArray[Any] | None) -> None:
        self._sums = np.zeros((3, 256))
        self._shift: float | None = None
        if image is None:
            return
        for k in range(labelmap.shape[2]):  # a slice at a time: no copy of a large volume
            labels = labelmap[:, :, k]
            if labels.any():
                inside = labels > 0
                self._add(labels[inside], image[:, :, k][inside].astype(np.float64))

    def of(self, labels: list[int]) -> tuple[float | None, float | None]:
        """Mean and standard deviation over all voxels of some labels; None where there are none."""
        count, total, squares = self._sums[:, labels].sum(axis=1)
        if not count or self._shift is None:
            return None, None
        mean = total / count
        return float(mean + self._shift), float(np.sqrt(max(squares / count - mean**2, 0.0)))

    def _add(self, labels: npt.NDArray[np.uint8], grey: npt.NDArray[np.float64]) -> None:
        finite = np.isfinite(grey)
        if not finite.all():
            labels, grey = labels[finite], grey[finite]
        if not grey.size:
            return
        if self._shift is None:  # squares of values far from zero would lose the digits of the deviation
            self._shift = float(grey[0])
        grey -= self._shift
        for row, weights in enumerate((None, grey, grey * grey)):
            self._sums[row] += np.bincount(labels, weights, minlength=256)


def _count_values(labelmap: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """How often each of the values 0 to 255 occurs."""
    flat = labelmap.ravel(order="K")
    counts = np.zeros(256, np.int64)
    for first in range(0, flat.size, 1 << 20):  # in blocks: bincount turns every voxel into eight bytes
        counts += np.bincount(flat[first : first + (1 << 20)], minlength=256)
    return counts


def find_lesions(
    mask: npt.NDArray[np.bool_], affine: npt.NDArray[np.float64], image: npt.NDArray[Any] | None = None
) -> tuple[Lesion, ...]:
    """The 26-connected parts of a mask [i, j, k] as lesions, largest first.

    Args:
        mask: boolean [i, j, k].
        affine: 4x4, voxel index -> RAS mm.
        image: grey values [i, j, k] to measure in each lesion, or None.
    """
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
        mean, std = _grey_of(image, voxels)
        lesions.append(
            Lesion(
                len(voxels) * voxel_ml,
                _longest_diameter(points, affine),
                (float(x), float(y), float(z)),
                mean_intensity=mean,
                std_intensity=std,
            )
        )
    assert len(lesions) == count
    return tuple(sorted(lesions, key=lambda lesion: -lesion.volume_ml))


def _grey_of(image: npt.NDArray[Any] | None, voxels: npt.NDArray[np.int64]) -> tuple[float | None, float | None]:
    """Mean and standard deviation of an image at voxel indices [n, 3]; None without an image."""
    if image is None:
        return None, None
    grey = image[tuple(voxels.T)].astype(np.float64)
    grey = grey[np.isfinite(grey)]
    return (float(grey.mean()), float(grey.std())) if grey.size else (None, None)


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
