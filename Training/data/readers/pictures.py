"""What the numbers of a picture stand for: sizes of pixels, directions, windows, and labels."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from Training.data.readers.case import Labels, recode
from Training.data.readers.templates import inside
from Training.errors import DataError, listed
from Training.recipe.sources import FilesSource, Mask, SpacingTable

_LOSSY = (".jpg", ".jpeg")
# JPEG moves gray levels by a few; levels that are closer cannot be told apart.
_JPEG_NOISE = 8
_JPEG_STRANGE = 0.02
# Grays that count as the darkest: JPEG does not keep 0.
_BLACK = 2
Picture = npt.NDArray[Any]
PixelSize = tuple[float, float]


def pixel_sizes(table: SpacingTable, data: Path) -> dict[str, PixelSize]:
    """File name -> mm of a pixel along x and y.

    Raises:
        DataError: the table is missing, lacks a column or holds no sizes.
    """
    path = inside(data, table.file, "spacing")
    sizes = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                x, y = float(row[table.x]), float(row[table.y])
                if not 0 < x < 100 or not 0 < y < 100:
                    raise DataError(
                        f"{path} gives {row[table.name]} pixels of {x:g} x {y:g} mm; correct that row.", path
                    )
                sizes[row[table.name]] = x, y
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise DataError(f"{path} is no readable CSV file with numbers in {table.x} and {table.y}.", path) from error
    except KeyError as error:
        raise DataError(f"{path} has no column {error.args[0]}; correct the source's spacing.", path) from error
    return sizes


def turned(array: Picture, source: FilesSource, fields: dict[str, str]) -> Picture:
    """[rows, columns] of the file as [x, y], running left and posterior."""
    array = array if source.rows == "x" else array.T
    axis = source.flip.get(fields.get("how", ""))
    return array[::-1] if axis == "x" else array[:, ::-1] if axis == "y" else array


def intensities(gray: Picture, source: FilesSource) -> Picture:
    """Gray values as what they stand for: float32 of the window where the source tells one."""
    values = gray
    if source.window is not None:
        low, high = source.window
        values = low + gray.astype(np.float32) * ((high - low) / 255)
    if source.black is not None:
        values = np.where(gray <= _BLACK, np.float32(source.black), values.astype(np.float32))
    return values


def mask_values(array: Picture, mask: Mask, path: Path) -> Labels:
    """A mask's numbers as the recipe's labels.

    The levels of a JPEG are noisy: each pixel takes the nearest of those that the recipe names, 0 included. It is
    refused where levels are closer than the noise, or where too many pixels are far from all of them.

    Raises:
        DataError: levels that the recipe does not name, or a JPEG that cannot hold them.
    """
    if mask.above is not None:
        return np.asarray((array > mask.above) * np.uint8(mask.label), dtype=np.uint8)
    if path.suffix.lower() in _LOSSY:
        array = _nearest(array, mask, path)
    return recode(array, mask.values, mask.others, path)


def _nearest(array: Picture, mask: Mask, path: Path) -> Picture:
    levels = np.array(sorted({0, *mask.values}))
    if np.diff(levels).min() <= _JPEG_NOISE:
        raise DataError(
            f"{path}: a JPEG cannot keep the levels {listed(levels.tolist())} apart; save the mask as PNG.", path
        )
    far = np.abs(array.astype(np.int32)[..., None] - levels)
    strange = float((far.min(axis=-1) > _JPEG_NOISE).mean())
    if strange > _JPEG_STRANGE and mask.others == "refuse":
        known = listed(levels.tolist())
        raise DataError(f"{path}: {strange:.0%} of the pixels are far from the recipe's levels {known}.", path)
    return np.asarray(levels[far.argmin(axis=-1)])
