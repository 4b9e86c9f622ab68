"""The picture of one case: axial, coronal and sagittal slice, surface from the front, caption."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt

from LiverSegLib.errors import OutputError
from LiverSegLib.io.atomic import Opener, atomic_file
from LiverSegLib.pictures.build import build_scene
from LiverSegLib.pictures.scene import Scene
from LiverSegLib.pictures.slicer_process import SlicerViewsError, render_tiles, why_not
from LiverSegLib.volume import Result, Volume

log = logging.getLogger(__name__)

BACKENDS = ("auto", "slicer", "matplotlib")


def save_case_picture(
    path: Path, volume: Volume, result: Result, *, backend: str = "auto", opener: Opener = atomic_file
) -> str:
    """Write one PNG of a case: three slices through the lesion or liver, its surface, and a caption.

    Slices are in radiological convention and at one scale, along the volume's own axes if it is oblique. A
    volume of one slice, such as an X-ray, is one panel in its own proportions, always by matplotlib.

    Args:
        path: the PNG to write; what stood there is replaced only once the new picture is complete.
        volume: the image, [i, j, k].
        result: its segmentation, on the same grid.
        backend: "slicer" draws with Slicer's own views, in a process of its own; "matplotlib" needs only
            matplotlib, numpy and scipy; "auto" is Slicer where it works, else matplotlib.
        opener: opens the file; given where it must appear together with others.

    Returns:
        Which backend drew it: "slicer" or "matplotlib".

    Raises:
        OutputError: the file cannot be written, matplotlib is missing, `backend="slicer"` does not work here,
            or the result belongs to another image.
        ValueError: there is no such backend.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend is {backend!r}; choose one of {', '.join(BACKENDS)}")
    try:
        from LiverSegLib.pictures import figures
    except ModuleNotFoundError as error:
        raise OutputError(f"Pictures need matplotlib ({error}); run pip install 'liverseg[pictures]'.") from error

    scene = build_scene(volume, result)
    if len(scene.planes) == 1:
        figures.save(figures.slice_figure(scene, volume.name, result), path, opener=opener)
        return "matplotlib"
    tiles = None if backend == "matplotlib" else _slicer_tiles(scene, volume.name, required=backend == "slicer")
    figures.save(figures.case_figure(scene, volume.name, result, tiles), path, opener=opener)
    return "matplotlib" if tiles is None else "slicer"


def _slicer_tiles(scene: Scene, name: str, *, required: bool) -> npt.NDArray[np.uint8] | None:
    """The four panels by Slicer, or None with the reason in the log."""
    reason = why_not()
    if reason is None or required:
        try:
            return render_tiles(scene)
        except SlicerViewsError as error:
            reason = str(error)
    if required:
        raise OutputError(f"Slicer's views cannot draw {name}: {reason}; use the matplotlib backend instead.")
    log.info("%s is drawn by matplotlib, not by Slicer's views: %s", name, reason)
    return None
