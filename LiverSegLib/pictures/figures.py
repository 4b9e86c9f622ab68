"""Whole figures: the four-panel picture of a case and the mosaic of axial slices."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from LiverSegLib.io.atomic import Opener, atomic_file
from LiverSegLib.labels import Color, short_name
from LiverSegLib.pictures import panels
from LiverSegLib.pictures.colors import picture_colors
from LiverSegLib.pictures.scene import Plane, Scene
from LiverSegLib.pictures.surface import render_front
from LiverSegLib.printable import printable
from LiverSegLib.volume import Result

Entry = tuple[str, Color | None]
WARNING = "Not for clinical use"
TILE = 680
"""Side of a panel of the case picture in pixels."""
_DPI = 100
_GAP, _CAPTION = 8, 66
_SLICE_SIDE, _CAPTION_WIDTH = 900, 560
_BACKGROUND = "#101214"
# Sizes of the caption's second line and how small a note may make it; pixels that a letter of the note takes, and how
# many letters of it are worth showing.
_SIZES = (12, 11, 10, 9, 8)
_READABLE = 10
_NOTE_LETTER, _SHORTEST_NOTE = 9, 16


def case_figure(scene: Scene, name: str, result: Result) -> Figure:
    """Axial, coronal, sagittal and front view in a square; below it the case `name`, numbers and model of `result`."""
    figure, (*slices, front) = panel_grid(rows=2, columns=2, side=TILE)
    for axes, plane in zip(slices, scene.planes, strict=True):
        panels.draw_slice(axes, scene, plane)
        panels.annotate(axes, scene, plane)
    if scene.overlays:
        panels.draw_front(front, *render_front(scene, TILE))
    else:
        panels.notice(front, _nothing(result))
    caption(figure, name, measured(result), result.model)
    return figure


def grid_figure(scene: Scene, planes: Sequence[Plane], name: str, result: Result) -> Figure:
    """All `planes` as a mosaic of about four by three, with a caption below."""
    columns = min(len(planes), max(1, int(np.ceil(np.sqrt(len(planes) * 4 / 3)))))
    rows = -(-len(planes) // columns)
    # One or two panels alone would leave no room for the caption.
    figure, axes = panel_grid(rows=rows, columns=columns, side=max(380, 900 // columns))
    for place, plane in zip(axes, planes, strict=False):
        panels.draw_slice(place, scene, plane, line=1.1, fill=0.12)
        position, number = panels.position_text(scene, plane)
        panels.title(place, position)
        panels.title(place, number, right=True)
    for place in axes[len(planes) :]:
        panels.empty_panel(place, 1.0)
    panels.draw_letters(axes[0], planes[0].letters)
    caption(figure, name, measured(result), result.model)
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
    caption(figure, name, _areas(scene, result), result.model)
    return figure


def save(figure: Figure, path: Path, *, opener: Opener = atomic_file) -> None:
    """Write `figure` as PNG, complete or not at all; its folder is made if need be.

    Raises:
        OutputError: the file cannot be written.
    """
    with suppress(OSError):  # the opener tells what is wrong with the folder
        path.parent.mkdir(parents=True, exist_ok=True)
    with opener(path) as stream:
        _draw(figure, stream)


def png_of(figure: Figure) -> bytes:
    """`figure` as PNG, for what holds its pictures inside."""
    stream = io.BytesIO()
    _draw(figure, stream)
    return stream.getvalue()


def _draw(figure: Figure, stream: BinaryIO) -> None:
    # Not savefig: it draws a figure with a layout twice, which takes longer than all else.
    FigureCanvasAgg(figure).print_png(stream, metadata={"Software": "LiverSeg", "Comment": WARNING})


def panel_grid(
    *, rows: int, columns: int, side: int, tall: int | None = None, has_caption: bool = True
) -> tuple[Figure, list[Axes]]:
    """A figure with panels of `side` by `tall` pixels (square by default), and room for a caption; row by row."""
    tall = tall or side
    width = columns * (side + _GAP) + _GAP
    height = rows * (tall + _GAP) + _GAP + (_CAPTION if has_caption else 0)
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor=_BACKGROUND)
    FigureCanvasAgg(figure)
    axes = []
    for row in range(rows):
        for column in range(columns):
            left = _GAP + column * (side + _GAP)
            bottom = height - (row + 1) * (tall + _GAP)
            axes.append(figure.add_axes((left / width, bottom / height, side / width, tall / height)))
    return figure, axes


def caption(figure: Figure, name: str, entries: Sequence[Entry], note: str = "") -> None:
    """Two lines below the panels: case and warning; then texts in the colors of their segments, and a note.

    Args:
        figure: as `panel_grid` made it.
        name: the case.
        entries: text and color, 0 to 255, of each; None for what is about no segment.
        note: what stands at the right of the second line.
    """
    height, width = figure.get_figheight() * _DPI, figure.get_figwidth() * _DPI
    first, second = (_CAPTION - 18) / height, 18 / height
    left, right = 2 * _GAP / width, 1 - 2 * _GAP / width
    common: dict[str, Any] = {"va": "center", "parse_math": False}
    room = int(width / 16)
    figure.text(left, first, _shorten(name, room), color="white", size=13, weight="bold", **common)
    figure.text(right, first, WARNING, color="#ffb74d", size=12, weight="bold", ha="right", **common)
    for size, needed in _caption_sizes(len(note)):
        texts, end = _written(figure, (left, second), entries, size)
        left_over = int((right - end) * width / _NOTE_LETTER)
        if left_over >= needed or size == _SIZES[-1]:
            break
        for text in texts:
            text.remove()
    if needed and left_over >= needed:
        figure.text(right, second, _shorten(note, min(room, left_over)), color="#9a9a9a", size=11, ha="right", **common)


def _caption_sizes(note: int) -> Iterator[tuple[int, int]]:
    """Sizes of the entries to try, and how many letters of a note must have room beside them: readable ones first."""
    yield from ((size, min(_SHORTEST_NOTE, note)) for size in _SIZES if size >= _READABLE)
    yield from ((size, 0) for size in _SIZES)


def _written(figure: Figure, at: tuple[float, float], entries: Sequence[Entry], size: int) -> tuple[list[Text], float]:
    """Write the entries side by side from `at`, in fractions of the figure; and where the next would begin."""
    width = figure.get_figwidth() * _DPI
    (left, middle), texts = at, []
    for text, color in entries:
        ink = panels.INK if color is None else tuple(c / 255 for c in color)
        texts.append(figure.text(left, middle, printable(text), color=ink, size=size, va="center", parse_math=False))
        left = texts[-1].get_window_extent().x1 / width + 20 / width
    return texts, left


def measured(result: Result) -> list[Entry]:
    """What was measured as short texts, each with the color of the segment that it is about."""
    numbers, colors = result.measurements, picture_colors(result.labels)
    found = [segment for segment in (*numbers.organs, *numbers.segments) if segment.voxels]
    entries: list[Entry] = [(f"{short_name(s.name)} {_ml(s.volume_ml)}", colors.get(s.name)) for s in found]
    if numbers.lesions:
        count = len(numbers.lesions)
        longest = max(lesion.longest_diameter_mm for lesion in numbers.lesions)
        text = f"{count} lesion{'s' * (count != 1)}, longest diameter {longest:.0f} mm"
        entries.append((text, colors.get(numbers.lesions[0].name)))
    return entries if entries and result.labelmap.any() else [*entries, (_nothing(result), None)]


def _areas(scene: Scene, result: Result) -> list[Entry]:
    """Each segment's area on a single slice: in cm2, or in percent of a picture that tells no pixel size."""
    pixel_cm2 = float(np.prod([scene.spacing[a] for a in (scene.planes[0].across, scene.planes[0].up)])) / 100
    entries: list[Entry] = []
    for overlay in scene.overlays:
        pixels = int(overlay.mask(scene.labelmap).sum())
        share = 100 * pixels / scene.labelmap.size
        size = f"{pixels * pixel_cm2:.1f} cm²" if scene.in_mm else f"{share:.1f} % of the picture"
        entries.append((f"{short_name(overlay.name)} {size}", overlay.color))
    return entries or [(_nothing(result), None)]


def _nothing(result: Result) -> str:
    """What an empty segmentation is called: "no liver found"."""
    first = next(iter(result.labels), None)
    name = "segment" if first is None else first.part_of if first.is_piece else first.name
    return f"no {name} found"


def _ml(volume: float) -> str:
    """Volume in mL; small ones with a digit after the point."""
    return f"{volume:.0f} mL" if volume >= 100 else f"{volume:.1f} mL"


def _shorten(text: str, room: int) -> str:
    """`text` within `room` characters, cut in the middle, since names differ at both ends."""
    text = printable(" ".join(text.split()))
    if len(text) <= room:
        return text
    return f"{text[: room // 2 - 1]}…{text[-(room - room // 2) :]}"
