"""The page of an evaluation: summary, distributions, lesions, and every case, the worst first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from Training.evaluation.lesions import OVERLAP
from Training.evaluation.scores import SHOWN, CaseScore, Scores, shown
from Training.markdown import table
from Training.reports import html
from Training.reports.charts import agreement_chart, volume_chart
from Training.reports.score_tables import (
    CLASS_HEADER,
    CLASS_NOTE,
    LESION_HEADER,
    MISSING,
    case_table,
    class_rows,
    lesion_rows,
    sentences,
    summary_cells,
)

REPORT = "report.html"
_CASE_METRICS = ("dice", "iou", "nsd", "hd95_mm", "assd_mm", "volume_ml", "reference_ml", "volume_error_percent")
_POOLED = ("pixel_accuracy", "f_score", "miou", "mpa")
_SUMMARY = ("label", "metric", "mean [95 % CI]", "median", "SD", "5th pct.", "min", "95th pct.", "max", "n", "missing")


def write_report(folder: Path, scores: Scores, first: Sequence[str] = ()) -> None:
    """Write the page into the evaluation's folder, beside the pictures that `scores` names; `first` comes first.

    Raises:
        OutputError: the page cannot be written.
    """
    parts = [html.markdown(f"Model: {scores.model}"), html.folded(scores.command), html.markdown(*sentences(scores))]
    parts += [*first, *_failed(scores), *_summary(scores)]
    for heading, chart in (("Agreement", agreement_chart(scores)), ("Volumes", volume_chart(scores))):
        if chart is not None:
            parts += [html.markdown(f"## {heading}"), html.image(chart, alt=heading)]
    parts += _lesions(scores)
    parts.append(html.markdown("## Cases, worst first", case_table(scores.worst_first, _CASE_METRICS)))
    parts += [html.image(Path(case.picture), _caption(case)) for case in scores.worst_first if case.picture is not None]
    html.write_page(folder / REPORT, scores.title or "Evaluation", parts)


def _failed(scores: Scores) -> list[str]:
    failed = [(case.case, case.error) for case in scores.cases if case.error]
    if not failed:
        return []
    count = html.alarm(f"{len(failed)} of {len(scores.cases)} cases failed and are in no number below.")
    return [html.markdown("## Failed"), count, html.markdown(table(("case", "why"), failed, text_columns=2))]


def _summary(scores: Scores) -> list[str]:
    if not scores.statistics:
        return []
    rows = []
    for row in scores.statistics:
        v = row.values
        rows.append([row.label, *summary_cells(row, v.median, v.sd, v.p5, v.minimum, v.p95, v.maximum)])
    pooled = [f"{SHOWN[key].title} {shown(scores.summary[key], key)}" for key in _POOLED if key in scores.summary]
    note = (
        f"> {MISSING} NSD: normalized surface Dice at {scores.tolerance_mm:g} mm. False lesions: how many in a scan. "
        "CI: percentile bootstrap over patients, 10,000 draws. SD is between cases. Lengths and volumes of "
        "pictures that do not tell their pixel size take 1 mm a pixel."
    )
    together = f"All pixels of all cases pooled: {', '.join(pooled)}."
    classes = [table(CLASS_HEADER, class_rows(scores)), f"> {CLASS_NOTE}"]
    return [html.markdown("## Summary", table(_SUMMARY, rows, text_columns=2), together, note, *classes)]


def _lesions(scores: Scores) -> list[str]:
    by_size = lesion_rows(scores)
    if not by_size:
        return []
    rows = [
        (case.case, side, yes if lesion.matched else no, f"{lesion.longest_diameter_mm:.1f}", f"{lesion.volume_ml:.2f}")
        for case in scores.cases
        if case.lesions is not None
        for side, lesions, yes, no in (
            ("reference", case.lesions.reference, "found", "missed"),
            ("model", case.lesions.marked, "real", "false"),
        )
        for lesion in lesions
    ]
    header = ("case", "drawn by", "", "longest diameter (mm)", "volume (mL)")
    note = (
        f"> A lesion is a connected part. It is found where at least {OVERLAP:.0%} of it is marked, and a marked one "
        f"is false where less than {OVERLAP:.0%} of it lies in a reference lesion."
    )
    return [html.markdown("## Lesions", table(LESION_HEADER, by_size), table(header, rows, text_columns=3), note)]


def _caption(case: CaseScore) -> str:
    scores = [f"{row.label} Dice {shown(row.dice, 'dice')}" for row in case.labels if row.dice is not None]
    return " · ".join([case.case, *scores, *([case.warnings] if case.warnings else [])])
