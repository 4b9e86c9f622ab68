"""The curves of a run. Only matplotlib's objects are used: pyplot keeps state that threads share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from LiverSegLib.pictures import figures
from Training.errors import RunError
from Training.fit.run_folder import RunFolder, Series, best_epoch

# Okabe and Ito's colors, which color-blind people can tell apart (jfly.uni-koeln.de/color).
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
_STYLES = ("-", "--", "-.", ":")
_GRID = "#dddddd"


def plot_history(run: RunFolder) -> Path:
    """Draw the history of a run as a PNG in its folder: loss, Dice, F-score, accuracy and learning rate by epoch.

    What a run did not record has no panel. A dotted line marks the epoch of the best checkpoint.

    Raises:
        RunError: there is no history to draw.
        OutputError: the picture cannot be written.
    """
    history = run.history()
    shown = _panels(history)
    if not shown:
        raise RunError(f"{run.history_file} has none of the columns of a training; train again.")
    columns = len(shown) if len(shown) < 4 else 2 if len(shown) == 4 else 3
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(5.2 * columns + 1.2, 3.7 * rows + 0.4), dpi=110, facecolor="white", layout="constrained")
    figure.suptitle(run.path.resolve().name, fontsize=13, fontweight="bold", parse_math=False)
    best = best_epoch(history)
    epochs = [epoch for series in history.values() for epoch in series[0]]
    # The same epochs in every panel, with room for a single one.
    room = max(0.5, 0.03 * (max(epochs) - min(epochs)))
    for number, (title, names) in enumerate(shown.items(), 1):
        axes = figure.add_subplot(rows, columns, number)
        _draw_curves(axes, history, names)
        axes.set_xlim(min(epochs) - room, max(epochs) + room)
        _finish(axes, title, best)
    figures.save(figure, run.curves)
    return run.curves


def _panels(history: dict[str, Series]) -> dict[str, list[str]]:
    """The columns that each panel shows, by its title."""
    labels = sorted((n for n in history if n.startswith(("train_dice_", "val_dice_"))), key=_label_and_part)
    # With one label its Dice is the mean.
    several = len({_label_and_part(name)[0] for name in labels}) > 1
    panels = {
        "Loss": ["train_loss", "val_loss"],
        "Dice": ["train_dice", "val_dice", *(labels if several else [])],
        "F-score": ["train_f_score", "val_f_score"],
        "Pixel accuracy": ["train_accuracy", "val_accuracy"],
        "Learning rate": ["learning_rate"],
    }
    known = {title: [name for name in names if name in history] for title, names in panels.items()}
    return {title: names for title, names in known.items() if names}


def _label_and_part(name: str) -> tuple[str, str]:
    """("liver", "train") of train_dice_liver; the label is "" for a mean, and the whole name where it is no Dice."""
    part, dice, rest = name.partition("_dice")
    return (rest.removeprefix("_") if dice else name), part


def _draw_curves(axes: Axes, history: dict[str, Series], names: list[str]) -> None:
    # A label has one color; what it reached while training is dashed beside its validation.
    subjects = list(dict.fromkeys(_label_and_part(name)[0] for name in names))
    for name in names:
        epochs, values = history[name]
        number, dashed = subjects.index(_label_and_part(name)[0]), name.startswith("train_dice")
        color, style = COLORS[number % len(COLORS)], _STYLES[number // len(COLORS) % len(_STYLES)]
        width, order = (2.4, 4) if name == "val_dice" else (1.2 if dashed else 1.6, 3)
        # A single point has no line to be seen by.
        marker = "o" if len(epochs) <= 20 else None
        line: dict[str, Any] = {"color": color, "linestyle": "--" if dashed else style, "linewidth": width}
        axes.plot(epochs, values, label=_readable(name), marker=marker, markersize=4, zorder=order, **line)


def _readable(name: str) -> str:
    part = {"train": "training", "val": "validation"}.get(name.partition("_")[0])
    if part is None:
        return name.replace("_", " ")
    if "_dice" not in name:
        return part
    return f"{_label_and_part(name)[0] or 'mean'}, {part}"


def _finish(axes: Axes, title: str, best: tuple[int, float] | None) -> None:
    axes.set_title(title, fontsize=11, loc="left", fontweight="bold")
    axes.set_xlabel("Epoch")
    axes.grid(color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, steps=[1, 2, 5, 10], min_n_ticks=1))
    values = [float(v) for line in axes.get_lines() for v in np.asarray(line.get_ydata())]
    if title in ("Dice", "F-score", "Pixel accuracy"):
        axes.set_ylim(min(0.0 if title != "Pixel accuracy" else min(values) - 0.02, *values), 1.01)
    elif title == "Learning rate":
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
        axes.set_ylim(bottom=0)
    elif min(values) > 0 and max(values) > 20 * min(values):
        axes.set_yscale("log")
    if best is not None:
        axes.axvline(best[0], color="#666666", linestyle=":", linewidth=1.2, zorder=2)
        if title == "Dice":
            axes.set_title(f"best {best[1]:.3f} in epoch {best[0]}", fontsize=9.5, loc="right", color="#444444")
    if title != "Learning rate":
        # Dice has too many curves, some of them at 0 and at 1, for a free place inside.
        place = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.02)} if title == "Dice" else {"loc": "best"}
        axes.legend(fontsize=8.5, framealpha=0.7, edgecolor="none", **place)
