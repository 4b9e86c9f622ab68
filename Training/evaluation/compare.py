"""Several evaluations of the same cases side by side, with paired tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import combinations
from pathlib import Path

import numpy as np
from pydantic import Field

from Training.errors import DataError
from Training.evaluation.metrics import METRICS, SET_METRICS, set_score
from Training.evaluation.scores import ALL_CLASSES, LESION_METRICS, CaseScore, drawn_labels, pooled_lesions, read_scores
from Training.evaluation.statistics import Distribution, PairedDifference, describe, holm, paired_difference
from Training.recipe.options import Part

_LEFT_OUT = ("volume_ml", "reference_ml", "volume_error_percent")
COMPARED = [key for key in (*METRICS, *LESION_METRICS, *SET_METRICS) if key not in _LEFT_OUT]


class Row(Part):
    """One metric of one label: its distribution in each run, and every value in the order of the cases."""

    label: str
    metric: str
    runs: list[Distribution]
    values: list[list[float | None]]


class Difference(Part):
    """One metric of run `second` minus that of run `first`.

    Holm's correction is over all pairs of runs for this label and metric.
    """

    label: str
    metric: str
    first: str
    second: str
    result: PairedDifference


class Comparison(Part):
    """Runs compared on the cases that all of them scored.

    `models`: the package of each run. `lesions`: the lesions of all cases together in each run; empty where one of
    them was not scored for lesions. `pooled`: pixel accuracy, F-score, mIoU and mPA of all pixels of all cases of
    each run; empty where the models segment different labels. `left_out`: cases that not every run scored.
    """

    runs: list[str]
    models: list[str]
    cases: list[str]
    patients: int
    left_out: list[str] = Field(default=[])
    rows: list[Row]
    pooled: list[dict[str, float | None]]
    lesions: list[dict[str, int]] = Field(default=[])
    differences: list[Difference]


def compare(folders: Sequence[Path]) -> Comparison:
    """Compare what `evaluate` wrote into several folders; cases are matched by name.

    Raises:
        DataError: fewer than two folders, one without scores, other tolerances, or no case or label in common.
    """
    if len(folders) < 2:
        raise DataError("A comparison needs at least two folders of `python -m Training evaluate`.")
    scores = [read_scores(folder) for folder in folders]
    tolerances = sorted({s.tolerance_mm for s in scores})
    if len(tolerances) > 1:
        texts = " and ".join(f"{t:g} mm" for t in tolerances)
        raise DataError(f"These folders were scored with tolerances of {texts}; evaluate them with one.")
    scored = [{case.case: case for case in s.cases if case.confusion is not None} for s in scores]
    names = [name for name in scored[0] if all(name in other for other in scored)]
    if not names:
        raise DataError(f"{' and '.join(str(f) for f in folders)} have no scored case in common; evaluate the same.")
    listed = dict.fromkeys(case.case for s in scores for case in s.cases)
    runs = run_names(folders)
    cases = [[by_name[name] for name in names] for by_name in scored]
    patients = [case.patient for case in cases[0]]
    # Means over classes compare only where the classes are the same.
    same_classes = len({frozenset(s.labels) for s in scores}) == 1
    rows = [row for row in _rows(cases, patients) if same_classes or row.label != ALL_CLASSES]
    if not rows:
        raise DataError(f"{' and '.join(str(f) for f in folders)} have no label in common; nothing can be compared.")
    return Comparison(
        runs=runs,
        models=[s.model for s in scores],
        cases=names,
        patients=len(set(patients)),
        left_out=[name for name in listed if name not in set(names)],
        rows=rows,
        pooled=[_pooled(run) for run in cases] if same_classes else [],
        lesions=_lesions(cases),
        differences=[d for row in rows for d in _differences(row, runs, patients)],
    )


def run_names(folders: Sequence[Path]) -> list[str]:
    """Short names that tell the folders apart: runs/a/scores and runs/b/scores are a and b.

    Raises:
        DataError: one folder is given twice.
    """
    parts = [folder.resolve().parts for folder in folders]
    twice = next((str(f) for f, p in zip(folders, parts, strict=True) if parts.count(p) > 1), None)
    if twice is not None:
        raise DataError(f"{twice} is given twice; name each folder once.")
    for depth in range(1, min(len(p) for p in parts) + 1):
        names = [p[-depth] for p in parts]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]


def _rows(cases: Sequence[Sequence[CaseScore]], patients: Sequence[str]) -> list[Row]:
    values = [[case.values() for case in run] for run in cases]
    known = set.intersection(*(drawn_labels(run) for run in cases))
    keys = dict.fromkeys(key for run in values for one in run for key in one if key[1] in COMPARED and key[0] in known)
    rows = []
    for label, metric in keys:
        columns = [[one.get((label, metric)) for one in run] for run in values]
        rows.append(Row(label=label, metric=metric, runs=[describe(c, patients) for c in columns], values=columns))
    return rows


def _pooled(cases: Sequence[CaseScore]) -> dict[str, float | None]:
    return asdict(set_score(np.sum([np.asarray(case.confusion) for case in cases], axis=0)))


def _lesions(cases: Sequence[Sequence[CaseScore]]) -> list[dict[str, int]]:
    totals = [pooled_lesions(run) for run in cases]
    return [total.counts for total in totals if total is not None and None not in totals]


def _differences(row: Row, runs: Sequence[str], patients: Sequence[str]) -> list[Difference]:
    pairs = list(combinations(range(len(runs)), 2))
    results = [paired_difference(row.values[a], row.values[b], patients) for a, b in pairs]
    corrected = holm([result.p for result in results])
    return [
        Difference(label=row.label, metric=row.metric, first=runs[a], second=runs[b], result=replace(result, p_holm=p))
        for (a, b), result, p in zip(pairs, results, corrected, strict=True)
    ]
