"""Numbers from a label map: volumes in mL, shares of an organ, gray values, lesions with diameters, tumor burden."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from LiverSegLib.boxes import bounding_box
from LiverSegLib.labels import LESION, Label, label_for, organs_of_pieces, values_of


@dataclass(frozen=True, kw_only=True)
class SegmentMeasurement:
    """Size and gray value of one segment. An organ's include the lesions inside it.

    Args:
        voxels: number of voxels.
        volume_ml: volume in mL.
        mean_intensity: mean of the image in it, in the image's unit (HU for CT); None where it is not known.
        std_intensity: standard deviation of the image in it, likewise.
        burden_percent: of lesions, their volume in percent of their organ's; None for all else and where there is
            no organ.
        organ_percent: of the pieces that an organ is made of, their volume in percent of the organ's without its
            lesions: those of all pieces are 100 together. None for all else and where the whole organ is not known.
    """

    name: str
    voxels: int
    volume_ml: float
    mean_intensity: float | None = None
    std_intensity: float | None = None
    burden_percent: float | None = None
    organ_percent: float | None = None


@dataclass(frozen=True, kw_only=True)
class Lesion:
    """One connected lesion.

    Args:
        volume_ml: volume in mL.
        longest_diameter_mm: largest distance between two of its voxels, center to center plus one voxel, mm.
        center_ras: centroid in RAS mm.
        mean_intensity: mean of the image in it, in the image's unit (HU for CT); None where it is not known.
        std_intensity: standard deviation of the image in it, likewise.
        name: of its label.
        ends_ras: the two ends of its longest diameter in RAS mm; None where they are not known.
    """

    volume_ml: float
    longest_diameter_mm: float
    center_ras: tuple[float, float, float]
    mean_intensity: float | None = None
    std_intensity: float | None = None
    name: str = LESION
    ends_ras: tuple[tuple[float, float, float], tuple[float, float, float]] | None = None


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """All measurements of one case.

    Args:
        segments: one for each label, in rising order of value.
        lesions: label by label, each by falling volume.
        intensity_unit: unit of the gray values: "HU" for CT, "" where the image has none.
        organs: the whole of each organ that is no label itself but that its pieces make up, lesions included.
    """

    segments: tuple[SegmentMeasurement, ...] = ()
    lesions: tuple[Lesion, ...] = ()
    intensity_unit: str = ""
    organs: tuple[SegmentMeasurement, ...] = ()

    @property
    def tumor_burden_percent(self) -> float | None:
        """Burden of the first lesion label that has an organ; those of others stand in `segments`."""
        return next((s.burden_percent for s in self.segments if s.burden_percent is not None), None)

    @property
    def shared_organ(self) -> str | None:
        """The organ that the segments' `organ_percent` is of; "organ" where they are of several, None without any."""
        organs = {label_for(1, s.name).part_of for s in self.segments if s.organ_percent is not None}
        return "organ" if len(organs) > 1 else next(iter(organs), None)

    def of(self, names: Collection[str]) -> Measurements:
        """What was measured of some labels and whole organs only."""
        return replace(
            self,
            segments=tuple(segment for segment in self.segments if segment.name in names),
            lesions=tuple(lesion for lesion in self.lesions if lesion.name in names),
            organs=tuple(organ for organ in self.organs if organ.name in names),
        )

    def numbered_lesions(self) -> Iterator[tuple[int, Lesion]]:
        """The lesions with their numbers: 1 is the largest of its label."""
        counts: Counter[str] = Counter()
        for lesion in self.lesions:
            counts[lesion.name] += 1
            yield counts[lesion.name], lesion

    def volume_ml(self, name: str) -> float:
        """Volume in mL of the segment or whole organ called `name`.

        Raises:
            KeyError: no such segment or organ was measured.
        """
        return {segment.name: segment.volume_ml for segment in (*self.segments, *self.organs)}[name]


