"""How good a segmentation is believed to be, told without a reference.

Two looks at the same scan that differ are the strongest simple sign of a failure (Zenk et al., Medical Image Analysis
2025, 103392: pairwise Dice). What is seen in one case is its `evidence`; a `Calibration`, fitted to cases with a
reference and kept in the model's package, turns it into an expected Dice with an interval.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

FAILURE = 0.9
"""A Dice below this is called a failure."""
_CLOSEST = 0.002
"""To 0 and 1, for numbers whose odds are taken."""
_GRAY_HU = 110.0
"""Of a liver in the portal phase; native and fatty livers lie below, arterial ones and those of noise elsewhere."""
EVIDENCE = ("agreement", "certainty", "gray", "spread")
"""What can be seen; `terms_of` says what each is."""


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """A place to check: two models differ there by more than the thickness of a border.

    Args:
        place: in words, for example "upper right part, at the back".
        volume_ml: of the difference.
        center_ras: its centroid in RAS mm.
        is_left_out: the other model found the organ there, and the result does not; else the other way round.
    """

    place: str
    volume_ml: float
    center_ras: tuple[float, float, float]
    is_left_out: bool

    def sentence(self, organ: str) -> str:
        """What a person should do."""
        what = f"may be missing from the {organ}" if self.is_left_out else f"may not be {organ}"
        return f"Check the {self.place}: {self.volume_ml:.0f} mL there {what}."


@dataclass(frozen=True, kw_only=True)
class Quality:
    """What is believed of one segmentation.

    Args:
        organ: what it is about, for example "liver".
        evidence: what was seen, by the names in `EVIDENCE`.
        expected_dice: of the organ with its lesions; None where the model was not calibrated.
        low, high: the interval in which nine of ten cases lie.
        doubts: places to check, the largest first.
    """

    organ: str
    evidence: dict[str, float] = field(default_factory=dict)
    expected_dice: float | None = None
    low: float | None = None
    high: float | None = None
    doubts: tuple[Doubt, ...] = ()

    @property
    def text(self) -> str:
        """One line for people, "" where nothing is expected."""
        if self.expected_dice is None:
            return ""
        return f"Expected Dice of the {self.organ}: {self.expected_dice:.2f} ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """From evidence to the odds of the Dice: a sum of weighted terms.

    Args:
        offset: added to the sum.
        weights: of the terms, by the names in `EVIDENCE`.
        low, high: added to the sum for the ends of the interval; quantiles 0.05 and 0.95 of what was left over.
    """

    offset: float
    weights: dict[str, float]
    low: float
    high: float

    def expected(self, evidence: dict[str, float]) -> tuple[float, float, float] | None:
        """Dice, low and high; None where a piece of evidence is missing."""
        if not self.weights.keys() <= evidence.keys():
            return None
        terms = terms_of(evidence)
        total = self.offset + sum(weight * terms[name] for name, weight in self.weights.items())
        return share_of(total), share_of(total + self.low), share_of(total + self.high)


def odds(share: float) -> float:
    """The logarithm of the odds of a share of 0 to 1, which is kept off both ends."""
    share = min(max(share, _CLOSEST), 1 - _CLOSEST)
    return math.log(share / (1 - share))


def share_of(log_odds: float) -> float:
    """The share of 0 to 1 whose odds have this logarithm."""
    return 1 / (1 + math.exp(-min(max(log_odds, -30.0), 30.0)))


def terms_of(evidence: dict[str, float]) -> dict[str, float]:
    """The numbers that a calibration weighs, each rising as the segmentation gets better.

    Args:
        evidence: "agreement": Dice of two models; "certainty": Dice that the network's own probabilities expect;
            "gray", "spread": mean and standard deviation of the organ in HU.
    """
    terms: dict[str, float] = {name: odds(evidence[name]) for name in ("agreement", "certainty") if name in evidence}
    if "gray" in evidence:
        terms["gray"] = -min(abs(evidence["gray"] - _GRAY_HU) / 100, 2.0)
    if "spread" in evidence:
        terms["spread"] = -min(evidence["spread"] / 100, 2.0)
    return terms


def notes_on(quality: Quality) -> list[str]:
    """What the user should read: an expected failure, and every place to check."""
    notes = [doubt.sentence(quality.organ) for doubt in quality.doubts]
    if quality.expected_dice is not None and quality.expected_dice < FAILURE:
        notes.insert(0, f"This is probably wrong in places. {quality.text}; check all of it.")
    return notes
