"""A film through one prepared case with its label."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from LiverSegLib.labels import labels_for
from LiverSegLib.measure import Measurements
from LiverSegLib.pictures.animation import save_animation
from LiverSegLib.volume import Result, Volume
from Training.data.folder import PreparedFolder
from Training.data.patches import read_case
from Training.data.readers import Case, load_index
from Training.errors import DataError
from Training.recipe import Recipe

# Toward which side of the patient an axis runs: world axis in RAS, and direction.
_SIDES = {"L": (0, -1), "R": (0, 1), "P": (1, -1), "A": (1, 1), "I": (2, -1), "S": (2, 1)}


def save_film(recipe: Recipe, data: Path, path: Path, name: str = "") -> tuple[Path | None, str]:
    """Film a case of a prepared folder on the model's grid, the slices of a volume together.

    Args:
        recipe: what the folder was prepared for.
        data: prepared folder.
        path: .gif, or .mp4 where ffmpeg is installed.
        name: the case or volume as index.json has it; "" for the one that shows most of the labels.

    Returns:
        The file, and ""; or None and the sentence that says why there is nothing to film.

    Raises:
        DataError: there is no such case, or it is damaged.
        OutputError: the film cannot be written.
    """
    volumes: dict[str, list[Case]] = {}
    for case in load_index(data, recipe):
        volumes.setdefault(case.volume or case.id, []).append(case)
    if name and name not in volumes:
        raise DataError(f"{data} has no case {name}; name one of {', '.join([*volumes][:5])}.")
    chosen = [volumes[name]] if name else sorted(volumes.values(), key=_shows, reverse=True)
    for cases in chosen:
        image, label = _stacked(data, cases)
        if image.shape[2] > 1:
            volume = Volume(image, _affine(recipe), name=cases[0].volume or cases[0].id)
            labels = labels_for(recipe.labels)
            drawn = Result(labelmap=label, affine=volume.affine, labels=labels, measurements=Measurements())
            save_animation(path, volume, drawn)
            return path, ""
    return None, "The cases are single pictures, through which no film leads."


def _shows(cases: list[Case]) -> tuple[int, int]:
    """How many labels a volume has, and how many voxels of any."""
    voxels = np.sum([case.voxels for case in cases], axis=0)
    return int(np.count_nonzero(voxels[1:])), int(voxels[1:].sum())


def _stacked(data: Path, cases: list[Case]) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.uint8]]:
    """Image and label [x, y, z] of a volume."""
    found = [read_case(PreparedFolder(data), case) for case in cases]
    if found[0][0].ndim == 3:
        return found[0]
    images, labels = zip(*found, strict=True)
    return np.stack(images, axis=2), np.stack(labels, axis=2)


def _affine(recipe: Recipe) -> npt.NDArray[np.float64]:
    """Where the axes of prepared cases run, with 1 mm where the grid is each image's own."""
    affine = np.zeros((4, 4))
    affine[3, 3] = 1.0
    for axis, (letter, mm) in enumerate(zip(recipe.preprocess.axcodes, recipe.preprocess.pixdim, strict=True)):
        row, sign = _SIDES[letter]
        affine[row, axis] = sign * (mm if mm > 0 else 1.0)
    return affine
