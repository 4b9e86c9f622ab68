"""report.html of an evaluation: summary, distributions, lesions, and every case, the worst first."""

from __future__ import annotations

from pathlib import Path

from Training.evaluation.lesions import OVERLAP
from Training.evaluation.metrics import METRICS
from Training.evaluation.scores import SHOWN, CaseScore, Scores, rows_worst_first, shown, with_interval
from Training.reports import html
from Training.reports.charts import agreement_chart, volume_chart
from Training.reports.score_tables import LESION_HEADER, MISSING, lesion_rows, sentences

REPORT = "report.html"
_CASE_METRICS = ("dice", "iou", "nsd", "hd95_mm", "assd_mm", "volume_ml", "reference_ml", "volume_error_percent")
_POOLED = ("pixel_accuracy", "f_score", "miou", "mpa")


def write_report(folder: Path, scores: Scores) -> Path:
    """Write report.html beside the pictures that `scores` names.

    Args:
        folder: the evaluation's folder.
        scores: what it found.
    """
    parts = [html.paragraph(f"Model: {scores.model}"), html.preformatted(scores.command)]
    parts += [html.paragraph(text) for text in sentences(scores)]
    parts += _failed(scores) + _summary(scores)
    for heading, chart in (("Agreement", agreement_chart(scores)), ("Volumes", volume_chart(scores))):
        if chart is not None:
            parts += [html.heading(heading), html.image(chart, alt=heading)]
    parts += _lesions(scores) + _cases(scores)
    path = folder / REPORT
    path.write_text(html.page(scores.title or "Evaluation", parts), encoding="utf-8")
    return path


def _failed(scores: Scores) -> list[str]:
    failed = [case for case in scores.cases if case.error]
    if not failed:
        return []
    count = f"{len(failed)} of {len(scores.cases)} cases failed and are in no number below."
    return [
        html.heading("Failed"),
        html.paragraph(count, "bad"),
        html.table(("case", "why"), [(case.case, case.error) for case in failed], text_columns=2),
    ]


def _summary(scores: Scores) -> list[str]:
    if not scores.statistics:
        return []
    rows = []
    for row in scores.statistics:
        v = row.values
        numbers = (v.median, v.sd, v.p5, v.minimum, v.p95, v.maximum)
        rows.append(
            [
                row.label,
                SHOWN[row.metric].title,
                with_interval(v, row.metric),
                *(shown(number, row.metric) for number in numbers),
                str(v.n),
                str(v.missing),
            ]
        )
    header = (
        "label",
        "metric",
        "mean [95 % CI]",
        "median",
        "SD",
        "5th pct.",
        "min",
        "95th pct.",
        "max",
        "n",
        "missing",
    )
    pooled = [f"{SHOWN[key].title} {shown(scores.summary[key], key)}" for key in _POOLED if key in scores.summary]
    note = (
        f"{MISSING} NSD: normalised surface Dice at {scores.tolerance_mm:g} mm. False lesions: how many in a scan. CI: "
        "percentile bootstrap over patients, 10,000 draws. SD is between cases. Lengths and volumes of "
        "pictures that do not tell their pixel size take 1 mm a pixel."
    )
    return [
        html.heading("Summary"),
        html.table(header, rows, text_columns=2),
        html.paragraph(f"All pixels of all cases pooled: {', '.join(pooled)}."),
        html.paragraph(note, "note"),
    ]


def _lesions(scores: Scores) -> list[str]:
    by_size = lesion_rows(scores)
    if not by_size:
        return []
    rows = []
    for case in scores.cases:
        if case.lesions is None:
            continue
        sides = (
            ("reference", case.lesions.reference, "found", "missed"),
            ("model", case.lesions.marked, "real", "false"),
        )
        for side, lesions, yes, no in sides:
            for lesion in lesions:
                size = f"{lesion.longest_diameter_mm:.1f}"
                rows.append((case.case, side, yes if lesion.matched else no, size, f"{lesion.volume_ml:.2f}"))
    header = ("case", "drawn by", "", "longest diameter (mm)", "volume (mL)")
    note = (
        f"A lesion is a connected part. It is found where at least {OVERLAP:.0%} of it is marked, and a marked one is "
        f"false where less than {OVERLAP:.0%} of it lies in a reference lesion."
    )
    return [
        html.heading("Lesions"),
        html.table(LESION_HEADER, by_size),
        html.table(header, rows, text_columns=3),
        html.paragraph(note, "note"),
    ]


def _cases(scores: Scores) -> list[str]:
    header = ("case", "label", *(METRICS[key].title for key in _CASE_METRICS), "seconds")
    rows = [
        (case.case, row.label, *(shown(getattr(row, key), key) for key in _CASE_METRICS), f"{case.seconds:.1f}")
        for case, row in rows_worst_first(scores)
    ]
    parts = [html.heading("Cases, worst first"), html.table(header, rows, text_columns=2)]
    for case in sorted(scores.cases, key=lambda case: case.rank):
        if case.picture is not None:
            parts.append(html.image(Path(case.picture), caption=_caption(case)))
    return parts


def _caption(case: CaseScore) -> str:
    scores = [f"{row.label} Dice {shown(row.dice, 'dice')}" for row in case.labels if row.dice is not None]
    return " · ".join([case.case, *scores, *([case.warnings] if case.warnings else [])])
