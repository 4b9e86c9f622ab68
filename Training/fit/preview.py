"""A look at what the network really sees: the first augmented batch of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from LiverSegLib.labels import label_for
from LiverSegLib.pictures import figures
from LiverSegLib.pictures.colors import picture_colors
from Training.recipe import Recipe

MAX_SAMPLES = 8
_PANEL = 2.3
_PLANES = (("z", 2), ("y", 1), ("x", 0))
Array = npt.NDArray[Any]


def save_preview(
    batch: Mapping[str, Any],
    path: Path,
    labels: Mapping[int, str],
    spacing: tuple[float, ...] | None = None,
    names: Sequence[str] = (),
) -> None:
    """Draw up to eight samples of a batch: each image alone and with the outlines of its labels.

    A 3D sample is shown in three slices across its axes z, y and x, through the middle of its labels, or of the
    patch where it has none. The first axis runs to the right and the second downwards, which is the usual view for
    the axis order LPS; z runs upwards. Gray values are stretched from the 1st to the 99th percentile of each sample.

    Args:
        batch: "image" [batch, 1, x, y(, z)] and "label" of the same shape, tensors or arrays.
        path: the PNG to write.
        labels: names of the label values, without background.
        spacing: voxel distances along the axes in any unit, for true proportions; None for equal ones.
        names: what each sample is called; () for "sample 1" and so on.

    Raises:
        OutputError: the picture cannot be written.
    """
    images, masks = (torch.as_tensor(batch[key])[:MAX_SAMPLES, 0].float().cpu().numpy() for key in ("image", "label"))
    steps = tuple(spacing or (1.0,) * (images.ndim - 1))
    samples = [views(image, mask, steps) for image, mask in zip(images, masks, strict=True)]
    beside = 2 * len(samples[0])
    # Two-dimensional samples are two by two panels wide, else the picture would be a tall ribbon.
    across = 2 if beside == 2 and len(samples) > 1 else 1
    rows = -(-len(samples) // across)
    widths = [_width(view) for view in samples[0] for _ in range(2)] * across
    size = (_PANEL * sum(widths), _PANEL * rows * 1.12 + 0.4)
    figure = Figure(figsize=size, dpi=100, facecolor="white", layout="constrained")
    axes = figure.subplots(rows, len(widths), squeeze=False, width_ratios=widths)
    for panel in axes.flat:
        panel.set_axis_off()
    colors = _colors(labels)
    # A sample has `beside` panels of its row; the last place may stay empty.
    names = names or [f"sample {number}" for number in range(1, len(samples) + 1)]
    for name, panels, shown in zip(names, axes.reshape(-1, beside), samples, strict=False):
        _draw_sample(panels, name, shown, colors)
    handles = [Patch(color=colors[value], label=name) for value, name in sorted(labels.items())]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 6), frameon=False)
    figures.save(figure, path)


def patch_spacing(recipe: Recipe) -> tuple[float, ...] | None:
    """Voxel distances in mm along the axes of a recipe's patches; None where they are each image's own."""
    found = recipe.preprocess.pixdim[: recipe.spatial_dims]
    return found if min(found) > 0 else None


Color = tuple[float, float, float]
View = tuple[str, Array, Array, float]


def views(image: Array, mask: Array, spacing: tuple[float, ...]) -> list[View]:
    """The slices of one sample: title, gray 0 to 1 and label map [rows, columns], and height by width of a pixel."""
    finite = image[np.isfinite(image)]
    low, high = np.percentile(finite, (1, 99)) if finite.size else (0.0, 1.0)
    gray = np.clip((np.nan_to_num(image, nan=low) - low) / max(high - low, 1e-6), 0, 1)
    if image.ndim == 2:
        return [("", gray.T, mask.T, spacing[1] / spacing[0])]
    center = np.argwhere(mask > 0).mean(axis=0) if (mask > 0).any() else (np.array(image.shape) - 1) / 2
    shown = []
    for name, axis in _PLANES:
        at = round(float(center[axis]))
        across, down = (a for a in range(3) if a != axis)
        cuts = [np.take(array, at, axis=axis).T for array in (gray, mask)]
        if axis != 2:  # the head is up
            cuts = [cut[::-1] for cut in cuts]
        shown.append((f"{name} {at + 1} of {image.shape[axis]}", *cuts, spacing[down] / spacing[across]))
    return shown


def _width(view: View) -> float:
    """Width of a view by its height, within what still can be looked at."""
    rows, columns = view[1].shape
    return min(3.0, max(0.4, columns / (rows * view[3])))


def _draw_sample(axes: Array, name: str, shown: list[View], colors: Mapping[int, Color]) -> None:
    for (plain, outlined), (title, gray, mask, aspect) in zip(axes.reshape(-1, 2), shown, strict=True):
        heading = ", ".join(text for text in (name, title) if text)
        for panel in (plain, outlined):
            panel.imshow(gray, cmap="gray", vmin=0, vmax=1, aspect=aspect, interpolation="nearest")
        for value, color in colors.items():
            _outline(outlined, mask == value, color)
        plain.set_title(heading if plain is axes[0] else title, fontsize=9, loc="left")


def _outline(axes: Axes, mask: Array, color: Color) -> None:
    if mask.any():
        rows, columns = mask.shape
        x, y = np.arange(-1, columns + 1), np.arange(-1, rows + 1)
        axes.contour(x, y, np.pad(mask, 1).astype(np.float32), levels=[0.5], colors=[color], linewidths=1.2)
        # A margin for outlines on the border, which is not to be seen.
        axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))


def _colors(labels: Mapping[int, str]) -> dict[int, Color]:
    """Red, green and blue, 0 to 1, of each label value."""
    known = {value: label_for(value, name) for value, name in labels.items()}
    chosen = picture_colors(known.values())
    colors = {value: chosen[label.name] for value, label in known.items()}
    return {value: (red / 255, green / 255, blue / 255) for value, (red, green, blue) in colors.items()}
