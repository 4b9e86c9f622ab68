"""The same place of two scans side by side: the baseline, and the follow-up as it lies on the baseline."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt

from LiverSegLib.followup.changes import Change
from LiverSegLib.followup.parts import TimePoint
from LiverSegLib.followup.register import Registration
from LiverSegLib.labels import organs_first, values_of
from LiverSegLib.pictures.colors import picture_colors
from LiverSegLib.pictures.gray import blend, display_window, gray_pixels
from LiverSegLib.pictures.scene import Overlay
from LiverSegLib.volume import Volume

_SIDE, _FIELD_MM = 320, 200.0
_GAP, _OUTLINE = 6, 2
_QUALITY = 88


def pair_of(change: Change, registration: Registration, baseline: TimePoint, followup: TimePoint) -> bytes | None:
    """A JPEG of the axial plane of the baseline through a lesion, in both scans; None without images.

    Each picture is 200 mm wide, in radiological convention: the patient's right is on the left.
    """
    if baseline.volume is None or followup.volume is None:
        return None
    from PIL import Image

    places = _plane(np.array(change.center_ras))
    panels = [_panel(baseline, baseline.volume, places)]
    moved = registration.to_followup(places.reshape(-1, 3)).reshape(places.shape)
    panels += [np.zeros((_SIDE, _GAP, 3), np.uint8), _panel(followup, followup.volume, moved)]
    file = io.BytesIO()
    Image.fromarray(np.concatenate(panels, axis=1)).save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()


def _plane(center: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """RAS mm of the pixels, [row, column, 3]."""
    along = (np.arange(_SIDE) + 0.5) / _SIDE * _FIELD_MM - _FIELD_MM / 2
    rows, columns = np.meshgrid(along, along, indexing="ij")
    return center + np.stack([-columns, -rows, np.zeros_like(rows)], axis=-1)


def _panel(point: TimePoint, volume: Volume, places: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """Gray values and outlines of a scan at places, RGB."""
    from scipy import ndimage

    back = np.linalg.inv(point.affine)
    at = np.moveaxis(places @ back[:3, :3].T + back[:3, 3], -1, 0)
    window = display_window(volume.array, volume.modality)
    gray = _sampled(ndimage, volume.array, at, order=1, outside=window[0])
    labels = _sampled(ndimage, point.labelmap, at, order=0, outside=0).astype(np.uint8)
    return blend(gray_pixels(gray, window), labels, _overlays(point), _OUTLINE)


def _sampled(ndimage: Any, array: npt.NDArray[Any], at: npt.NDArray[np.float64], *, order: int, outside: float) -> Any:
    """Values at voxel indices [3, row, column]; only the part of the array that is needed is converted."""
    low = np.clip(np.floor(at.min(axis=(1, 2))).astype(int) - 1, 0, np.array(array.shape) - 1)
    high = np.clip(np.ceil(at.max(axis=(1, 2))).astype(int) + 2, low + 1, array.shape)
    part = array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))].astype(np.float32)
    return ndimage.map_coordinates(part, at - low[:, None, None], order=order, cval=outside)


def _overlays(point: TimePoint) -> list[Overlay]:
    colors = picture_colors(list(point.labels))
    return [
        Overlay(label.name, colors[label.name], tuple(values_of(label.name, point.labels)), label.is_lesion)
        for label in organs_first(list(point.labels))
    ]