def measure(
    labelmap: npt.NDArray[np.uint8],
    affine: npt.NDArray[np.float64],
    labels: Sequence[Label],
    image: npt.NDArray[Any] | None = None,
    intensity_unit: str = "",
) -> Measurements:
    """Measure a label map.

    Args:
        labelmap: uint8 [i, j, k].
        affine: 4x4, voxel index -> RAS mm; the voxel volume is its determinant.
        labels: what the values mean; a part counts as its organ, too.
        image: the gray values [i, j, k] that it was made of; None leaves those of the segments out.
        intensity_unit: their unit, "HU" for CT.

    Returns:
        Volumes in mL of every label (0 where it is absent) and of every organ of which only the pieces are labels, mean
        and standard deviation of the image in each, the lesions, and where the organ is known the volumes of its
        lesions and of its pieces in percent of it.
    """
    sums = _Sums(labelmap, image)
    box = bounding_box(labelmap) or (slice(0, 0),) * 3
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ [side.start for side in box]
    lesion_values = {label.value for label in labels if label.is_lesion}
    segments = []
    lesions: list[Lesion] = []
    for label in sorted(labels, key=lambda label: label.value):
        measured = sums.of(label.name, values_of(label.name, labels), affine)
        organ = values_of(label.part_of or "", labels)
        if label.is_lesion:
            found = find_lesions(labelmap[box] == label.value, moved, None if image is None else image[box])
            lesions += [replace(lesion, name=label.name) for lesion in found]
            measured = replace(measured, burden_percent=sums.percent(label.value, organ))
        elif label.is_piece:
            healthy = [value for value in organ if value not in lesion_values]
            measured = replace(measured, organ_percent=sums.percent(label.value, healthy))
        segments.append(measured)
    organs = tuple(sums.of(name, values_of(name, labels), affine) for name in organs_of_pieces(labels))
    return Measurements(segments=tuple(segments), lesions=tuple(lesions), intensity_unit=intensity_unit, organs=organs)


def voxel_ml_of(affine: npt.NDArray[np.float64]) -> float:
    """Volume of a voxel in mL: the determinant of the affine."""
    return abs(float(np.linalg.det(affine[:3, :3]))) / 1000.0


class _Sums:
    """Voxels of each label and sums of the image over it, from which follow the numbers of any joined labels.

    Args:
        labelmap: uint8 [i, j, k].
        image: gray values [i, j, k], or None. Voxels that are not finite are left out.
    """

    def __init__(self, labelmap: npt.NDArray[np.uint8], image: npt.NDArray[Any] | None) -> None:
        self.voxels = np.zeros(256, np.int64)
        self._sums = np.zeros((3, 256))
        self._shift: float | None = None
        for k in range(labelmap.shape[2]):  # a slice at a time: no copy of a large volume
            inside = labelmap[:, :, k] > 0
            if inside.any():
                labels = labelmap[:, :, k][inside]
                self.voxels += np.bincount(labels, minlength=256)
                if image is not None:
                    self._add(labels, image[:, :, k][inside].astype(np.float64))

    def of(self, name: str, values: Sequence[int], affine: npt.NDArray[np.float64]) -> SegmentMeasurement:
        """Size and gray value of the label or organ `name`, whose voxels have these values."""
        voxels = int(self.voxels[list(values)].sum())
        mean, std = self.gray_of(list(values))
        volume = voxels * voxel_ml_of(affine)
        return SegmentMeasurement(name=name, voxels=voxels, volume_ml=volume, mean_intensity=mean, std_intensity=std)

    def percent(self, value: int, whole: Sequence[int]) -> float | None:
        """Voxels of one value in percent of those of several; None where these have none."""
        count = int(self.voxels[list(whole)].sum())
        return 100.0 * int(self.voxels[value]) / count if count else None

    def gray_of(self, labels: list[int]) -> tuple[float | None, float | None]:
        """Mean and standard deviation over all voxels of some labels; None where there are none."""
        count, total, squares = self._sums[:, labels].sum(axis=1)
        if not count or self._shift is None:
            return None, None
        mean = total / count
        return float(mean + self._shift), float(np.sqrt(max(squares / count - mean**2, 0.0)))

    def _add(self, labels: npt.NDArray[np.uint8], gray: npt.NDArray[np.float64]) -> None:
        finite = np.isfinite(gray)
        labels, gray = labels[finite], gray[finite]
        if not gray.size:
            return
        if self._shift is None:  # squares of values far from zero would lose the digits of the deviation
            self._shift = float(gray[0])
        gray -= self._shift
        for row, weights in enumerate((None, gray, gray * gray)):
            self._sums[row] += np.bincount(labels, weights, minlength=256)


