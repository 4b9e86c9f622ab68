"""IoU and accuracy of each class, the background too, over the voxels of all cases together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from Training.evaluation.metrics import Metric
from Training.evaluation.scores import CaseScore, Scores

BACKGROUND = "background"
CLASS_METRICS = {
    "iou": Metric("IoU", 3, 1),
    "accuracy": Metric("accuracy", 3, 1),
    "precision": Metric("precision", 3, 1),
    "f_score": Metric("F-score", 3, 1),
}


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """One class over all cases, each by itself: the liver without its tumors.

    iou TP / (TP + FP + FN), accuracy TP / (TP + FN), precision TP / (TP + FP), f_score 2TP / (2TP + FP + FN); None for
    a share of nothing. `drawn`, `found`: voxels of the reference and of the results. mIoU and mPA are the means of iou
    and accuracy.
    """

    label: str
    iou: float | None
    accuracy: float | None
    precision: float | None
    f_score: float | None
    drawn: int
    found: int


def class_scores(scores: Scores) -> list[ClassScore]:
    """Every class that a reference or a result holds, the background first; none without a reference."""
    matrix = _pooled(scores.cases)
    if matrix is None:
        return []
    return [
        _class_score(matrix, number, label)
        for number, label in enumerate([BACKGROUND, *scores.labels])
        if matrix[number].sum() + matrix[:, number].sum() > 0
    ]


def _pooled(cases: Sequence[CaseScore]) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]] | None:
    """Voxels of all cases by reference class (rows) and found class."""
    known = [np.asarray(case.confusion, np.int64) for case in cases if case.confusion is not None]
    return np.sum(known, axis=0) if known else None


def _class_score(matrix: np.ndarray[tuple[int, ...], np.dtype[np.int64]], number: int, label: str) -> ClassScore:
    right, drawn, found = (int(n) for n in (matrix[number, number], matrix[number].sum(), matrix[:, number].sum()))
    return ClassScore(
        label=label,
        iou=_share(right, drawn + found - right),
        accuracy=_share(right, drawn),
        precision=_share(right, found),
        f_score=_share(2 * right, drawn + found),
        drawn=drawn,
        found=found,
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
