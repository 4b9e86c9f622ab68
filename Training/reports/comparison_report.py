"""A comparison as tables, in Markdown and on a page with its chart."""

from __future__ import annotations

from pathlib import Path

from LiverSegLib.io.atomic import atomic_file
from Training.evaluation.compare import Comparison, Difference
from Training.evaluation.metrics import SET_METRICS
from Training.evaluation.scores import SHOWN, shown, with_interval
from Training.evaluation.statistics import MIN_PAIRS, Distribution, PairedDifference
from Training.files import new_folder, write_json, write_text
from Training.markdown import table
from Training.reports import html
from Training.reports.charts import comparison_chart


def write_comparison(folder: Path, comparison: Comparison) -> Path:
    """Write the comparison as data, Markdown, chart and page into `folder`, made where it is missing; gives the page.

    Raises:
        OutputError: a file cannot be written.
    """
    new_folder(folder)
    chart, page = comparison_chart(charted(comparison)), folder / "comparison.html"
    write_json(folder / "comparison.json", comparison.model_dump())
    write_text(folder / "comparison.md", markdown(comparison))
    with atomic_file(folder / "comparison.png") as file:
        file.write(chart)
    runs = table(("run", "model"), zip(comparison.runs, comparison.models, strict=True), text_columns=2)
    parts = [
        html.markdown(runs, "## Means", _means(comparison)),
        html.image(chart, alt="Distributions"),
        html.markdown("## Paired differences", _tests(comparison), *(f"> {note}" for note in notes(comparison))),
    ]
    html.write_page(page, f"Comparison of {', '.join(comparison.runs)}", parts)
    return page


def markdown(comparison: Comparison) -> str:
    """Both tables and the notes, in Markdown."""
    blocks = [_means(comparison), "### Paired differences", _tests(comparison), *notes(comparison)]
    return "\n\n".join(blocks) + "\n"


def _means(comparison: Comparison) -> str:
    """Table of mean [95 % CI] and number of cases of each run; what is pooled at the end."""
    rows = []
    for row in comparison.rows:
        cells = [f"{with_interval(run, row.metric)}, {cases(run)}" for run in row.runs]
        rows.append([row.label, SHOWN[row.metric].title, *cells])
    return table(["label", "metric", *comparison.runs], rows + pooled_rows(comparison), text_columns=2)


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


def _tests(comparison: Comparison) -> str:
    """Table of each difference with its interval and p-values."""
    header = ["label", "metric", "pair", "difference [95 % CI]", "p", "p (Holm)", "n", "missing", "patients"]
    rows = []
    for one in comparison.differences:
        pair = f"{one.second} - {one.first}"
        rows.append([one.label, SHOWN[one.metric].title, pair, *difference_cells(one), one.result.patients])
    return table(header, rows, text_columns=3)


def difference_cells(one: Difference) -> list[str]:
    """The difference with its interval, p, p after Holm, cases with and without a value in both runs.

    The first is as "+0.021 [+0.010, +0.032]", and "-" where no case has a value in both runs.
    """
    result, digits = one.result, SHOWN[one.metric].digits
    shown_mean = "-" if result.mean is None else f"{result.mean:+.{digits}f}"
    if result.ci_low is not None:
        shown_mean += f" [{result.ci_low:+.{digits}f}, {result.ci_high:+.{digits}f}]"
    return [shown_mean, _p_value(result.p), _p_value(result.p_holm), str(result.n), str(result.missing)]


def _p_value(p: float | None) -> str:
    """As tables show it; "-" where there are too few patients for the test."""
    return "-" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


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


def charted(comparison: Comparison) -> dict[str, dict[str, list[float]]]:
    """What the chart shows: Dice and normalized surface Dice of up to three labels, mIoU and mPA."""
    labels = list(dict.fromkeys(row.label for row in comparison.rows if row.metric == "dice"))[:3]
    found: dict[str, dict[str, list[float]]] = {}
    for row in comparison.rows:
        per_label = row.metric in ("dice", "nsd") and row.label in labels
        if per_label or row.metric in ("miou", "mpa"):
            title = f"{row.label}: {SHOWN[row.metric].title}" if per_label else SHOWN[row.metric].title
            columns = zip(comparison.runs, row.values, strict=True)
            found[title] = {run: [v for v in column if v is not None] for run, column in columns}
    return found
