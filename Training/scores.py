"""The scores of an evaluation as data: scores.json, scores.csv, and tables for a model card."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
from pydantic import Field, ValidationError

from LiverSegLib.io.atomic import atomic_file
from Training.errors import DataError
from Training.lesions import LesionScore
from Training.metrics import METRICS, SET_METRICS, LabelScore, Metric, SetScore, set_score
from Training.options import Part
from Training.statistics import Distribution, describe

SCORES = "scores.json"
ALL_CLASSES = "all classes"
LESION_METRICS = {
    "lesion_precision": Metric("lesion precision", 3, 1),
    "lesion_recall": Metric("lesion recall", 3, 1),
    "lesion_f1": Metric("lesion F1", 3, 1),
}
SHOWN = {**METRICS, **SET_METRICS, **LESION_METRICS}
_MANY_CASES = 25


class CaseScore(Part):
    """One case of an evaluation.

    `labels`: a row for each label. `confusion`: voxels by reference class (rows) and found class, background first
    and then as `Scores.labels`; None without a reference. `lesions`: where model and reference mark tumours.
    `seconds`: the segmentation alone. `picture`: beside scores.json. `error`: why there are no scores, or "".
    """

    case: str
    patient: str
    labels: list[LabelScore] = Field(default=[])
    confusion: list[list[int]] | None = None
    lesions: LesionScore | None = None
    seconds: float = 0.0
    warnings: str = ""
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
            ours = {"lesion_precision": self.lesions.precision, "lesion_recall": self.lesions.recall}
            found |= {("tumor", key): value for key, value in ours.items()} | {("tumor", "lesion_f1"): self.lesions.f1}
        return found | {(ALL_CLASSES, key): value for key, value in asdict(set_score(self.confusion)).items()}


class Statistic(Part):
    """One metric of one label over all cases."""

    label: str
    metric: str
    values: Distribution


class Scores(Part):
    """An evaluation: what it was, the headline numbers, the full statistics and every case.

    `summary` holds counts, "<label>_<metric>_mean" and the like, and the metrics of all cases pooled ("miou", ...).
    """

    title: str
    command: str
    model: str
    tolerance_mm: float
    labels: list[str]
    summary: dict[str, float]
    statistics: list[Statistic]
    cases: list[CaseScore]


def summarize(
    cases: Sequence[CaseScore], labels: Sequence[str], tolerance_mm: float, title: str = "", command: str = "",
    model: str = "",
) -> Scores:  # fmt: skip
    """Put cases and their statistics together; `labels` in the order of the confusion matrices."""
    by_key: dict[tuple[str, str], list[tuple[float | None, str]]] = {}
    for case in cases:
        for key, value in case.values().items():
            by_key.setdefault(key, []).append((value, case.patient))
    statistics = []
    for (label, metric), pairs in by_key.items():
        found = describe([value for value, _ in pairs], [patient for _, patient in pairs])
        if found is not None:
            statistics.append(Statistic(label=label, metric=metric, values=found))
    return Scores(
        title=title, command=command, model=model, tolerance_mm=tolerance_mm, labels=list(labels),
        summary=_headline(cases, statistics), statistics=statistics, cases=list(cases),
    )  # fmt: skip


def _headline(cases: Sequence[CaseScore], statistics: Sequence[Statistic]) -> dict[str, float]:
    scored = [case for case in cases if case.confusion is not None]
    summary = {"cases": float(len(scored)), "patients": float(len({case.patient for case in scored}))}
    failed = sum(bool(case.error) for case in cases)
    if failed:
        summary["failed"] = float(failed)
    for row in statistics:
        name = f"{row.label.replace(' ', '_')}_{row.metric}"
        if row.metric == "dice":
            summary |= {f"{name}_mean": row.values.mean, f"{name}_median": row.values.median,
                        f"{name}_p5": row.values.p5, f"{name}_min": row.values.minimum}  # fmt: skip
        elif row.metric in ("nsd", "hd95_mm", "assd_mm", "volume_error_percent"):
            summary[f"{name}_mean"] = row.values.mean
    if scored:
        summary |= asdict(set_score(np.sum([np.asarray(case.confusion) for case in scored], axis=0)))
    pooled = pooled_lesions(cases)
    if pooled is not None:
        ours = {"lesion_precision": pooled.precision, "lesion_recall": pooled.recall, "lesion_f1": pooled.f1}
        summary |= {key: value for key, value in ours.items() if value is not None}
    return summary


def pooled_lesions(cases: Sequence[CaseScore]) -> LesionScore | None:
    """The lesions of all cases together; None where no case was scored for them."""
    scored = [case.lesions for case in cases if case.lesions is not None]
    if not scored:
        return None
    return LesionScore(tuple(x for s in scored for x in s.reference), tuple(x for s in scored for x in s.marked))


def new_folder(folder: Path) -> Path:
    """Make `folder`; fine if it is there.

    Raises:
        DataError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"The folder {folder} cannot be made ({error.strerror}); choose another.") from error
    return folder


