"""Pictures of evaluated cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from LiverSegLib.labels import Label, short_name
from LiverSegLib.pictures import figures, panels
from LiverSegLib.pictures.build import build_scene
from LiverSegLib.pictures.scene import Plane, Scene
from LiverSegLib.volume import Volume

LabelMap = npt.NDArray[np.uint8]


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
    scenes = [build_scene(volume, given, labels) for given in (both, reference, predicted)]
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
    entries = [(f"■ {short_name(overlay.name)}", overlay.color) for overlay in scenes[0].overlays]
    figures.caption(figure, volume.name, entries)
    figures.save(figure, path)


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
