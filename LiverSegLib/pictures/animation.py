"""A film through a volume from head to feet, with its segments: GIF by Pillow, MP4 where ffmpeg is installed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from LiverSegLib.errors import OutputError
from LiverSegLib.io.atomic import atomic_file
from LiverSegLib.pictures.build import build_scene
from LiverSegLib.pictures.gray import blend, gray_pixels
from LiverSegLib.pictures.scene import Scene
from LiverSegLib.volume import Result, Volume

MAX_FRAMES, SIDE = 80, 384
_PER_SECOND = 12
_LINE, _FONT = 22, 14
_MARGIN_MM = 8.0
_COLORS = 96


def save_animation(path: Path, volume: Volume, result: Result, *, frames: int = MAX_FRAMES, side: int = SIDE) -> None:
    """Write a film of the axial slices, each with its segments, number and a legend.

    Slices are in radiological convention and true proportions. A volume with more slices than `frames` is
    shown in even steps.

    Args:
        path: .gif, or .mp4 where ffmpeg is installed.
        volume: the image, [i, j, k].
        result: its segmentation, on the same grid.
        frames: how many slices at most.
        side: longest side of the picture in pixels, without the line of text below.

    Raises:
        OutputError: the ending is another, ffmpeg is missing, the file cannot be written, or the volume has only
            one slice.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in (".gif", ".mp4"):
        raise OutputError(f"{path} is not a film that can be written; end its name in .gif or .mp4.")
    scene = build_scene(volume, result.labelmap, result.labels)
    if scene.image.shape[2] == 1:
        raise OutputError(f"{volume.name} has a single slice, which cannot be animated; save a picture instead.")
    with suppress(OSError):  # the writing tells what is wrong with the folder
        path.parent.mkdir(parents=True, exist_ok=True)
    pictures = _pictures(scene, frames, side)
    if ending == ".gif":
        _write_gif(path, list(pictures), [overlay.color for overlay in scene.overlays])
    else:
        _write_mp4(path, pictures)


def slices_shown(depth: int, frames: int) -> list[int]:
    """Which of `depth` slices are shown in at most `frames`, from the top down, both ends included."""
    count = min(depth, max(1, frames))
    return [round(float(k)) for k in np.linspace(depth - 1, 0, count)]


def _pictures(scene: Scene, frames: int, side: int) -> Iterator[Image.Image]:
    """The frames, one after the other, so that a long film needs little memory."""
    box = _field_of_view(scene)
    widths = [(b.stop - b.start) * s for b, s in zip(box, scene.spacing[:2], strict=True)]
    # Even numbers, which video encoders want.
    columns, rows = (max(2, round(side * width / max(widths) / 2) * 2) for width in widths)
    for k in slices_shown(scene.image.shape[2], frames):
        image, labels = (array[(*box, k)].T[::-1, ::-1] for array in (scene.image, scene.labelmap))
        gray = Image.fromarray(gray_pixels(image, scene.window)).resize((columns, rows), Image.Resampling.BILINEAR)
        large = Image.fromarray(np.ascontiguousarray(labels)).resize((columns, rows), Image.Resampling.NEAREST)
        yield _with_text(Image.fromarray(blend(np.asarray(gray), np.asarray(large), scene.overlays)), scene, k)


def _field_of_view(scene: Scene) -> tuple[slice, slice]:
    """The body with a margin, joined with the segments."""
    sides = []
    for axis in (0, 1):
        margin = round(_MARGIN_MM / scene.spacing[axis])
        inner = [scene.body[axis], *([scene.box[axis]] if scene.overlays else [])]
        start = max(0, min(s.start for s in inner) - margin)
        stop = min(scene.image.shape[axis], max(s.stop for s in inner) + margin)
        sides.append(slice(start, stop))
    return sides[0], sides[1]


def _with_text(picture: Image.Image, scene: Scene, k: int) -> Image.Image:
    """The picture with orientation letters and a line below: legend on the left, slice number on the right."""
    width, height = picture.size
    canvas = Image.new("RGB", (width, height + _LINE))
    canvas.paste(picture)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(_FONT)
    style: dict[str, Any] = {"font": font, "fill": (232, 232, 232), "stroke_width": 1, "stroke_fill": (0, 0, 0)}
    draw.text((5, height // 2), "R", anchor="lm", **style)
    draw.text((width - 5, height // 2), "L", anchor="rm", **style)
    middle = height + _LINE // 2
    depth = scene.image.shape[2]
    number = f"{depth - k} / {depth}"
    draw.text((width - 6, middle), number, anchor="rm", font=font, fill=(200, 200, 200))
    left, end = 6.0, width - 16 - draw.textlength(f"{depth} / {depth}", font)
    for overlay in scene.overlays:
        length = draw.textlength(overlay.name, font)
        if left + 14 + length > end:  # a dozen organs do not fit; the first ones are named
            break
        draw.rectangle((left, middle - 5, left + 9, middle + 4), fill=overlay.color)
        draw.text((left + 14, middle), overlay.name, anchor="lm", font=font, fill=(232, 232, 232))
        left += 14 + length + 12
    return canvas


def _write_gif(path: Path, pictures: list[Image.Image], colors: list[tuple[int, int, int]]) -> None:
    """All frames in one palette: a palette each would flicker and make the file larger."""
    # No dithering: its noise doubles the file.
    palette = _palette(pictures, colors)
    first, *rest = (picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures)
    with atomic_file(path) as file:
        style: dict[str, Any] = {"duration": 1000 // _PER_SECOND, "loop": 0, "comment": b"Not for clinical use"}
        first.save(file, "GIF", save_all=True, append_images=rest, optimize=False, **style)


def _palette(pictures: list[Image.Image], colors: list[tuple[int, int, int]]) -> Image.Image:
    """A picture with the palette of some frames and `colors` as they are: thin outlines would else be lost."""
    some = pictures[:: max(1, len(pictures) // 8)]
    sheet = Image.new("RGB", (some[0].width, sum(picture.height for picture in some)))
    for number, picture in enumerate(some):
        sheet.paste(picture, (0, number * picture.height))
    found = (sheet.quantize(_COLORS).getpalette() or [])[: 3 * _COLORS]
    palette = Image.new("P", (1, 1))
    palette.putpalette([value for color in colors for value in color] + found)
    return palette


def _write_mp4(path: Path, pictures: Iterator[Image.Image]) -> None:
    """Feed the frames to ffmpeg, which must be installed."""
    program = shutil.which("ffmpeg")
    if program is None:
        raise OutputError(f"{path} needs ffmpeg, which is not installed; write a .gif instead.")
    frames = list(pictures)
    given = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "{}x{}".format(*frames[0].size), "-r", str(_PER_SECOND)]
    wanted = ["-pix_fmt", "yuv420p", "-f", "mp4"]
    with atomic_file(path) as file:
        part = str(Path(file.name).absolute())
        command = [program, "-y", "-v", "error", *given, "-i", "-", *wanted, part]
        pixels = b"".join(picture.tobytes() for picture in frames)
        done = subprocess.run(command, input=pixels, capture_output=True, check=False)
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise OutputError(f"ffmpeg could not write {path} ({said[-1] if said else 'no message'}); write a .gif.")
