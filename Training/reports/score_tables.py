"""The scores of an evaluation in words and tables, the same on the screen, in model cards and on pages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from LiverSegLib.labels import MAIN_ORGAN, label_for
from LiverSegLib.quality import FAILURE
from Training.evaluation.classes import CLASS_METRICS, class_scores
from Training.evaluation.lesions import SIZES, LesionScore
from Training.evaluation.metrics import METRICS
from Training.evaluation.scores import SHOWN, CaseScore, Scores, Statistic, pooled_lesions, shown, with_interval
from Training.markdown import bullets, table

Row = list[str]
LESION_HEADER = ("lesions by longest diameter", "drawn", "found", "sensitivity", "marked", "false", "precision")
CLASS_HEADER = ("class", *(metric.title for metric in CLASS_METRICS.values()), "drawn", "found")
CLASS_NOTE = (
    "Voxels of all cases together, each class by itself: the liver without its tumors. Accuracy is the share of the "
    "drawn voxels that were found; drawn and found are numbers of voxels."
)
MISSING = (
    "n: cases with a value; missing: cases without one. A case with nothing on either side has no value, and one where "
    "only one side is empty has Dice, IoU and NSD 0 and no distance."
)
_MANY_CASES = 25
_ON_CARD = ("dice", "nsd", "hd95_mm", "volume_ml", "reference_ml")


def sentences(scores: Scores) -> list[str]:
    """What the means do not tell: how many cases there are, who has which label, which lesions were found."""
    failed = sum(bool(case.error) for case in scores.cases)
    cases, patients = (int(scores.summary[key]) for key in ("cases", "patients"))
    found = [f"{_counted(cases, 'case')} of {_counted(patients, 'patient')} with a reference."]
    if failed:
        found.append(f"{failed} of {len(scores.cases)} cases failed and are in no number.")
    found += [text for label in scores.labels if (text := _presence(scores.cases, label))]
    found += [text for label in scores.labels if (text := _failures(scores.cases, label))]
    lesions = pooled_lesions(scores.cases)
    if lesions is not None:
        found.append(_lesions(lesions, sum(case.lesions is not None for case in scores.cases)))
    return found


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _presence(cases: Sequence[CaseScore], label: str) -> str:
    """In how many cases a label is; nothing where both sides have it in all of them."""
    rows = [row for case in cases for row in case.labels if row.label == label and row.reference_ml is not None]
    # How often it is drawn or not, and marked or not.
    times = Counter((bool(row.reference_ml), row.volume_ml > 0) for row in rows)
    both, neither = times[True, True], times[False, False]
    if both == len(rows):
        return ""
    text = (
        f"{label}: drawn in {both + times[True, False]} of {_counted(len(rows), 'case')}, marked in {both} of these "
        f"and in {times[False, True]} others"
    )
    return f"{text}; nothing on either side in {neither}, left out of the means." if neither else f"{text}."


def _failures(cases: Sequence[CaseScore], label: str) -> str:
    """How often an organ failed, and how near what was expected of it came; nothing for lesions."""
    known = [(case, row.dice) for case in cases for row in case.labels if row.label == label and row.dice is not None]
    if not known or label_for(1, label).is_lesion:
        return ""
    failures = sum(dice < FAILURE for _, dice in known)
    share = 100 * failures / len(known)
    text = f"{label}: Dice below {FAILURE:g} in {failures} of {_counted(len(known), 'case')} ({share:.0f} %)"
    apart = [abs(case.expected_dice - dice) for case, dice in known if case.expected_dice is not None]
    if label == MAIN_ORGAN and apart:
        text += f"; what was expected differs from the Dice by {sum(apart) / len(apart):.3f} on average"
    return f"{text}."


def _lesions(lesions: LesionScore, scans: int) -> str:
    return (
        f"{lesions.found} of {len(lesions.reference)} lesions found "
        f"(sensitivity {shown(lesions.sensitivity, 'lesion_sensitivity')}); {lesions.false} of {len(lesions.marked)} "
        f"marked ones false (precision {shown(lesions.precision, 'lesion_precision')}), "
        f"{lesions.false / scans:.2f} false lesions per scan; F1 {shown(lesions.f1, 'lesion_f1')}."
    )


def lesion_rows(scores: Scores) -> list[Row]:
    """Cells under `LESION_HEADER`: the lesions of all cases by size, and all; none where none were scored."""
    pooled = pooled_lesions(scores.cases)
    if pooled is None:
        return []
    rows = []
    for title, part in [*((size.title, pooled.of_size(size)) for size in SIZES), ("all", pooled)]:
        drawn = (str(len(part.reference)), str(part.found), shown(part.sensitivity, "lesion_sensitivity"))
        marked = (str(len(part.marked)), str(part.false), shown(part.precision, "lesion_precision"))
        rows.append([title, *drawn, *marked])
    return rows


def class_rows(scores: Scores) -> list[Row]:
    """Cells under `CLASS_HEADER`: each class over the voxels of all cases, the background first."""
    rows = []
    for row in class_scores(scores):
        values = (getattr(row, key) for key in CLASS_METRICS)
        shares = [
            "-" if v is None else f"{v:.{m.digits}f}" for v, m in zip(values, CLASS_METRICS.values(), strict=True)
        ]
        rows.append([row.label, *shares, str(row.drawn), str(row.found)])
    return rows


def worst(row: Statistic) -> float | None:
    """The worst case's value; None without one, or where more is neither better nor worse."""
    better = SHOWN[row.metric].better
    return None if better == 0 else row.values.minimum if better > 0 else row.values.maximum


