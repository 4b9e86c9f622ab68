"""Plots of a run and of single cases. Only matplotlib's objects are used: pyplot keeps state that threads share."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from LiverSegLib.measure import Measurements
from LiverSegLib.pictures import figures, panels
from LiverSegLib.pictures.build import build_scene
from LiverSegLib.pictures.scene import Plane, Scene
from LiverSegLib.volume import Label, Result, Volume
from Training.errors import DataError

HISTORY, PICTURE = "history.csv", "history.png"
# Okabe and Ito's colours, which colour-blind people can tell apart (jfly.uni-koeln.de/color).
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
_STYLES = ("-", "--", "-.", ":")
_GRID = "#dddddd"
Series = tuple[list[float], list[float]]
LabelMap = npt.NDArray[np.uint8]


def read_history(run: Path) -> dict[str, Series]:
    """Every column of a run's history.csv as epochs and values; empty, NaN and unreadable cells are left out.

    Raises:
        DataError: the file is missing or has no column `epoch`.
    """
    path = run / HISTORY
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError as error:
        raise DataError(f"{run} holds no {HISTORY}; train it for at least one epoch first.") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a table: {error}") from error
    if not rows or "epoch" not in rows[0]:
        raise DataError(f"{path} has no epochs yet; train for at least one epoch first.")
    columns: dict[str, Series] = {name: ([], []) for name in rows[0] if name and name != "epoch"}
    for row in rows:
        epoch = _number(row.get("epoch"))
        for name, (epochs, values) in columns.items():
            value = _number(row.get(name))
            if math.isfinite(epoch) and math.isfinite(value):
                epochs.append(epoch)
                values.append(value)
    return {name: series for name, series in columns.items() if series[0]}


def best_epoch(history: dict[str, Series]) -> tuple[int, float] | None:
    """Epoch and value of the highest validation Dice; None before the first validation."""
    epochs, values = history.get("val_dice", ([], []))
    if not values:
        return None
    at = int(np.argmax(values))
    return int(epochs[at]), values[at]


def plot_history(run: Path) -> Path:
    """Draw history.csv of a run as history.png: loss, Dice, accuracy and learning rate by epoch.

    What a run did not record has no panel. A dotted line marks the epoch of the best checkpoint.

    Raises:
        DataError: there is no history to draw.
        OutputError: the picture cannot be written.
    """
    history = read_history(run)
    shown = [panel for panel in _panels(history) if panel[1]]
    if not shown:
        raise DataError(f"{run / HISTORY} has none of the columns of a training; train again.")
    columns = len(shown) if len(shown) < 4 else 2
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(5.2 * columns + 1.2, 3.7 * rows + 0.4), dpi=110, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(run.resolve().name, fontsize=13, fontweight="bold", parse_math=False)
    best = best_epoch(history)
    epochs = [epoch for series in history.values() for epoch in series[0]]
    # The same epochs in every panel, with room for a single one.
    room = max(0.5, 0.03 * (max(epochs) - min(epochs)))
    for number, (title, names, limited) in enumerate(shown, 1):
        axes = figure.add_subplot(rows, columns, number)
        _draw_curves(axes, history, names)
        axes.set_xlim(min(epochs) - room, max(epochs) + room)
        _finish(axes, title, limited=limited, rate=title == "Learning rate", best=best)
    figures.save(figure, run / PICTURE)
    return run / PICTURE


def _panels(history: dict[str, Series]) -> list[tuple[str, list[str], bool]]:
    """Title, columns, and whether values lie in [0, 1], of each panel."""
    means = [name for name in ("train_dice", "val_dice") if name in history]
    labels = [name for name in history if name.startswith(("train_dice_", "val_dice_"))]
    # With one label its Dice is the mean.
    dice = means + (sorted(labels, key=_label_and_part) if len({_label_and_part(n)[0] for n in labels}) > 1 else [])
    return [
        ("Loss", [name for name in ("train_loss", "val_loss") if name in history], False),
        ("Dice", dice, True),
        ("Pixel accuracy", [name for name in ("train_accuracy", "val_accuracy") if name in history], True),
        ("Learning rate", [name for name in ("learning_rate",) if name in history], False),
    ]


def _label_and_part(name: str) -> tuple[str, str]:
    """("liver", "train") of train_dice_liver; the label is "" for a mean."""
    part, _, rest = name.partition("_dice")
    return rest.removeprefix("_"), part


def _draw_curves(axes: Axes, history: dict[str, Series], names: list[str]) -> None:
    # A label has one color; what it reached while training is dashed beside its validation.
    subjects = list(dict.fromkeys(_label_and_part(name)[0] if "_dice" in name else name for name in names))
    for name in names:
        epochs, values = history[name]
        number = subjects.index(_label_and_part(name)[0] if "_dice" in name else name)
        dashed = name.startswith("train_dice")
        axes.plot(
            epochs,
            values,
            color=COLORS[number % len(COLORS)],
            linestyle="--" if dashed else _STYLES[number // len(COLORS) % len(_STYLES)],
            linewidth=2.4 if name == "val_dice" else 1.2 if dashed else 1.6,
            # A single point has no line to be seen by.
            marker="o" if len(epochs) <= 20 else None,
            markersize=4,
            label=_readable(name),
            zorder=4 if name == "val_dice" else 3,
        )


def _readable(name: str) -> str:
    part = {"train": "training", "val": "validation"}.get(name.partition("_")[0])
    if part is None:
        return name.replace("_", " ")
    if "_dice" not in name:
        return part
    return f"{_label_and_part(name)[0] or 'mean'}, {part}"


def _finish(axes: Axes, title: str, *, limited: bool, rate: bool, best: tuple[int, float] | None) -> None:
    axes.set_title(title, fontsize=11, loc="left", fontweight="bold")
    axes.set_xlabel("Epoch")
    axes.grid(color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, steps=[1, 2, 5, 10], min_n_ticks=1))
    values = [float(v) for line in axes.get_lines() for v in np.asarray(line.get_ydata())]
    if limited:
        axes.set_ylim(min(0.0 if title == "Dice" else min(values) - 0.02, *values), 1.01)
    elif rate:
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
        axes.set_ylim(bottom=0)
    elif min(values) > 0 and max(values) > 20 * min(values):
        axes.set_yscale("log")
    if best is not None:
        axes.axvline(best[0], color="#666666", linestyle=":", linewidth=1.2, zorder=2)
        if title == "Dice":
            axes.set_title(f"best {best[1]:.3f} in epoch {best[0]}", fontsize=9.5, loc="right", color="#444444")
    if not rate:
        # Dice has too many curves, some of them at 0 and at 1, for a free place inside.
        place = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.02)} if title == "Dice" else {"loc": "best"}
        axes.legend(fontsize=8.5, framealpha=0.7, edgecolor="none", **place)


def save_triplet(volume: Volume, reference: LabelMap, predicted: LabelMap, labels: Sequence[Label], path: Path) -> None:
    """Draw image, reference and prediction side by side; a row for the slice with most of the reference.

    A volume gets a second row, the slice with most wrong voxels, where that is another one.

    Args:
        volume: the image, [i, j, k].
        reference, predicted: uint8 label maps on its grid.
        labels: what their values mean.
        path: the PNG to write.

    Raises:
        OutputError: shapes differ, or the file cannot be written.
    """
    both = np.where(reference > 0, reference, predicted).astype(np.uint8)
    scenes = [_scene(volume, given, labels) for given in (both, reference, predicted)]
    chosen = _rows(scenes)
    width = max(260, round(340 / max(1.0, chosen[0].aspect)))
    height = round(width * chosen[0].aspect)
    figure, axes = figures.panel_grid(rows=len(chosen), columns=3, side=width, tall=height)
    bare = replace(scenes[0], overlays=())
    for row, plane in enumerate(chosen):
        for column, (name, scene) in enumerate((("Image", bare), ("Reference", scenes[1]), ("Prediction", scenes[2]))):
            panel = axes[3 * row + column]
            panels.draw_slice(panel, scene, plane, line=1.1, fill=0.25)
            panels.title(panel, name)
            if column == 0 and len(scene.image.shape) == 3 and scene.image.shape[plane.axis] > 1:
                panels.title(panel, f"slice {plane.index + 1} of {scene.image.shape[plane.axis]}", right=True)
    figures.legend(figure, volume.name, [(overlay.name, overlay.color) for overlay in scenes[0].overlays])
    figures.save(figure, path)


def _scene(volume: Volume, labelmap: LabelMap, labels: Sequence[Label]) -> Scene:
    return build_scene(
        volume, Result(labelmap=labelmap, affine=volume.affine, labels=tuple(labels), measurements=Measurements())
    )


def _rows(scenes: list[Scene]) -> list[Plane]:
    """The slices to show: the one with most reference (else prediction), and the one with most errors."""
    plane = scenes[0].planes[0]
    if len(scenes[0].planes) == 1:
        return [plane]
    both, reference, predicted = (scene.labelmap for scene in scenes)
    most = np.count_nonzero(reference if reference.any() else both, axis=(0, 1))
    wrong = np.count_nonzero(reference != predicted, axis=(0, 1))
    indices = [int(most.argmax()) if most.any() else plane.index]
    if wrong.any() and int(wrong.argmax()) != indices[0]:
        indices.append(int(wrong.argmax()))
    return [replace(plane, center=(plane.center[0], plane.center[1], float(k))) for k in indices]


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan
