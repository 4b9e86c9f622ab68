"""A mosaic of axial slices with outlines, to review a whole segmentation at a glance."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from LiverSegLib.errors import OutputError
from LiverSegLib.pictures.build import build_scene
from LiverSegLib.pictures.scene import Plane, Scene
from LiverSegLib.volume import Result, Volume


def save_slice_grid(path: Path, volume: Volume, result: Result, n: int = 12) -> None:
    """Write one PNG of `n` axial slices from the top of the segmented region to its bottom.

    They are spread evenly; all of them where there are fewer than `n`. Without any segment they are spread
    over the whole volume. A volume of one slice is one panel in its own proportions.

    Args:
        path: the PNG to write; what stood there is replaced only once the new picture is complete.
        volume: the image, [i, j, k].
        result: its segmentation, on the same grid.
        n: how many slices, at least 1.

    Raises:
        OutputError: the file cannot be written, matplotlib is missing, or the result is of another image.
        ValueError: `n` is not positive.
    """
    if n < 1:
        raise ValueError(f"a mosaic of {n} slices; at least 1 is needed")
    try:
        from LiverSegLib.pictures import figures
    except ModuleNotFoundError as error:
        raise OutputError(f"Pictures need matplotlib ({error}); run pip install 'liverseg[pictures]'.") from error

    scene = build_scene(volume, result)
    if len(scene.planes) == 1:
        figures.save(figures.slice_figure(scene, volume.name, result), path)
        return
    figures.save(figures.grid_figure(scene, axial_planes(scene, n), volume.name, result), path)


def axial_planes(scene: Scene, n: int) -> list[Plane]:
    """Up to `n` different axial planes through the segmented region, evenly spread, the topmost first."""
    axial = scene.planes[0]
    region = scene.box[2]
    # The ends of the region are slices with hardly any liver: keep half a step away from them.
    at = region.start + (np.arange(n) + 0.5) * (region.stop - region.start) / n - 0.5
    indices = sorted({round(float(k)) for k in at}, reverse=True)
    return [replace(axial, center=(axial.center[0], axial.center[1], float(k))) for k in indices]
