"""The page of a cross-validation: the folds side by side, then all patients together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from Training.evaluation.scores import Scores, shown
from Training.files import write_csv
from Training.markdown import table
from Training.reports import html
from Training.reports.evaluation_report import write_report

_METRICS = ("dice", "nsd", "hd95_mm")
_HEADER = ("fold", "label", "cases", "mean Dice", "SD", "worst", "NSD", "HD95 (mm)")
FOLDS = "folds.csv"


def fold_rows(scores: Sequence[Scores]) -> list[tuple[str, ...]]:
    """Cells under the header of the folds' table: each label of each fold."""
    rows: list[tuple[str, ...]] = []
    for number, one in enumerate(scores):
        values = {(row.label, row.metric): row.values for row in one.statistics}
        for label in one.labels:
            if (label, "dice") not in values:
                continue
            dice, nsd, far = (values[label, metric] for metric in _METRICS)
            cells = (shown(dice.mean, "dice"), shown(dice.sd, "dice"), shown(dice.minimum, "dice"))
            others = shown(nsd.mean, "nsd"), shown(far.mean, "hd95_mm")
            rows.append((str(number), label, str(dice.n), *cells, *others))
    return rows


def write_folds_report(folder: Path, whole: Scores, scores: Sequence[Scores]) -> None:
    """Write the page and `folds.csv`.

    Args:
        folder: where the summary of all folds lies.
        whole: all cases together.
        scores: of each fold.

    Raises:
        OutputError: one cannot be written.
    """
    rows = fold_rows(scores)
    write_csv(folder / FOLDS, _HEADER, [dict(zip(_HEADER, row, strict=True)) for row in rows])
    text = "Each patient was scored once, by the model of the fold that did not train on them."
    write_report(folder, whole, [html.markdown("## Folds", text, table(_HEADER, rows, text_columns=2))])
