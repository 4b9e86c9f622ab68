"""One image of several channels, from a file each or from one of all: MR sequences, or PET beside its CT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from LiverSegLib.errors import InputError
from LiverSegLib.io.grids import on_grid_of
from LiverSegLib.io.picture import PICTURES, read_color
from LiverSegLib.io.read import read_volume
from LiverSegLib.volume import Volume

COLORS = 3
"""Channels of a picture of red, green and blue, which is one file."""


def read_channels(paths: Sequence[Path], wanted: int = 1, *, series: str | None = None) -> Volume:
    """Read the channels of one image, each as `read_volume` reads it, onto the grid of the first.

    Args:
        paths: one file or folder a channel, in the model's order; or a picture or a 4D NIfTI file alone.
        wanted: how many channels the model takes; as many volumes of a 4D NIfTI file alone are they, and where it takes
            three, a picture gives red, green and blue.
        series: which series of the first, a DICOM folder with several; see `read_volume`.

    Raises:
        InputError: one cannot be read, holds several channels itself or other than are wanted, or lies on another grid
            than the first.
    """
    if len(paths) == 1 and wanted == COLORS and paths[0].name.lower().endswith(PICTURES):
        return read_color(paths[0])
    if len(paths) == 1:
        return read_volume(paths[0], series=series, channels=wanted)
    first = read_volume(paths[0], series=series)
    others = [read_volume(path) for path in paths[1:]]
    further = []
    for other in others:
        try:
            further.append(on_grid_of(first, other))
        except InputError as error:
            raise InputError(
                f"{other.name} does not lie on the grid of {first.name}; the channels of an image need one grid, so "
                "resample it to the first one."
            ) from error
    notes = dict.fromkeys((*first.notes, *(note for other in others for note in other.notes)))
    return replace(first, further=tuple(further), notes=tuple(notes))
