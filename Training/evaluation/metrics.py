"""How well a mask agrees with its reference: overlap, surface distances in mm, volumes.

Conventions: a share of nothing is no number. Where both masks are empty there is nothing to agree on, and every
metric but the volumes is None; such a case enters no mean, or a model that never finds anything would be praised for
every healthy patient. Where only one is empty, the overlaps (Dice, IoU, NSD) are 0 and the distances None, because no
length stands for them; the precision of nothing found and the recall of nothing drawn are None as well. Summaries
count the cases without a value as missing. The surface of a mask are its voxels with a face neighbor outside it, and
what lies beyond the image is outside. Distances run between voxel centers placed by the affine, so they are right
for anisotropic, oblique and sheared grids. Along an axis with one voxel there is no surface: pictures are 2D.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from LiverSegLib.boxes import Box, bounding_box
from LiverSegLib.volume import Volume

Mask = npt.NDArray[np.bool_]
TOLERANCE_MM = 2.0
"""Default tolerance of the normalized surface Dice."""


@dataclass(frozen=True)
class Metric:
    """How a metric is called and shown; `better` is 1 where more is better, -1 where less is, else 0."""

    title: str
    digits: int
    better: int


METRICS = {
    "dice": Metric("Dice", 3, 1),
    "iou": Metric("IoU", 3, 1),
    "nsd": Metric("NSD", 3, 1),
    "hd95_mm": Metric("HD95 (mm)", 1, -1),
    "assd_mm": Metric("ASSD (mm)", 2, -1),
    "precision": Metric("precision", 3, 1),
    "recall": Metric("recall", 3, 1),
    "volume_ml": Metric("volume (mL)", 1, 0),
    "reference_ml": Metric("reference (mL)", 1, 0),
    "volume_error_percent": Metric("volume error (%)", 1, 0),
}
"""The metrics of one label in one case."""


@dataclass(frozen=True, kw_only=True)
class LabelScore:
    """One label of one case.

    dice 2|A∩B| / (|A|+|B|), iou |A∩B| / |A∪B|, precision |A∩B| / |found|, recall |A∩B| / |reference|: in [0, 1].
    nsd: normalized surface Dice, the share of both surfaces that lies within the tolerance of the other (Nikolov
    et al. 2018, arXiv:1809.04430; counted in voxels as MONAI does). hd95_mm: the larger of the two directed 95th
    percentiles of surface distances. assd_mm: mean of all distances from either surface to the other.
    volume_error_percent: 100 (found - reference) / reference; None where the reference is empty.
    What is None where one or both are empty: see above. Everything but volume_ml is None without a reference, and so
    is reference_ml, which is 0 where a person looked and drew nothing.
    """

    label: str
    volume_ml: float
    reference_ml: float | None = None
    volume_error_percent: float | None = None
    dice: float | None = None
    iou: float | None = None
    precision: float | None = None
    recall: float | None = None
    nsd: float | None = None
    hd95_mm: float | None = None
    assd_mm: float | None = None


def dice(a: npt.NDArray[np.generic], b: npt.NDArray[np.generic]) -> float:
    """Dice overlap of two masks of one shape; NaN where both are empty."""
    both = np.count_nonzero(a) + np.count_nonzero(b)
    return 2.0 * np.count_nonzero(np.logical_and(a, b)) / both if both else float("nan")


def label_score(
    label: str, found: Mask, reference: Mask | None, volume: Volume, tolerance_mm: float = TOLERANCE_MM
) -> LabelScore:
    """All metrics of one label.

    Args:
        label: its name.
        found, reference: boolean [i, j, k] on the volume's grid.
        volume: gives the grid; its voxels are not read.
        tolerance_mm: how far apart surfaces may lie that still count as the same, for the nsd.
    """
    n_found = int(np.count_nonzero(found))
    if reference is None:
        return LabelScore(label=label, volume_ml=n_found * volume.voxel_ml)
    n_reference = int(np.count_nonzero(reference))
    both = int(np.count_nonzero(found & reference))
    overlap = LabelScore(
        label=label,
        volume_ml=n_found * volume.voxel_ml,
        reference_ml=n_reference * volume.voxel_ml,
        volume_error_percent=_ratio(100.0 * (n_found - n_reference), n_reference),
        dice=_ratio(2 * both, n_found + n_reference),
        iou=_ratio(both, n_found + n_reference - both),
        precision=_ratio(both, n_found),
        recall=_ratio(both, n_reference),
        nsd=0.0 if n_found or n_reference else None,
    )
    if not n_found or not n_reference:
        return overlap
    box = joint_box(found, reference)
    flat = tuple(size == 1 for size in found.shape)
    there, back = surface_distances(found[box], reference[box], volume.affine, flat)
    near = int((there <= tolerance_mm).sum()) + int((back <= tolerance_mm).sum())
    return replace(
        overlap,
        nsd=near / (there.size + back.size),
        hd95_mm=float(max(np.percentile(there, 95), np.percentile(back, 95))),
        assd_mm=float((there.sum() + back.sum()) / (there.size + back.size)),
    )


def _ratio(part: float, whole: int) -> float | None:
    return part / whole if whole else None


def joint_box(first: Mask, second: Mask) -> Box:
    """The smallest box [i, j, k] around two masks of one shape, of which at least one is not empty."""
    box = bounding_box(first | second)
    assert box is not None
    return box


def surface_distances(
    first: Mask, second: Mask, affine: npt.NDArray[np.float64], flat: tuple[bool, ...] = (False, False, False)
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """From each surface voxel of one mask to the nearest of the other, in mm, and the other way round.

    Args:
        first, second: boolean [i, j, k], neither of them empty.
        affine: 4x4, voxel index -> mm.
        flat: the axes along which the image has one voxel only.

    Returns:
        Distances of the first's surface voxels and of the second's.
    """
    from scipy.spatial import cKDTree

    # Trees over a hundred thousand surface points beat distance maps over millions of voxels, in time and memory.
    points = [np.argwhere(surface(mask, flat)) @ affine[:3, :3].T for mask in (first, second)]
    trees = [cKDTree(p, balanced_tree=False, compact_nodes=False) for p in points]
    return trees[1].query(points[0])[0], trees[0].query(points[1])[0]


def surface(mask: Mask, flat: tuple[bool, ...] = (False, False, False)) -> Mask:
    """The voxels of a mask [i, j, k] with a face neighbor outside it; none is sought along `flat` axes."""
    inside = mask.copy()
    for axis in range(mask.ndim):
        if flat[axis]:
            continue
        view, original = np.moveaxis(inside, axis, 0), np.moveaxis(mask, axis, 0)
        view[1:] &= original[:-1]
        view[:-1] &= original[1:]
        view[0] = view[-1] = False
    return mask & ~inside


def confusion_matrix(
    reference: npt.NDArray[np.uint8], found: npt.NDArray[np.uint8], classes: int
) -> npt.NDArray[np.int64]:
    """Voxels by reference class (rows) and found class (columns), background first.

    Args:
        reference, found: class numbers [i, j, k], all below `classes`.
        classes: labels plus one.
    """
    counts = np.zeros(classes * classes, np.int64)
    for k in range(reference.shape[2]):  # slice by slice: bincount turns every voxel into eight bytes
        pair = reference[..., k].astype(np.intp) * classes + found[..., k]
        counts += np.bincount(pair.ravel(), minlength=classes * classes)
    return counts.reshape(classes, classes)


@dataclass(frozen=True, kw_only=True)
class SetScore:
    """What papers on pictures report, from one confusion matrix.

    pixel_accuracy: share of pixels with the right class, background included.
    f_score: mean over the labels (without background) of 2TP / (2TP + FP + FN).
    miou: mean over the classes, background included, of TP / (TP + FP + FN).
    mpa: mean over the classes, background included, of TP / (TP + FN), the pixel accuracy of each class.
    A class that neither the reference nor the result holds is left out of f_score and miou, one that the reference
    does not hold is left out of mpa (Garcia-Garcia et al. 2017, arXiv:1704.06857). Where no label is anywhere, the
    three means are None: the background alone would make them 1.
    """

    pixel_accuracy: float
    f_score: float | None = None
    miou: float | None = None
    mpa: float | None = None


SET_METRICS = {
    "pixel_accuracy": Metric("pixel accuracy", 3, 1),
    "f_score": Metric("F-score", 3, 1),
    "miou": Metric("mIoU", 3, 1),
    "mpa": Metric("mPA", 3, 1),
}


def set_score(confusion: npt.ArrayLike) -> SetScore:
    """Scores of a confusion matrix [reference, found], of one image or the sum over a set of images."""
    matrix = np.asarray(confusion, np.float64)
    right = np.diag(matrix)
    reference, found = matrix.sum(1), matrix.sum(0)
    union = reference + found - right
    labels = union[1:] > 0
    accuracy = float(right.sum() / matrix.sum())
    if not labels.any():
        return SetScore(pixel_accuracy=accuracy)
    f_scores = 2 * right[1:][labels] / (reference + found)[1:][labels]
    return SetScore(
        pixel_accuracy=accuracy,
        f_score=float(f_scores.mean()),
        miou=float((right[union > 0] / union[union > 0]).mean()),
        mpa=float((right[reference > 0] / reference[reference > 0]).mean()),
    )
