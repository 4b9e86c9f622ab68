"""Plots of evaluations and comparisons, as PNG bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from Training.evaluation.metrics import METRICS, LabelScore
from Training.evaluation.scores import Scores
from Training.fit.curves import COLORS

_MOST_LABELS = 6


def agreement_chart(scores: Scores) -> bytes | None:
    """Dice and normalized surface Dice of every case, a column a label; None without a reference."""
    labels = [label for label in scores.labels if _values(scores, label, "dice")]
    if not labels:
        return None
    figure, axes = _figure(2, max(3.2, 1.1 * len(labels) + 1.8))
    titles = {"dice": METRICS["dice"].title, "nsd": f"{METRICS['nsd'].title} at {scores.tolerance_mm:g} mm"}
    for place, (key, title) in zip(axes, titles.items(), strict=True):
        boxes(place, {label: _values(scores, label, key) for label in labels})
        place.set(title=title, ylim=(-0.03, 1.03))
    return _png(figure)


def volume_chart(scores: Scores) -> bytes | None:
    """Found against drawn volume, and Bland and Altman's plot (Lancet 1986) of their difference, a row a label."""
    labels = [label for label in scores.labels if _volumes(scores, label).size][:_MOST_LABELS]
    if not labels:
        return None
    figure = Figure(figsize=(9, 3.4 * len(labels)), layout="constrained")
    places = figure.subplots(len(labels), 2, squeeze=False)
    for row, label in enumerate(labels):
        found, drawn = _volumes(scores, label).T
        color = COLORS[row % len(COLORS)]
        left, right = places[row]
        ends = [0, 1.05 * max(found.max(), drawn.max(), 1e-3)]
        left.plot(ends, ends, color="0.6", linewidth=1)
        left.scatter(drawn, found, s=18, color=color, alpha=0.75)
        left.set(xlabel="reference (mL)", ylabel="model (mL)", title=f"{label}: volume")
        right.scatter((found + drawn) / 2, found - drawn, s=18, color=color, alpha=0.75)
        _limits_of_agreement(right, found - drawn)
        right.set(xlabel="mean of both (mL)", ylabel="model - reference (mL)", title=f"{label}: difference")
    return _png(figure)


def comparison_chart(values: Mapping[str, Mapping[str, Sequence[float]]]) -> bytes:
    """Several models side by side.

    Args:
        values: {metric's title: {model: one value a case}}, a panel a metric.
    """
    models = max(len(per_model) for per_model in values.values())
    figure, axes = _figure(len(values), max(2.9, 0.9 * models + 1.2))
    for place, (title, per_model) in zip(axes, values.items(), strict=True):
        boxes(place, per_model)
        place.set_title(title)
        place.tick_params(axis="x", rotation=20 if models > 2 else 0)
    return _png(figure)


def boxes(place: Axes, values: Mapping[str, Sequence[float]]) -> None:
    """A box and every single value, by name; the line is the median, the diamond the mean."""
    rng = np.random.default_rng(0)
    diamond = {"marker": "D", "markersize": 5, "markerfacecolor": "white", "markeredgecolor": "black", "zorder": 4}
    box: dict[str, Any] = {"widths": 0.5, "showfliers": False, "medianprops": {"color": "black"}}
    for at, numbers in enumerate(values.values()):
        color = COLORS[at % len(COLORS)]
        if len(numbers):
            place.boxplot([numbers], positions=[at], showmeans=True, meanprops=diamond, **box)
            place.scatter(at + rng.uniform(-0.16, 0.16, len(numbers)), numbers, s=14, color=color, alpha=0.6, zorder=3)
    place.set_xticks(range(len(values)), list(values))
    place.set_xlim(-0.6, len(values) - 0.4)
    place.grid(axis="y", alpha=0.3)


def _limits_of_agreement(place: Axes, differences: np.ndarray) -> None:
    mean = float(differences.mean())
    place.axhline(mean, color="black", linewidth=1)
    if differences.size > 2:
        spread = 1.96 * float(differences.std(ddof=1))
        for value in (mean - spread, mean + spread):
            place.axhline(value, color="black", linewidth=1, linestyle="--")
    place.axhline(0, color="0.6", linewidth=1)


def _rows(scores: Scores, label: str) -> list[LabelScore]:
    return [row for case in scores.cases for row in case.labels if row.label == label]


def _values(scores: Scores, label: str, key: str) -> list[float]:
    """The metric `key` of every case that has one."""
    return [value for row in _rows(scores, label) if (value := getattr(row, key)) is not None]


def _volumes(scores: Scores, label: str) -> np.ndarray:
    """Found and drawn volume in mL, [cases, 2]."""
    rows = _rows(scores, label)
    return np.array([(r.volume_ml, r.reference_ml) for r in rows if r.reference_ml is not None], np.float64)


def _figure(panels: int, width: float) -> tuple[Figure, list[Axes]]:
    """A figure of up to three panels a row, each `width` inches wide."""
    columns = min(panels, 3)
    rows = -(-panels // columns)
    figure = Figure(figsize=(width * columns, 3.6 * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for unused in axes[panels:]:
        unused.set_visible(False)
    return figure, axes[:panels]


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)  # savefig would draw it twice, for its layout
    return buffer.getvalue()