def find_lesions(
    mask: npt.NDArray[np.bool_], affine: npt.NDArray[np.float64], image: npt.NDArray[Any] | None = None
) -> tuple[Lesion, ...]:
    """The 26-connected parts of a mask [i, j, k] as lesions, largest first.

    Args:
        mask: boolean [i, j, k].
        affine: 4x4, voxel index -> RAS mm.
        image: gray values [i, j, k] to measure in each lesion, or None.
    """
    from scipy import ndimage

    box = bounding_box(mask)
    if box is None:
        return ()
    parts, _ = ndimage.label(mask[box], ndimage.generate_binary_structure(3, 3))
    lesions = []
    for number, place in enumerate(ndimage.find_objects(parts), start=1):
        lesion = parts[place] == number
        first = np.array([inner.start + outer.start for inner, outer in zip(place, box, strict=True)])
        x, y, z = affine[:3, :3] @ (_middle(lesion) + first) + affine[:3, 3]
        mean, std = _gray_of(None if image is None else image[box][place], lesion)
        points = (_ends(lesion) + first) @ affine[:3, :3].T + affine[:3, 3]
        first_end, second_end = longest_diameter(points, affine)
        lesions.append(
            Lesion(
                volume_ml=int(np.count_nonzero(lesion)) * voxel_ml_of(affine),
                longest_diameter_mm=float(np.linalg.norm(first_end - second_end)),
                center_ras=(float(x), float(y), float(z)),
                mean_intensity=mean,
                std_intensity=std,
                ends_ras=(_point(first_end), _point(second_end)),
            )
        )
    return tuple(sorted(lesions, key=lambda lesion: -lesion.volume_ml))


def _middle(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """The centroid of a mask [i, j, k] as a fractional index."""
    counts = (np.count_nonzero(mask, axis=others) for others in ((1, 2), (0, 2), (0, 1)))
    return np.array([np.average(np.arange(count.size), weights=count) for count in counts])


def _ends(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """The first and the last voxel [n, 3] of each row along i: whatever is farthest from something is among them."""
    j, k = np.nonzero(mask.any(axis=0))
    rows = mask[:, j, k]
    first, last = rows.argmax(axis=0), len(mask) - 1 - rows[::-1].argmax(axis=0)
    return np.unique(np.concatenate([np.stack([i, j, k], axis=1) for i in (first, last)]), axis=0)


def _gray_of(image: npt.NDArray[Any] | None, mask: npt.NDArray[np.bool_]) -> tuple[float | None, float | None]:
    """Mean and standard deviation of an image in a mask of its shape; None without an image."""
    if image is None:
        return None, None
    gray = image[mask].astype(np.float64)
    gray = gray[np.isfinite(gray)]
    return (float(gray.mean()), float(gray.std())) if gray.size else (None, None)


def _point(found: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = found
    return float(x), float(y), float(z)


def longest_diameter(
    points: npt.NDArray[np.float64], affine: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The two ends of the largest distance between voxel centers, half a voxel farther out on both sides, in mm.

    Args:
        points: voxel centers [n, 3] in mm.
        affine: 4x4, voxel index -> mm.
    """
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
    line = corners[first] - corners[second]
    length = float(np.linalg.norm(line))
    if length == 0:  # one voxel: its longest side
        longest = affine[:3, int(np.linalg.norm(affine[:3, :3], axis=0).argmax())] / 2
        return points[0] + longest, points[0] - longest
    # A lesion of n voxels in a row is n voxels long, not n - 1.
    along = np.abs(np.linalg.inv(affine[:3, :3]) @ (line / length))
    half = line / length / along.max() / 2
    return corners[first] + half, corners[second] - half
