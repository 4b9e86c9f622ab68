"""The scores of an evaluation as data: scores.json, scores.csv and summary.csv."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, ValidationError

from LiverSegLib.labels import LESION
from Training.errors import DataError
from Training.evaluation.lesions import SIZES, LesionScore
from Training.evaluation.metrics import METRICS, SET_METRICS, LabelScore, Metric, SetScore, set_score
from Training.evaluation.statistics import Distribution, describe
from Training.files import write_csv, write_json
from Training.recipe.options import Part

SCORES = "scores.json"
ALL_CLASSES = "all classes"
LESION_METRICS = {
    "lesion_sensitivity": Metric("lesion sensitivity", 3, 1),
    "lesion_precision": Metric("lesion precision", 3, 1),
    "lesion_f1": Metric("lesion F1", 3, 1),
    "lesion_false": Metric("false lesions", 2, -1),
}
"""The lesion metrics of one case; the mean of the last is the number of false lesions per scan."""
_LESION_COUNTS = [f"lesions_{name}" for name in LesionScore().counts]
_HEADLINES = ("dice", "nsd", "hd95_mm", "assd_mm", "volume_error_percent")
SHOWN = {**METRICS, **SET_METRICS, **LESION_METRICS}


class CaseScore(Part):
    """One case of an evaluation.

    `labels`: a row for each label. `confusion`: voxels by reference class (rows) and found class, background first
    and then as `Scores.labels`; None without a reference. `lesions`: where model and reference mark them, of all
    lesion labels together. `lesion_label`: the first of these, beside which they stand in tables.
    `seconds`: the segmentation alone. `evidence`: what was seen of its quality without the reference, and
    `expected_dice`: what follows from it. `picture`: beside scores.json. `error`: why there are no scores, or "".
    """

    case: str
    patient: str
    labels: list[LabelScore] = Field(default=[])
    confusion: list[list[int]] | None = None
    lesions: LesionScore | None = None
    lesion_label: str = LESION
    seconds: float = 0.0
    warnings: str = ""
    evidence: dict[str, float] = Field(default={})
    expected_dice: float | None = None
    picture: str | None = None
    error: str = ""

    @property
    def classes(self) -> SetScore | None:
        """Pixel accuracy, F-score, mIoU and mPA of this case alone."""
        return None if self.confusion is None else set_score(self.confusion)

    @property
    def worst_dice(self) -> float:
        """The lowest Dice of its labels; -1 for a case that failed, 2 for one without a reference."""
        if self.error:
            return -1.0
        return min((label.dice for label in self.labels if label.dice is not None), default=2.0)

    @property
    def rank(self) -> tuple[float, float]:
        """Sorts the worst case first: by its lowest Dice, then by the mean over its labels."""
        known = [label.dice for label in self.labels if label.dice is not None]
        return self.worst_dice, sum(known) / len(known) if known else 0.0

    def values(self) -> dict[tuple[str, str], float | None]:
        """Every metric by (label, metric's key); none without a reference."""
        found: dict[tuple[str, str], float | None] = {}
        if self.confusion is None:
            return found
        for row in self.labels:
            found |= {(row.label, key): getattr(row, key) for key in METRICS}
        if self.lesions is not None:
            values = self.lesions.sensitivity, self.lesions.precision, self.lesions.f1, float(self.lesions.false)
            found |= {(self.lesion_label, key): value for key, value in zip(LESION_METRICS, values, strict=True)}
        return found | {(ALL_CLASSES, key): value for key, value in asdict(set_score(self.confusion)).items()}


class Statistic(Part):
    """One metric of one label over all cases."""

    label: str
    metric: str
    values: Distribution


class Scores(Part):
    """An evaluation: what it was, the headline numbers, the full statistics and every case.

    `summary` holds counts of cases and lesions; "<label>_<metric>_mean" and the like, where a case has a value, with
    "_n" and "_missing", the cases with and without one; and the metrics of all cases pooled ("miou", ...).
    `conventions`: which numbers stand for what; scores of different ones cannot be compared.
    """

    conventions: Literal[2]
    title: str
    command: str
    model: str
    tolerance_mm: float
    labels: list[str]
    summary: dict[str, float]
    statistics: list[Statistic]
    cases: list[CaseScore]

    @property
    def worst_first(self) -> list[CaseScore]:
        """The cases, those with the lowest Dice first."""
        return sorted(self.cases, key=lambda case: case.rank)


def summarize(
    cases: Sequence[CaseScore],
    labels: Sequence[str],
    tolerance_mm: float,
    title: str = "",
    command: str = "",
    model: str = "",
) -> Scores:
    """Put cases and their statistics together; `labels` in the order of the confusion matrices."""
    by_key: dict[tuple[str, str], list[tuple[float | None, str]]] = {}
    known = drawn_labels(cases)
    for case in cases:
        for key, value in case.values().items():
            if key[0] in known:
                by_key.setdefault(key, []).append((value, case.patient))
    statistics = [
        Statistic(label=label, metric=metric, values=describe([v for v, _ in pairs], [p for _, p in pairs]))
        for (label, metric), pairs in by_key.items()
    ]
    return Scores(
        conventions=2,
        title=title,
        command=command,
        model=model,
        tolerance_mm=tolerance_mm,
        labels=list(labels),
        summary=_headline(cases, statistics),
        statistics=statistics,
        cases=list(cases),
    )


def drawn_labels(cases: Sequence[CaseScore]) -> set[str]:
    """The labels that a person looked for in at least one case, and what stands for all of them."""
    return {ALL_CLASSES, *(row.label for case in cases for row in case.labels if row.reference_ml is not None)}


def _headline(cases: Sequence[CaseScore], statistics: Sequence[Statistic]) -> dict[str, float]:
    scored = [case for case in cases if case.confusion is not None]
    summary = {"cases": float(len(scored)), "patients": float(len({case.patient for case in scored}))}
    failed = sum(bool(case.error) for case in cases)
    if failed:
        summary["failed"] = float(failed)
    for row in statistics:
        if row.metric not in _HEADLINES:
            continue
        name, values = f"{row.label.replace(' ', '_')}_{row.metric}", row.values
        summary |= {f"{name}_n": float(values.n), f"{name}_missing": float(values.missing)}
        shares = {"mean": values.mean}
        if row.metric == "dice":
            shares |= {"median": values.median, "p5": values.p5, "min": values.minimum}
        summary |= {f"{name}_{key}": value for key, value in shares.items() if value is not None}
    if scored:
        total = asdict(set_score(np.sum([np.asarray(case.confusion) for case in scored], axis=0)))
        summary |= {key: value for key, value in total.items() if value is not None}
    return summary | _lesion_headline(cases)


def _lesion_headline(cases: Sequence[CaseScore]) -> dict[str, float]:
    """Counts of all cases together, and the shares that they give."""
    pooled = pooled_lesions(cases)
    if pooled is None:
        return {}
    counts: dict[str, float | None] = dict(zip(_LESION_COUNTS, pooled.counts.values(), strict=True))
    counts["lesions_false_per_scan"] = pooled.false / sum(case.lesions is not None for case in cases)
    for size in SIZES:
        part, name = pooled.of_size(size), size.title.replace(" ", "_")
        counts |= {f"lesions_{name}_reference": len(part.reference), f"lesions_{name}_found": part.found}
    shares = {"lesion_sensitivity": pooled.sensitivity, "lesion_precision": pooled.precision, "lesion_f1": pooled.f1}
    return {key: float(value) for key, value in {**counts, **shares}.items() if value is not None}


def pooled_lesions(cases: Sequence[CaseScore]) -> LesionScore | None:
    """The lesions of all cases together; None where no case was scored for them."""
    return LesionScore.of_all(case.lesions for case in cases if case.lesions is not None)


def write_scores(folder: Path, scores: Scores) -> None:
    """scores.json, which `read_scores` reads, scores.csv with a row for each case and label, and summary.csv.

    In the tables an empty cell is a missing value.
    """
    write_json(folder / SCORES, scores.model_dump())
    columns = [*(f.name for f in fields(LabelScore)), *_LESION_COUNTS]
    last = ["pixel_accuracy", "seconds", "warnings", "error"]
    rows: list[dict[str, Any]] = []
    for case in scores.cases:
        common = case.model_dump(include={"case", "patient", "warnings", "error"})
        common["seconds"] = round(case.seconds, 3)
        common["pixel_accuracy"] = None if case.classes is None else case.classes.pixel_accuracy
        rows += [common | asdict(row) | _lesion_counts(case, row.label) for row in case.labels] or [common]
    write_csv(folder / "scores.csv", ["case", "patient", *columns, *last], rows)
    summary = [{"label": row.label, "metric": row.metric, **asdict(row.values)} for row in scores.statistics]
    write_csv(folder / "summary.csv", ["label", "metric", *(f.name for f in fields(Distribution))], summary)


def _lesion_counts(case: CaseScore, label: str) -> dict[str, int]:
    lesions = case.lesions
    if label != case.lesion_label or lesions is None:
        return {}
    return dict(zip(_LESION_COUNTS, lesions.counts.values(), strict=True))


def read_scores(folder: Path) -> Scores:
    """The scores that `evaluate` wrote into `folder`.

    Raises:
        DataError: there are none, or they are not as this version writes them.
    """
    try:
        return Scores.model_validate_json((folder / SCORES).read_bytes())
    except OSError as error:
        raise DataError(f"{folder} holds no {SCORES}; run `python -m Training evaluate ... -o {folder}`.") from error
    except ValidationError as error:
        raise DataError(f"{folder / SCORES} is not of this version or is damaged; run evaluate again.") from error


def shown(value: float | None, metric: str) -> str:
    """A value as tables show it; "-" where there is none."""
    return "-" if value is None else f"{value:.{SHOWN[metric].digits}f}"


def with_interval(values: Distribution, metric: str) -> str:
    """Mean and confidence interval as tables show them: "0.951 [0.940, 0.962]"; "-" without any value."""
    ends = "" if values.ci_low is None else f" [{shown(values.ci_low, metric)}, {shown(values.ci_high, metric)}]"
    return shown(values.mean, metric) + ends
