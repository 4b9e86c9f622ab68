"""Means with confidence intervals, and paired tests; patients are drawn, not cases, for slices of one are alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

DRAWS = 10_000
MIN_PAIRS = 6
"""With fewer pairs the Wilcoxon test cannot reach p < 0.05 (two-sided)."""
_SEED = 0
Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """The values of one metric over cases.

    `n` cases have a value and `missing` have none; without any value every number is None. sd is the sample's.
    ci_low, ci_high: 95 % confidence interval of the mean, None for a single patient; with fewer than about ten
    patients it is too narrow.
    """

    n: int
    missing: int
    mean: float | None = None
    median: float | None = None
    sd: float | None = None
    p5: float | None = None
    p95: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None


def describe(values: Sequence[float | None], patients: Sequence[str]) -> Distribution:
    """Distribution of a metric over the cases that have a value.

    Args:
        values: one a case, None where the metric is not defined.
        patients: whose case it is.
    """
    kept = [(v, p) for v, p in zip(values, patients, strict=True) if v is not None]
    if not kept:
        return Distribution(n=0, missing=len(values))
    numbers = np.array([v for v, _ in kept])
    low, high = bootstrap_interval(numbers, [p for _, p in kept])
    return Distribution(
        n=len(kept),
        missing=len(values) - len(kept),
        # the mean of equal numbers may round beyond them
        mean=float(np.clip(numbers.mean(), numbers.min(), numbers.max())),
        median=float(np.median(numbers)),
        sd=float(numbers.std(ddof=1)) if len(kept) > 1 else None,
        p5=float(np.percentile(numbers, 5)),
        p95=float(np.percentile(numbers, 95)),
        minimum=float(numbers.min()),
        maximum=float(numbers.max()),
        ci_low=low,
        ci_high=high,
    )


def bootstrap_interval(values: Array, patients: Sequence[str]) -> tuple[float | None, float | None]:
    """95 % confidence interval of the mean over cases: the percentile bootstrap (Efron 1979) over patients.

    Each of 10,000 draws takes as many patients as there are, with replacement, with all their cases. The seed is
    fixed, so that the same scores give the same interval.

    Args:
        values: one a case.
        patients: whose case it is.

    Returns:
        Its ends; None, None for fewer than two patients.
    """
    names, owner = np.unique(np.asarray(patients), return_inverse=True)
    if len(names) < 2:
        return None, None
    sums = np.bincount(owner, weights=values)
    counts = np.bincount(owner)
    drawn = _times_drawn(len(names))
    means = (drawn @ sums) / (drawn @ counts)
    low, high = np.clip(np.percentile(means, (2.5, 97.5)), values.min(), values.max())
    return float(low), float(high)


@lru_cache(maxsize=1)
def _times_drawn(patients: int) -> Array:
    """How often each draw takes each patient, [draws, patients]."""
    rng = np.random.default_rng(_SEED)
    return rng.multinomial(patients, np.full(patients, 1 / patients), DRAWS).astype(np.float64)


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """Second minus first over the `n` cases where both have a value; in `missing` cases one or both have none.

    Without any such case the numbers are None. p: two-sided Wilcoxon signed-rank test over patients (a patient's
    cases are averaged), None for fewer than `MIN_PAIRS` patients. p_holm: after Holm's correction for all the
    comparisons made together.
    """

    n: int
    missing: int
    patients: int
    mean: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    p: float | None = None
    p_holm: float | None = None


def paired_difference(
    first: Sequence[float | None], second: Sequence[float | None], patients: Sequence[str]
) -> PairedDifference:
    """Compare two models on the same cases, in the same order."""
    from scipy.stats import wilcoxon

    both = [(b - a, p) for a, b, p in zip(first, second, patients, strict=True) if a is not None and b is not None]
    missing = len(patients) - len(both)
    if not both:
        return PairedDifference(n=0, missing=missing, patients=0)
    differences, owners = np.array([d for d, _ in both]), [p for _, p in both]
    names, owner = np.unique(np.asarray(owners), return_inverse=True)
    per_patient = np.bincount(owner, weights=differences) / np.bincount(owner)
    p = None
    if len(names) >= MIN_PAIRS:
        # Pratt keeps the ties at zero; without any difference there is nothing to rank.
        p = float(wilcoxon(per_patient, zero_method="pratt").pvalue) if per_patient.any() else 1.0
    low, high = bootstrap_interval(differences, owners)
    return PairedDifference(
        n=len(both), missing=missing, patients=len(names), mean=float(differences.mean()), ci_low=low, ci_high=high, p=p
    )


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction (Scand J Stat 1979); None stays None and does not count."""
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        corrected[place] = largest
    return corrected
