"""Whole figures: the four-panel picture of a case and the mosaic of axial slices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from LiverSegLib.errors import OutputError
from LiverSegLib.io.atomic import Opener, atomic_file
from LiverSegLib.pictures import panels
from LiverSegLib.pictures.colors import picture_colors
from LiverSegLib.pictures.scene import Plane, Scene
from LiverSegLib.pictures.slicer_process import TILE
from LiverSegLib.pictures.surface import render_front
from LiverSegLib.volume import Result

WARNING = "Not for clinical use"
_DPI = 100
_GAP, _CAPTION = 8, 66
_SLICE_SIDE, _CAPTION_WIDTH = 900, 560
_BACKGROUND = "#101214"


def case_figure(scene: Scene, name: str, result: Result, tiles: npt.NDArray[np.uint8] | None) -> Figure:
    """Axial, coronal, sagittal and front view in a square, with a caption below.

    Args:
        scene: what to draw.
        name: the case, for the caption.
        result: numbers and model, for the caption.
        tiles: the four panels drawn elsewhere, uint8 [4, rows, columns, 3]; None to draw them here.
    """
    figure, axes = panel_grid(rows=2, columns=2, side=TILE)
    for number, plane in enumerate(scene.planes):
        if tiles is None:
            panels.draw_slice(axes[number], scene, plane)
        else:
            panels.draw_tile(axes[number], tiles[number], plane.extent_mm)
        panels.annotate(axes[number], plane, panels.position_text(scene, plane))
    _draw_surface(axes[3], scene, None if tiles is None else tiles[3], _nothing(result))
    _caption(figure, name, result)
    return figure


def grid_figure(scene: Scene, planes: Sequence[Plane], name: str, result: Result) -> Figure:
    """All `planes` as a mosaic of about four by three, with a caption below."""
    columns = min(len(planes), max(1, int(np.ceil(np.sqrt(len(planes) * 4 / 3)))))
    rows = -(-len(planes) // columns)
    # One or two panels alone would leave no room for the caption.
    figure, axes = panel_grid(rows=rows, columns=columns, side=max(380, 900 // columns))
    for place, plane in zip(axes, planes, strict=False):
        panels.draw_slice(place, scene, plane, line=1.1, fill=0.12)
        position, _, number = panels.position_text(scene, plane).partition(", slice ")
        panels.title(place, position)
        panels.title(place, number, right=True)
    for place in axes[len(planes) :]:
        panels.empty_panel(place, 1.0)
    panels.draw_letters(axes[0], planes[0].letters)
    _caption(figure, name, result)
    return figure


def slice_figure(scene: Scene, name: str, result: Result) -> Figure:
    """The one slice of an X-ray or a single-slice volume in its own proportions, with a caption below.

    Letters are drawn only where the file tells how the patient lies, the scale bar where it tells the pixel size.
    """
    plane = scene.planes[0]
    side = _SLICE_SIDE / max(1.0, plane.aspect)
    # The caption needs some width, however tall the picture is; what is left stays black.
    width = max(round(side), _CAPTION_WIDTH)
    height = max(round(side * plane.aspect), _CAPTION)
    figure, (axes,) = panel_grid(rows=1, columns=1, side=width, tall=height)
    panels.draw_slice(axes, scene, plane)
    if scene.placed:
        panels.title(axes, plane.name)
        panels.draw_letters(axes, plane.letters)
    if scene.in_mm:
        panels.draw_scale_bar(axes, plane)
    _caption(figure, name, result, area=_area(scene))
    return figure


def _area(scene: Scene) -> dict[str, str]:
    """Each segment's area on a single slice: in cm2, or in percent of a picture that tells no pixel size."""
    pixel_cm2 = float(np.prod([scene.spacing[a] for a in (scene.planes[0].across, scene.planes[0].up)])) / 100
    texts = {}
    for overlay in scene.overlays:
        pixels = int(overlay.mask(scene.labelmap).sum())
        share = 100 * pixels / scene.labelmap.size
        texts[overlay.name] = f"{pixels * pixel_cm2:.1f} cm²" if scene.in_mm else f"{share:.1f} % of the picture"
    return texts


