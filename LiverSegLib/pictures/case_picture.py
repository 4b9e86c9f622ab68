"""The pictures of one case: its four panels, or a mosaic of axial slices to review a whole segmentation at a glance."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from LiverSegLib.errors import OutputError
from LiverSegLib.io.atomic import Opener, atomic_file
from LiverSegLib.pictures.build import build_scene
from LiverSegLib.pictures.scene import Plane, Scene
from LiverSegLib.volume import Result, Volume


def save_case_picture(path: Path, volume: Volume, result: Result, *, opener: Opener = atomic_file) -> None:
    """Write one PNG of a case: three slices through the lesion or liver, its surface, and a caption.

    Slices are in radiological convention and at one scale, along the volume's own axes if it is oblique. A
    volume of one slice, such as an X-ray, is one panel in its own proportions.

    Args:
        path: the PNG to write; what stood there is replaced only once the new picture is complete.
        volume: the image, [i, j, k].
        result: its segmentation, on the same grid.
        opener: opens the file; given where it must appear together with others.

    Raises:
        OutputError: the file cannot be written, matplotlib is missing, or the result is of another image.
    """
    _need_matplotlib()
    from LiverSegLib.pictures import figures

    scene = build_scene(volume, result.labelmap, result.labels)
    draw = figures.slice_figure if len(scene.planes) == 1 else figures.case_figure
    figures.save(draw(scene, volume.name, result), path, opener=opener)


def save_slice_grid(path: Path, volume: Volume, result: Result, n: int = 12) -> None:
    """Write one PNG of `n` axial slices from the top of the segmented region to its bottom.

    They are spread evenly; all of them where there are fewer than `n`. Without any segment they are spread
    over the whole volume. A volume of one slice is one panel in its own proportions.

    Args:
        path, volume, result: as in `save_case_picture`.
        n: how many slices, at least 1.

    Raises:
        OutputError: as in `save_case_picture`.
        ValueError: `n` is not positive.
    """
    if n < 1:
        raise ValueError(f"a mosaic of {n} slices; at least 1 is needed")
    _need_matplotlib()
    from LiverSegLib.pictures import figures

    scene = build_scene(volume, result.labelmap, result.labels)
    if len(scene.planes) == 1:
        figure = figures.slice_figure(scene, volume.name, result)
    else:
        figure = figures.grid_figure(scene, axial_planes(scene, n), volume.name, result)
    figures.save(figure, path)


def axial_planes(scene: Scene, n: int) -> list[Plane]:
    """Up to `n` different axial planes through the segmented region, evenly spread, the topmost first."""
    axial = scene.planes[0]
    region = scene.box[2]
    # The ends of the region are slices with hardly any liver: keep half a step away from them.
    at = region.start + (np.arange(n) + 0.5) * (region.stop - region.start) / n - 0.5
    indices = sorted({round(float(k)) for k in at}, reverse=True)
    return [replace(axial, center=(axial.center[0], axial.center[1], float(k))) for k in indices]


def _need_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401 (asked here, so that the reason is told well)
    except ModuleNotFoundError as error:
        raise OutputError(f"Pictures need matplotlib ({error}); run pip install 'liverseg[pictures]'.") from error