def summary_cells(row: Statistic, *numbers: float | None) -> Row:
    """A row of a summary: the metric, its mean with the interval, other numbers of it, cases with and without one."""
    values, title = row.values, SHOWN[row.metric].title
    others = (shown(number, row.metric) for number in numbers)
    return [title, with_interval(values, row.metric), *others, str(values.n), str(values.missing)]


def case_rows(cases: Iterable[CaseScore], metrics: Iterable[str]) -> list[Row]:
    """Case, label, these metrics and seconds, for every label of the cases, in their order."""
    keys = list(metrics)
    return [
        [case.case, row.label, *(shown(getattr(row, key), key) for key in keys), f"{case.seconds:.1f}"]
        for case in cases
        for row in case.labels
    ]


def case_table(cases: Iterable[CaseScore], metrics: Sequence[str]) -> str:
    """Markdown: these metrics of every label of the cases."""
    header = ("case", "label", *(METRICS[key].title for key in metrics), "seconds")
    return table(header, case_rows(cases, metrics), text_columns=2)


def markdown(scores: Scores) -> str:
    """Sentences, summary, lesions and cases as Markdown, for the model card; of many cases only the worst."""
    blocks = [bullets(sentences(scores))]
    if scores.statistics:
        columns = ("label", "metric", "mean [95 % CI]", "median", "worst", "n", "missing")
        rows = ([r.label, *summary_cells(r, r.values.median, worst(r))] for r in scores.statistics if _on_card(r))
        blocks += [table(columns, rows, text_columns=2), MISSING]
    if classes := class_rows(scores):
        blocks += [table(CLASS_HEADER, classes), CLASS_NOTE]
    if lesions := lesion_rows(scores):
        blocks.append(table(LESION_HEADER, lesions))
    cases = scores.cases
    if len(cases) > _MANY_CASES:
        cases = scores.worst_first[:10]
        blocks.append(f"The worst 10 of {len(scores.cases)} cases:")
    return "\n\n".join([*blocks, case_table(cases, _ON_CARD)])


def _on_card(row: Statistic) -> bool:
    return SHOWN[row.metric].better != 0 and row.metric not in ("iou", "precision", "recall")