def save(figure: Figure, path: Path, *, opener: Opener = atomic_file) -> None:
    """Write `figure` as PNG, complete or not at all; its folder is made if need be.

    Raises:
        OutputError: the file cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from error
    with opener(path) as stream:
        figure.savefig(stream, format="png", metadata={"Software": "LiverSeg", "Comment": WARNING})


def panel_grid(*, rows: int, columns: int, side: int, tall: int | None = None) -> tuple[Figure, list[Axes]]:
    """A figure with panels of `side` by `tall` pixels (square by default) and room for the caption; row by row."""
    tall = side if tall is None else tall
    width = columns * (side + _GAP) + _GAP
    height = rows * (tall + _GAP) + _GAP + _CAPTION
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor=_BACKGROUND)
    FigureCanvasAgg(figure)
    axes = []
    for row in range(rows):
        for column in range(columns):
            left = _GAP + column * (side + _GAP)
            bottom = height - (row + 1) * (tall + _GAP)
            axes.append(figure.add_axes((left / width, bottom / height, side / width, tall / height)))
    return figure, axes


def _draw_surface(axes: Axes, scene: Scene, tile: npt.NDArray[np.uint8] | None, nothing: str) -> None:
    """The front view, or the sentence `nothing` where there is nothing to see."""
    panels.empty_panel(axes, 1.0)
    if not scene.overlays:
        panels.notice(axes, nothing)
        return
    if tile is None:
        picture, extent = render_front(scene, TILE)
        panels.draw_tile(axes, picture, extent)
    else:
        panels.draw_tile(axes, tile, 1.0)
    panels.title(axes, "Surface from the front")
    panels.draw_letters(axes, ("R", "L", "S", "I"))


def legend(figure: Figure, name: str, entries: Sequence[tuple[str, tuple[int, int, int]]]) -> None:
    """A caption that tells the case and which colour (0 to 255) is which segment."""
    height, width = figure.get_figheight() * _DPI, figure.get_figwidth() * _DPI
    common: dict[str, Any] = {"va": "center", "parse_math": False}
    left = 2 * _GAP / width
    first, second = (_CAPTION - 18) / height, 18 / height
    figure.text(left, first, _shorten(name, int(width / 16)), color="white", size=13, weight="bold", **common)
    figure.text(1 - left, first, WARNING, color="#ffb74d", size=12, weight="bold", ha="right", **common)
    for text, color in entries:
        drawn = figure.text(left, second, f"■ {text}", color=tuple(c / 255 for c in color), size=12, **common)
        left = drawn.get_window_extent().x1 / width + 20 / width


def _caption(figure: Figure, name: str, result: Result, area: dict[str, str] | None = None) -> None:
    """Two lines: case and warning; volumes (or areas) in their segments' colours and model."""
    height = figure.get_figheight() * _DPI
    width = figure.get_figwidth() * _DPI
    first, second = (_CAPTION - 18) / height, 18 / height
    left, right = 2 * _GAP / width, 1 - 2 * _GAP / width
    common: dict[str, Any] = {"va": "center", "parse_math": False}
    room = int(width / 16)
    figure.text(left, first, _shorten(name, room), color="white", size=13, weight="bold", **common)
    figure.text(right, first, WARNING, color="#ffb74d", size=12, weight="bold", ha="right", **common)
    figure.text(right, second, _shorten(result.model, room), color=panels.DIM, size=11, ha="right", **common)
    colors = {name: tuple(c / 255 for c in color) for name, color in picture_colors(result.labels).items()}
    numbers = _numbers(result) if area is None else [(f"{segment} {text}", segment) for segment, text in area.items()]
    for text, segment in numbers or [(_nothing(result), "")]:
        drawn = figure.text(left, second, text, color=colors.get(segment, panels.INK), size=12, **common)
        left = drawn.get_window_extent().x1 / width + 20 / width


def _numbers(result: Result) -> list[tuple[str, str]]:
    """What was measured as short texts, each with the segment that it is about."""
    measured = result.measurements
    texts = [(f"{s.name} {_ml(s.volume_ml)}", s.name) for s in measured.segments if s.voxels]
    if measured.lesions:
        count = len(measured.lesions)
        longest = max(lesion.longest_diameter_mm for lesion in measured.lesions)
        texts.append(
            (f"{count} lesion{'s' * (count != 1)}, longest diameter {longest:.0f} mm", measured.lesions[0].name)
        )
    if not result.labelmap.any():
        texts.append((_nothing(result), ""))
    return texts


def _nothing(result: Result) -> str:
    """What an empty segmentation is called: "no liver found"."""
    return f"no {result.labels[0].name if result.labels else 'segment'} found"


def _ml(volume: float) -> str:
    """Volume in mL; small ones with a digit after the point."""
    return f"{volume:.0f} mL" if volume >= 100 else f"{volume:.1f} mL"


def _shorten(text: str, room: int) -> str:
    """`text` within `room` characters, cut in the middle, since names differ at both ends."""
    text = " ".join(text.split())
    if len(text) <= room:
        return text
    return f"{text[: room // 2 - 1]}…{text[-(room - room // 2) :]}"
