"""Lesion by lesion: which were found, which were made up.

Lesions are connected parts (26 neighbors in 3D, 8 in a picture). A reference lesion is found if at least
`OVERLAP` of its voxels are marked; a marked lesion is a false one if less than `OVERLAP` of it lies in reference
lesions. This way one blob over two lesions finds both, and a lesion marked in two parts counts once (compare the
lesion-wise scores of LiTS, Bilic et al. 2023, arXiv:1901.04056).

A share of no lesions is no number: a model that marks nothing has no precision, and a healthy patient no sensitivity.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from LiverSegLib.measure import find_lesions
from Training.evaluation.metrics import Mask, joint_box

OVERLAP = 0.1


@dataclass(frozen=True)
class LesionMatch:
    """One lesion: longest diameter in mm, volume in mL, and whether the other side has it too."""

    longest_diameter_mm: float
    volume_ml: float
    matched: bool


@dataclass(frozen=True)
class Size:
    """A range of longest diameters in mm; `high_mm` itself is not in it."""

    title: str
    low_mm: float
    high_mm: float


SIZES = (Size("under 10 mm", 0, 10), Size("10 to 20 mm", 10, 20), Size("20 mm and more", 20, float("inf")))


@dataclass(frozen=True)
class LesionScore:
    """The lesions of one case, or of all, largest first.

    Sensitivity is the share of the real lesions that are found, None where there is none. Precision is the share of
    the marked lesions that are real, None where none is marked. f1 is the harmonic mean of both, 0 where only one
    side has lesions and None where neither has. `false` counts the marked lesions that are not real.
    """

    reference: tuple[LesionMatch, ...] = ()
    marked: tuple[LesionMatch, ...] = ()

    @classmethod
    def of_all(cls, scores: Iterable[LesionScore]) -> LesionScore | None:
        """The lesions of several cases or labels together; None for no scores."""
        scored = list(scores)
        if not scored:
            return None
        return cls(tuple(x for s in scored for x in s.reference), tuple(x for s in scored for x in s.marked))

    @property
    def found(self) -> int:
        """How many reference lesions are found."""
        return sum(lesion.matched for lesion in self.reference)

    @property
    def false(self) -> int:
        """How many marked lesions lie on no reference lesion."""
        return sum(not lesion.matched for lesion in self.marked)

    @property
    def sensitivity(self) -> float | None:
        """Share of the reference lesions that are found."""
        return self.found / len(self.reference) if self.reference else None

    @property
    def precision(self) -> float | None:
        """Share of the marked lesions that lie on a reference lesion."""
        return 1 - self.false / len(self.marked) if self.marked else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and sensitivity."""
        if not self.reference and not self.marked:
            return None
        precision, sensitivity = self.precision or 0.0, self.sensitivity or 0.0
        both = precision + sensitivity
        return 2 * precision * sensitivity / both if both else 0.0

    @property
    def counts(self) -> dict[str, int]:
        """How many are real, found, marked and false."""
        return {"reference": len(self.reference), "found": self.found, "marked": len(self.marked), "false": self.false}

    def of_size(self, size: Size) -> LesionScore:
        """The lesions whose longest diameter is in `size`; a found lesion may be marked larger or smaller."""
        reference, marked = (
            tuple(lesion for lesion in side if size.low_mm <= lesion.longest_diameter_mm < size.high_mm)
            for side in (self.reference, self.marked)
        )
        return LesionScore(reference, marked)


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
