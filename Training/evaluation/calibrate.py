"""From evidence to an expected Dice: a calibration fitted to scored cases, and how far it can be trusted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from LiverSegLib.quality import EVIDENCE, FAILURE, Calibration, odds, share_of, terms_of
from Training.errors import DataError
from Training.evaluation.scores import CaseScore, Scores

Values = npt.NDArray[np.float64]
_PENALTY = 0.5
"""Of squared weights: some dozen cases must not make large ones."""
_FEWEST = 8


@dataclass(frozen=True, kw_only=True)
class Trust:
    """How well a calibration foretells cases that it was not fitted to.

    Args:
        cases, failures: how many, and how many of them with a Dice below 0.9.
        error: mean absolute difference of expected and true Dice.
        covered: share of the cases whose Dice lies in the interval.
        auc: area under the ROC curve of the expected Dice for failures; None where all or none are.
    """

    cases: int
    failures: int
    error: float
    covered: float
    auc: float | None


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A calibration of all cases, and its trust with patients and with alterations left out in turn."""

    calibration: Calibration
    new_patients: Trust
    new_alterations: Trust | None


def fit(scores: Sequence[Scores], organ: str) -> Fitted:
    """Fit a calibration to evaluated cases.

    Args:
        scores: evaluations of the model in question, altered cases included.
        organ: whose Dice is expected.

    Raises:
        DataError: there are too few cases with evidence and a reference.
    """
    cases = [case for each in scores for case in each.cases if case.evidence and _dice(case, organ) is not None]
    if len(cases) < _FEWEST:
        raise DataError(
            f"{len(cases)} cases have both a reference of the {organ} and evidence of quality; evaluate at least "
            f"{_FEWEST}, for example with --alter."
        )
    names = [name for name in EVIDENCE if all(name in case.evidence for case in cases)]
    if not names:
        raise DataError("No piece of evidence is known of all cases; evaluate them again with this version.")
    alterations = {_alteration(case) for case in cases}
    return Fitted(
        calibration=_fitted(cases, organ, names),
        new_patients=_left_out(cases, organ, names, lambda case: case.patient),
        new_alterations=_left_out(cases, organ, names, _alteration) if len(alterations) > 1 else None,
    )


def _dice(case: CaseScore, organ: str) -> float | None:
    return next((row.dice for row in case.labels if row.label == organ), None)


def _alteration(case: CaseScore) -> str:
    """What was done to a case of the tail test: the last part of its name."""
    return case.case.rpartition(", ")[2] if ", " in case.case else ""


def _fitted(cases: Sequence[CaseScore], organ: str, names: Sequence[str]) -> Calibration:
    """Ridge regression of the odds of the Dice with weights that are not negative."""
    from scipy.optimize import nnls

    terms = np.array([[terms_of(case.evidence)[name] for name in names] for case in cases])
    wanted = np.array([odds(_dice(case, organ) or 0.0) for case in cases])
    center, middle = terms.mean(axis=0), wanted.mean()
    rows = np.vstack([terms - center, np.sqrt(_PENALTY) * np.eye(len(names))])
    weights, _ = nnls(rows, np.concatenate([wanted - middle, np.zeros(len(names))]))
    offset = float(middle - center @ weights)
    low, high = np.quantile(wanted - terms @ weights - offset, [0.05, 0.95])
    return Calibration(
        offset=round(offset, 4),
        weights={name: round(float(weight), 4) for name, weight in zip(names, weights, strict=True)},
        low=round(float(low), 4),
        high=round(float(high), 4),
    )


def _left_out(
    cases: Sequence[CaseScore], organ: str, names: Sequence[str], group_of: Callable[[CaseScore], str]
) -> Trust:
    """Expect every case by a calibration of the cases of the other groups."""
    groups = {group_of(case) for case in cases}
    if len(groups) == 1:
        raise DataError("All cases are of one patient; evaluate more to know how far a calibration can be trusted.")
    found: list[tuple[float, float, float, float]] = []
    for group in sorted(groups):
        others = [case for case in cases if group_of(case) != group]
        calibration = _fitted(others, organ, names)
        for case in cases:
            if group_of(case) == group:
                expected = calibration.expected(case.evidence)
                assert expected is not None
                found.append((_dice(case, organ) or 0.0, *expected))
    dice, expected_dice, low, high = np.array(found).T
    edge = share_of(odds(0.0))  # what the expectation can reach at most and at least
    inside = (np.clip(dice, edge, 1 - edge) >= low) & (np.clip(dice, edge, 1 - edge) <= high)
    return Trust(
        cases=len(dice),
        failures=int((dice < FAILURE).sum()),
        error=float(np.abs(dice - expected_dice).mean()),
        covered=float(inside.mean()),
        auc=area_under_curve(dice < FAILURE, -expected_dice),
    )


def area_under_curve(positive: npt.NDArray[np.bool_], score: Values) -> float | None:
    """Area under the ROC curve: how often a positive case scores higher than a negative one, ties counting half."""
    if positive.all() or not positive.any():
        return None
    apart = score[positive][:, None] - score[~positive][None]
    return float((apart > 0).mean() + 0.5 * (apart == 0).mean())
