"""Lesion by lesion: which were found, which were made up.

Lesions are connected parts (26 neighbours in 3D, 8 in a picture). A reference lesion is found if at least
`OVERLAP` of its voxels are marked; a marked lesion is a false one if less than `OVERLAP` of it lies in reference
lesions. This way one blob over two lesions finds both, and a lesion marked in two parts counts once (compare the
lesion-wise scores of LiTS, Bilic et al. 2023, arXiv:1901.04056).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from LiverSegLib.measure import find_lesions
from Training.metrics import Mask, joint_box

OVERLAP = 0.1


@dataclass(frozen=True)
class LesionMatch:
    """One lesion: longest diameter in mm, volume in mL, and whether the other side has it too."""

    longest_diameter_mm: float
    volume_ml: float
    matched: bool


@dataclass(frozen=True)
class LesionScore:
    """The lesions of one case, or of all, largest first.

    Precision is the share of the marked lesions that are real, recall the share of the real ones that are found,
    f1 their harmonic mean. Without any lesion on either side all are 1. Without a reference lesion, recall is None;
    without a marked one, precision is None; f1 is 0 in both.
    """

    reference: tuple[LesionMatch, ...] = ()
    marked: tuple[LesionMatch, ...] = ()

    @property
    def precision(self) -> float | None:
        """Share of the marked lesions that lie on a reference lesion."""
        return _share(self.marked, self.reference)

    @property
    def recall(self) -> float | None:
        """Share of the reference lesions that are found."""
        return _share(self.reference, self.marked)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        precision, recall = self.precision, self.recall
        if precision is None or recall is None or precision + recall == 0:
            return 0.0
        return 2 * precision * recall / (precision + recall)


def _share(lesions: tuple[LesionMatch, ...], others: tuple[LesionMatch, ...]) -> float | None:
    if lesions:
        return sum(lesion.matched for lesion in lesions) / len(lesions)
    return None if others else 1.0


def match_lesions(marked: Mask, reference: Mask, affine: npt.NDArray[np.float64]) -> LesionScore:
    """Match two lesion masks.

    Args:
        marked, reference: boolean [i, j, k].
        affine: 4x4, voxel index -> RAS mm.
    """
    if not marked.any() and not reference.any():
        return LesionScore()
    box = joint_box(marked, reference)
    marked, reference = marked[box], reference[box]
    return LesionScore(_matches(reference, marked, affine), _matches(marked, reference, affine))


def _matches(mask: Mask, other: Mask, affine: npt.NDArray[np.float64]) -> tuple[LesionMatch, ...]:
    from scipy import ndimage

    parts, _ = ndimage.label(mask, ndimage.generate_binary_structure(3, 3))
    found = []
    for number, place in enumerate(ndimage.find_objects(parts), start=1):
        part = parts[place] == number
        matched = np.count_nonzero(part & other[place]) >= OVERLAP * np.count_nonzero(part)
        (lesion,) = find_lesions(part, affine)
        found.append(LesionMatch(lesion.longest_diameter_mm, lesion.volume_ml, bool(matched)))
    return tuple(sorted(found, key=lambda lesion: -lesion.volume_ml))
