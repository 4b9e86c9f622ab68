"""The small picture of a case: its three planes side by side, in a few kilobytes and a few hundredths of a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from LiverSegLib.io.atomic import atomic_file
from LiverSegLib.pictures.build import build_scene
from LiverSegLib.pictures.gray import blend, gray_pixels
from LiverSegLib.pictures.scene import Plane, Scene
from LiverSegLib.volume import Result, Volume

HEIGHT = 120
_WIDEST = 180
_QUALITY = 80


def save_thumbnail(path: Path, volume: Volume, result: Result) -> None:
    """Write a JPEG of `HEIGHT` pixels; axial, coronal and sagittal slice through the largest lesion or the organ.

    Raises:
        OutputError: the file cannot be written.
    """
    from PIL import Image

    scene = build_scene(volume, result.labelmap, result.labels)
    panels = [_panel(scene, plane) for plane in scene.planes]
    with atomic_file(path) as file:
        Image.fromarray(np.concatenate(panels, axis=1)).save(file, "JPEG", quality=_QUALITY)


def _panel(scene: Scene, plane: Plane) -> npt.NDArray[np.uint8]:
    """One slice in its true proportions, RGB [rows, columns, 3]."""
    from PIL import Image

    gray = gray_pixels(plane.cut(scene.image), scene.window)
    pixels = blend(gray, plane.cut(scene.labelmap), scene.overlays)
    tall, wide = (n * scene.spacing[axis] for n, axis in zip(gray.shape, (plane.up, plane.across), strict=True))
    width = min(_WIDEST, max(1, round(HEIGHT * wide / tall)))
    height = min(HEIGHT, max(1, round(width * tall / wide)))
    small = Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS)
    panel = np.zeros((HEIGHT, width, 3), np.uint8)
    top = (HEIGHT - height) // 2
    panel[top : top + height] = np.asarray(small)
    return panel
