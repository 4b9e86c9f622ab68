"""A comparison as Markdown and as an HTML page."""

from __future__ import annotations

from collections.abc import Sequence

from Training.evaluation.compare import Comparison, Difference
from Training.evaluation.metrics import SET_METRICS
from Training.evaluation.scores import SHOWN, shown, with_interval
from Training.evaluation.statistics import MIN_PAIRS, Distribution, PairedDifference
from Training.reports import html

_Table = tuple[list[str], list[list[str]]]


def markdown(comparison: Comparison) -> str:
    """Both tables and the notes, in Markdown."""
    parts = []
    for title, (header, rows) in (("", means_table(comparison)), ("Paired differences", tests_table(comparison))):
        if title:
            parts.append(f"### {title}")
        parts.append("\n".join(_line(cells) for cells in (header, ["---"] * len(header), *rows)))
    return "\n\n".join([*parts, *notes(comparison)]) + "\n"


def report(comparison: Comparison, chart: bytes) -> str:
    """The HTML page; `chart` is a PNG."""
    means, tests = means_table(comparison), tests_table(comparison)
    rows = list(zip(comparison.runs, comparison.models, strict=True))
    parts = [
        html.table(("run", "model"), rows, text_columns=2),
        html.heading("Means"),
        html.table(*means, text_columns=2),
        html.image(chart, alt="Distributions"),
        html.heading("Paired differences"),
        html.table(*tests, text_columns=3),
        *(html.paragraph(note, "note") for note in notes(comparison)),
    ]
    return html.page(f"Comparison of {', '.join(comparison.runs)}", parts)


def means_table(comparison: Comparison) -> _Table:
    """Header and rows: mean [95 % CI] and number of cases of each run; what is pooled at the end."""
    rows = []
    for row in comparison.rows:
        cells = [f"{with_interval(run, row.metric)}, {cases(run)}" for run in row.runs]
        rows.append([row.label, SHOWN[row.metric].title, *cells])
    return ["label", "metric", *comparison.runs], rows + pooled_rows(comparison)


def pooled_rows(comparison: Comparison) -> list[list[str]]:
    """Label, metric and a cell for each run: all pixels and all lesions of all cases together."""
    rows = [
        ["all pixels pooled", metric.title, *(shown(run[key], key) for run in comparison.pooled)]
        for key, metric in (SET_METRICS.items() if comparison.pooled else ())
    ]
    if comparison.lesions:
        for title, part, whole in (("found of drawn", "found", "reference"), ("false of marked", "false", "marked")):
            cells = [f"{run[part]} of {run[whole]}" for run in comparison.lesions]
            rows.append(["all lesions pooled", title, *cells])
    return rows


def cases(values: Distribution | PairedDifference) -> str:
    """How many cases a mean is over: "n 20", or "n 16, 4 missing"."""
    return f"n {values.n}" + (f", {values.missing} missing" if values.missing else "")


def tests_table(comparison: Comparison) -> _Table:
    """Header and rows: each difference with its interval and p-values."""
    header = ["label", "metric", "pair", "difference [95 % CI]", "p", "p (Holm)", "n", "missing", "patients"]
    return header, [_difference_cells(difference) for difference in comparison.differences]


def _difference_cells(difference: Difference) -> list[str]:
    result = difference.result
    return [
        difference.label,
        SHOWN[difference.metric].title,
        f"{difference.second} - {difference.first}",
        difference_with_interval(difference),
        p_value(result),
        p_value(result, holm=True),
        str(result.n),
        str(result.missing),
        str(result.patients),
    ]


def difference_with_interval(difference: Difference) -> str:
    """ "+0.021 [+0.010, +0.032]"; "-" where no case has a value in both runs."""
    result, digits = difference.result, SHOWN[difference.metric].digits
    if result.mean is None:
        return "-"
    ends = "" if result.ci_low is None else f" [{result.ci_low:+.{digits}f}, {result.ci_high:+.{digits}f}]"
    return f"{result.mean:+.{digits}f}{ends}"


def p_value(result: PairedDifference, *, holm: bool = False) -> str:
    """As tables show it; "-" where there are too few patients for the test."""
    value = result.p_holm if holm else result.p
    if value is None:
        return "-"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def notes(comparison: Comparison) -> list[str]:
    """How the tables were made, and what they leave out."""
    found = [
        f"{len(comparison.cases)} cases of {comparison.patients} patients that every run scored. Means are over the n "
        "cases that have a value, differences over those that have one in both runs; the others are missing, such as "
        "a label that is on neither side. CI: percentile bootstrap over patients, 10,000 draws.",
        "p: Wilcoxon signed-rank test of the differences, patient by patient (a patient's cases are averaged), "
        f"not given for fewer than {MIN_PAIRS} patients. Holm: corrected for all pairs of runs in that metric.",
    ]
    if comparison.left_out:
        found.append(f"Left out, because not every run scored them: {', '.join(comparison.left_out)}.")
    return found


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
