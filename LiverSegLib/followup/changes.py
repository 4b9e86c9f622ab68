"""What has become of each lesion, and of all together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from LiverSegLib.followup.match import Group, match
from LiverSegLib.followup.parts import LesionPart, TimePoint
from LiverSegLib.followup.register import Registration, overlap, register

NEW, GONE, GROWN, SHRUNK, STABLE = "new", "gone", "grown", "shrunk", "stable"
GROWN_PERCENT, SHRUNK_PERCENT, LEAST_MM = 20.0, 30.0, 5.0
"""As in RECIST 1.1 (Eisenhauer et al., European Journal of Cancer 2009, 228), which has them for sums of diameters."""
_POOR_DICE = 0.7


@dataclass(frozen=True, kw_only=True)
class Change:
    """What became of a lesion, or of several that were or became one.

    Args:
        status: "new", "gone", "grown", "shrunk" or "stable".
        baseline, followup: numbers of the lesions in each scan, from 1, the largest first.
        note: "split" or "merged" where there are several, else "".
        baseline_ml, followup_ml: volumes, 0 without a lesion.
        baseline_mm, followup_mm: longest diameters; of several lesions their sum, as RECIST has it for fragments.
        center_ras: of the lesion in the baseline, RAS mm of the baseline; of a new one, where it would have been.
        followup_center_ras: of the lesion in the follow-up, RAS mm of the follow-up; of one that is gone, where it was.
    """

    status: str
    baseline: tuple[int, ...]
    followup: tuple[int, ...]
    note: str
    baseline_ml: float
    followup_ml: float
    baseline_mm: float
    followup_mm: float
    center_ras: tuple[float, float, float]
    followup_center_ras: tuple[float, float, float]

    @property
    def volume_percent(self) -> float | None:
        """Change of the volume in percent; None for a new lesion."""
        return _percent(self.baseline_ml, self.followup_ml)

    @property
    def diameter_percent(self) -> float | None:
        """Change of the diameter in percent; None for a new lesion."""
        return _percent(self.baseline_mm, self.followup_mm)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two scans compared.

    Args:
        changes: of the lesions; those of the baseline first, the largest first.
        registration: how the scans lie to each other.
        baseline_liver_ml, followup_liver_ml: volumes of the livers with their lesions.
        warnings: sentences that the user should read.
    """

    changes: tuple[Change, ...]
    registration: Registration
    baseline_liver_ml: float
    followup_liver_ml: float
    warnings: tuple[str, ...] = ()

    @property
    def baseline_sum_mm(self) -> float:
        """Sum of the longest diameters of all lesions of the baseline."""
        return sum(change.baseline_mm for change in self.changes)

    @property
    def followup_sum_mm(self) -> float:
        """Sum of the longest diameters of all lesions of the follow-up."""
        return sum(change.followup_mm for change in self.changes)

    def count(self, status: str) -> int:
        """How many changes are of this status."""
        return sum(change.status == status for change in self.changes)


def compare(
    baseline: TimePoint,
    followup: TimePoint,
    *,
    transform: npt.NDArray[np.float64] | Registration | None = None,
    deformable: bool = False,
) -> Comparison:
    """Compare two scans of one patient.

    Args:
        baseline, followup: the scans with their livers and lesions.
        transform: points of the baseline to points of the follow-up, both RAS mm, as 4x4 or as a registration that
            may bend; None: the livers are registered, for which SimpleITK is needed.
        deformable: bend the liver, too, when it is registered.

    Raises:
        InputError: a scan has no liver or no label of lesions, or they cannot be registered.
    """
    if transform is None:
        registration = register(baseline, followup, deformable=deformable)
    else:
        registration = transform if isinstance(transform, Registration) else _given(transform)
        dice = overlap(registration, baseline.organ(), baseline.affine, followup.organ(), followup.affine)
        registration = replace(registration, dice=dice)
    first, second = baseline.lesions(), followup.lesions()
    groups = match(first, second, registration)
    return Comparison(
        changes=tuple(_change(group, first, second, registration) for group in groups),
        registration=registration,
        baseline_liver_ml=baseline.organ_ml,
        followup_liver_ml=followup.organ_ml,
        warnings=_warnings(registration),
    )


def _given(matrix: npt.NDArray[np.float64]) -> Registration:
    return Registration(matrix=np.asarray(matrix, np.float64), kind="given")


def status_of(before_mm: float, after_mm: float, before_ml: float, after_ml: float) -> str:
    """The status of a lesion that is there at both times.

    It has grown where its diameter rose by 20 % and 5 mm at least, and shrunk where it fell by 30 % and 5 mm at least.
    The longest diameter decides; where that stays, the diameter of a ball of the lesion's volume, which sees lesions
    that change across their longest axis.
    """
    balls = [2 * (3 * ml * 1000 / (4 * math.pi)) ** (1 / 3) for ml in (before_ml, after_ml)]
    for before, after in ((before_mm, after_mm), tuple(balls)):
        # A little room for the last digit: an exact 20 % counts.
        if after - before >= LEAST_MM - 1e-6 and after >= before * (1 + GROWN_PERCENT / 100) - 1e-6:
            return GROWN
        if before - after >= LEAST_MM - 1e-6 and after <= before * (1 - SHRUNK_PERCENT / 100) + 1e-6:
            return SHRUNK
    return STABLE


def _change(
    group: Group, first: Sequence[LesionPart], second: Sequence[LesionPart], registration: Registration
) -> Change:
    before, after = [first[n].lesion for n in group.baseline], [second[n].lesion for n in group.followup]
    sizes = [sum(lesion.longest_diameter_mm for lesion in lesions) for lesions in (before, after)]
    volumes = [sum(lesion.volume_ml for lesion in lesions) for lesions in (before, after)]
    status = NEW if not before else GONE if not after else status_of(*sizes, *volumes)
    here = before[0].center_ras if before else None
    there = after[0].center_ras if after else None
    if here is None:
        here = _point(registration.to_baseline(np.array([there])))
    if there is None:
        there = _point(registration.to_followup(np.array([here])))
    return Change(
        status=status,
        baseline=tuple(n + 1 for n in group.baseline),
        followup=tuple(n + 1 for n in group.followup),
        note=_note(len(before), len(after)),
        baseline_ml=volumes[0],
        followup_ml=volumes[1],
        baseline_mm=sizes[0],
        followup_mm=sizes[1],
        center_ras=here,
        followup_center_ras=there,
    )


def _note(before: int, after: int) -> str:
    words = ["merged"] * (before > 1 and after > 0) + ["split"] * (after > 1 and before > 0)
    return " and ".join(words)


def _warnings(registration: Registration) -> tuple[str, ...]:
    if registration.dice is None or registration.dice >= _POOR_DICE:
        return ()
    return (
        f"The livers lie poorly on each other (Dice {registration.dice:.2f}); check that both scans are of one patient "
        "and show the whole liver, and look at each lesion.",
    )


def _percent(before: float, after: float) -> float | None:
    return 100.0 * (after - before) / before if before else None


def _point(points: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = points[0]
    return float(x), float(y), float(z)