def write_scores(folder: Path, scores: Scores) -> None:
    """scores.json, which `read_scores` reads, and scores.csv with a row for each case and label."""
    with atomic_file(folder / SCORES) as complete:
        complete.write(json.dumps(scores.model_dump(), indent=1).encode())
    first = ["case", "patient"]
    columns = [f.name for f in fields(LabelScore)]
    last = ["pixel_accuracy", "seconds", "warnings", "error"]
    with (folder / "scores.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*first, *columns, *last])
        writer.writeheader()
        for case in scores.cases:
            accuracy = None if case.classes is None else case.classes.pixel_accuracy
            common = {"case": case.case, "patient": case.patient, "pixel_accuracy": accuracy,
                      "seconds": round(case.seconds, 3), "warnings": case.warnings, "error": case.error}  # fmt: skip
            writer.writerows(common | asdict(row) for row in case.labels)
            if not case.labels:
                writer.writerow(common)


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
    """Mean and confidence interval as tables show them: "0.951 [0.940, 0.962]"."""
    ends = "" if values.ci_low is None else f" [{shown(values.ci_low, metric)}, {shown(values.ci_high, metric)}]"
    return shown(values.mean, metric) + ends


def markdown(scores: Scores) -> str:
    """Summary and cases as Markdown tables, for the model card; of many cases only the worst."""
    lines = ["| label | metric | mean [95 % CI] | median | worst |", "|---|---|---|---|---|"]
    for row in scores.statistics:
        better = SHOWN[row.metric].better
        if better and row.metric not in ("iou", "precision", "recall"):
            worst = row.values.minimum if better > 0 else row.values.maximum
            cells = (row.label, SHOWN[row.metric].title, with_interval(row.values, row.metric),
                     shown(row.values.median, row.metric), shown(worst, row.metric))  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |")
    keys = ("dice", "nsd", "hd95_mm", "volume_ml", "reference_ml")
    lines += ["", f"| case | label | {' | '.join(METRICS[key].title for key in keys)} | seconds |"]
    lines.append("|---|---|" + "---|" * (len(keys) + 1))
    cases = scores.cases
    if len(cases) > _MANY_CASES:
        cases = sorted(cases, key=lambda case: case.rank)[:10]
        lines[-2:-2] = [f"The worst 10 of {len(scores.cases)} cases:", ""]
    lines += [_row(case, row, keys) for case in cases for row in case.labels]
    return "\n".join(lines if scores.statistics else lines[3:])


def _row(case: CaseScore, row: LabelScore, keys: Sequence[str]) -> str:
    name = case.case.replace("|", "\\|")
    return f"| {name} | {row.label} | {' | '.join(shown(getattr(row, k), k) for k in keys)} | {case.seconds:.1f} |"


def rows_worst_first(scores: Scores) -> Iterator[tuple[CaseScore, LabelScore]]:
    """Every case and label, the cases with the lowest Dice first."""
    for case in sorted(scores.cases, key=lambda case: case.rank):
        for row in case.labels:
            yield case, row
