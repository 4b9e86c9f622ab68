"""Label maps that a user gives with an image: what their values mean, and which of them count."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from LiverSegLib.errors import InputError

if TYPE_CHECKING:
    from LiverSegLib.labels import Label
    from LiverSegLib.volume import Volume

USUAL = "liver=1,tumor=2"


def labels_of(text: str) -> tuple[Label, ...]:
    """The labels of "liver=1,tumor=2".

    Raises:
        InputError: it is not understood.
    """
    from LiverSegLib.labels import labels_for

    try:
        pairs = [part.split("=") for part in text.split(",")]
        found = {int(value): name.strip() for name, value in pairs}
    except ValueError:
        found = {}
    if not found or len(found) < len(pairs) or not all(0 < value < 256 for value in found):
        raise InputError(f"The values {text} are not understood; give names and values from 1, as liver=1,tumor=2.")
    return tuple(labels_for(found))


def labels_in(path: Path) -> tuple[Label, ...]:
    """The labels of a file that tells them, as a DICOM SEG does; else the usual ones.

    Raises:
        InputError: it is damaged.
    """
    from LiverSegLib.io.dicom import is_seg
    from LiverSegLib.io.dicom.seg import seg_names
    from LiverSegLib.io.read import is_dicom_file
    from LiverSegLib.labels import labels_for

    if path.is_file() and is_dicom_file(path) and is_seg(path):
        return tuple(labels_for({number: name for number, name in seg_names(path).items() if 0 < number < 256}))
    return labels_of(USUAL)


def read_labels(path: Path, volume: Volume, labels: tuple[Label, ...]) -> npt.NDArray[np.uint8]:
    """The label map [i, j, k] of a file on the grid of `volume`, with 0 for all values that are none of the labels.

    Raises:
        InputError: it cannot be read, or lies on another grid.
    """
    from LiverSegLib.io.read import read_label_map

    given = np.round(np.asarray(read_label_map(path, volume)))
    labelmap = np.zeros(given.shape, np.uint8)
    for label in labels:
        labelmap[given == label.value] = label.value
    return labelmap
