"""Matplotlib drawing of single panels: a slice with its outlines, the surface from the front, letters and scale bar.

Only the object interface is used: pyplot keeps global state that threads would share.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.patheffects import withStroke

from LiverSegLib.pictures.scene import AXIS_LETTERS, Plane, Scene

INK = "#e8e8e8"
_HALO = [withStroke(linewidth=2.5, foreground="black")]
_BAR_LENGTHS_MM = (100, 50, 20, 10, 5, 2, 1)


def empty_panel(axes: Axes, extent_mm: float, aspect: float = 1.0) -> None:
    """Make `axes` black, `extent_mm` wide and `aspect` times that high, with the origin in its middle."""
    axes.set_facecolor("black")
    axes.set(xticks=[], yticks=[], aspect="equal")
    half, half_height = extent_mm / 2, extent_mm * aspect / 2
    axes.set(xlim=(-half, half), ylim=(-half_height, half_height))
    for spine in axes.spines.values():
        spine.set_visible(False)


def draw_slice(axes: Axes, scene: Scene, plane: Plane, *, line: float = 1.3, fill: float = 0.22) -> None:
    """Draw the image, each segment's translucent fill and its outline of `line` points, in mm."""
    empty_panel(axes, plane.extent_mm, plane.aspect)
    edges = plane.edges_mm(scene.image.shape, scene.spacing)
    low, high = scene.window
    gray = np.nan_to_num(plane.cut(scene.image).astype(np.float32), nan=low, posinf=high, neginf=low)
    kwargs: dict[str, Any] = {"extent": edges, "origin": "upper", "aspect": "equal"}
    smooth = "bicubic" if min(gray.shape) > 1 else "nearest"
    axes.imshow(np.clip(gray, low, high), cmap="gray", vmin=low, vmax=high, interpolation=smooth, **kwargs)
    labels = plane.cut(scene.labelmap)
    # Contours run half-way between voxel centers; a margin of one voxel closes them at the image's border.
    left, right, bottom, top = edges
    rows, columns = labels.shape
    x = left + (right - left) / columns * (np.arange(columns + 2) - 0.5)
    y = top - (top - bottom) / rows * (np.arange(rows + 2) - 0.5)
    painted = {part.name: part for body in scene.bodies for part in body.painted}
    for overlay in scene.overlays:
        mask = overlay.mask(labels)
        if mask.any():
            color = np.array(overlay.color) / 255
            own = painted[overlay.name].mask(labels) if overlay.name in painted else np.zeros_like(mask)
            shown = np.ma.masked_where(~own, own)  # an organ does not tint its pieces
            axes.imshow(shown, cmap=ListedColormap([color]), alpha=fill, interpolation="nearest", **kwargs)
            axes.contour(x, y, np.pad(mask, 1).astype(np.float32), levels=[0.5], colors=[color], linewidths=line)


def draw_front(axes: Axes, picture: npt.NDArray[Any], extent_mm: float) -> None:
    """Show the surface from the front: RGB, shape [rows, columns, 3], that fills the panel of `extent_mm`."""
    empty_panel(axes, extent_mm)
    half = extent_mm / 2
    axes.imshow(picture, extent=(-half, half, -half, half), interpolation="bilinear", aspect="equal")
    title(axes, "Surface from the front")
    draw_letters(axes, ("R", "L", "S", "I"))


def annotate(axes: Axes, scene: Scene, plane: Plane) -> None:
    """Write the plane's name and position, the orientation letters and a scale bar."""
    title(axes, "{}   {}, slice {}".format(plane.name, *position_text(scene, plane)))
    draw_letters(axes, plane.letters)
    draw_scale_bar(axes, plane)


def draw_scale_bar(axes: Axes, plane: Plane) -> None:
    """Draw a bar of a round length in the lower right corner."""
    length = next((mm for mm in _BAR_LENGTHS_MM if mm <= plane.extent_mm / 4), None)
    if length is not None:
        right, y = 0.46 * plane.extent_mm, -0.46 * plane.extent_mm * plane.aspect
        axes.plot([right - length, right], [y, y], color=INK, linewidth=2, path_effects=_HALO)
        text = f"{length // 10} cm" if length >= 10 else f"{length} mm"
        middle = 0.96 - length / plane.extent_mm / 2
        _write(axes, middle, 0.05, text, ha="center", va="bottom", size=9)


def draw_letters(axes: Axes, letters: tuple[str, str, str, str]) -> None:
    """Write orientation letters at the left, right, top and bottom."""
    left, right, top, bottom = letters
    bold: dict[str, Any] = {"size": 13, "weight": "bold"}
    _write(axes, 0.015, 0.5, left, ha="left", va="center", **bold)
    _write(axes, 0.985, 0.5, right, ha="right", va="center", **bold)
    _write(axes, 0.5, 0.985, top, ha="center", va="top", **bold)
    _write(axes, 0.5, 0.015, bottom, ha="center", va="bottom", **bold)


def title(axes: Axes, text: str, *, right: bool = False) -> None:
    """Write the panel's title in its upper left, or right, corner."""
    _write(axes, 0.98 if right else 0.02, 0.98, text, ha="right" if right else "left", va="top", size=11)


def notice(axes: Axes, text: str) -> None:
    """Write a sentence in the middle of an empty panel."""
    empty_panel(axes, 1.0)
    _write(axes, 0.5, 0.5, text, ha="center", va="center", size=15, color="#ffb74d")


def position_text(scene: Scene, plane: Plane) -> tuple[str, str]:
    """Where the plane lies in RAS mm along its axis, and its number: "S 91.2 mm" and "57 of 129"."""
    point = scene.affine @ np.array([*plane.center, 1.0])
    column = np.abs(scene.affine[:3, plane.axis])
    value = round(float(point[int(column.argmax())]), 1)
    letter = AXIS_LETTERS[int(column.argmax())][int(value >= 0)]
    return f"{letter} {abs(value):.1f} mm", f"{plane.index + 1} of {scene.image.shape[plane.axis]}"


def _write(axes: Axes, x: float, y: float, text: str, *, color: str = INK, **kwargs: Any) -> None:
    """Text at a fraction of the panel, legible on any gray."""
    axes.text(x, y, text, color=color, transform=axes.transAxes, path_effects=_HALO, parse_math=False, **kwargs)
