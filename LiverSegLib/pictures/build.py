"""From a volume and its result to a `Scene`: axes, grey window, segments, slices, field of view.

Everything is reoriented to the closest RAS axes first (transposed and flipped views, no resampling), so that
an oblique or flipped volume is drawn along its own voxel axes, under the nearest anatomical directions.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from nibabel import orientations

from LiverSegLib.boxes import bounding_box, whole_of
from LiverSegLib.errors import OutputError
from LiverSegLib.labels import organs_first, values_of
from LiverSegLib.pictures.colors import picture_colors
from LiverSegLib.pictures.scene import Box, Overlay, Plane, Scene
from LiverSegLib.pictures.window import display_window, looks_like_hu
from LiverSegLib.volume import Result, Volume

# Name, axis across the plane, axis to the right (reversed), axis upwards.
_VIEWS = (("Axial", 2, 0, 1), ("Coronal", 1, 0, 2), ("Sagittal", 0, 1, 2))
_BODY_HU = -300.0
_PLACED = ("CT", "MR")


def build_scene(volume: Volume, result: Result) -> Scene:
    """Reorient, choose the grey window, the slices and the field of view.

    Raises:
        OutputError: the result's label map has another shape than the image.
    """
    if result.labelmap.shape != volume.array.shape:
        raise OutputError(
            f"The result does not belong to {volume.name}: its label map is {result.labelmap.shape}, "
            f"the image {volume.array.shape}; draw it on the image that was segmented."
        )
    orientation = orientations.io_orientation(volume.affine)
    back = orientations.inv_ornt_aff(orientation, volume.array.shape)
    image = orientations.apply_orientation(volume.array, orientation)
    labelmap = orientations.apply_orientation(result.labelmap, orientation)
    scene = Scene(
        image=image,
        labelmap=labelmap,
        affine=volume.affine @ back,
        window=display_window(image, volume.modality),
        overlays=_overlays(result),
        box=bounding_box(labelmap) or whole_of(labelmap),
    )
    if 1 in image.shape:
        return replace(scene, planes=(_only_plane(scene),), placed=volume.modality in _PLACED)
    return replace(scene, planes=_planes(scene, hu=looks_like_hu(image, volume.modality)))


def _only_plane(scene: Scene) -> Plane:
    """The plane of a volume of one slice, all of it in view, in its own proportions."""
    shape, spacing = scene.image.shape, scene.spacing
    name, axis, across, up = next(view for view in _VIEWS if shape[view[1]] == 1)
    width, height = shape[across] * spacing[across], shape[up] * spacing[up]
    i, j, k = ((n - 1) / 2 for n in shape)
    return Plane(name, axis, across, up, (i, j, k), width, height / width)


def _overlays(result: Result) -> tuple[Overlay, ...]:
    """Segments that have voxels; organs come before their lesions and include them, as they do when measured."""
    present = np.zeros(256, dtype=bool)
    # np.unique sorts and bincount widens to 64 bits; a table write does neither.
    present[result.labelmap] = True
    overlays = []
    colors = picture_colors(result.labels)
    for label in organs_first(result.labels):
        values = tuple(value for value in values_of(label.name, result.labels) if present[value])
        if values:
            overlays.append(Overlay(label.name, colors[label.name], values, label.is_lesion))
    return tuple(overlays)


def _planes(scene: Scene, *, hu: bool) -> tuple[Plane, ...]:
    """The three planes at one scale, centred on the body across and on the liver upwards."""
    shape, spacing, box = scene.image.shape, scene.spacing, scene.box
    body = body_box(scene.image) if hu else tuple(slice(0, n) for n in shape)
    sides = [(body[a].stop - body[a].start) * spacing[a] for a in (0, 1)]
    extent = 1.04 * max(*sides, (box[2].stop - box[2].start) * spacing[2])
    middle = [(body[a].start + body[a].stop - 1) / 2 for a in (0, 1)]
    middle.append(_window_center(shape[2], (box[2].start + box[2].stop - 1) / 2, extent / spacing[2]))
    chosen = _largest_slices(scene)
    planes = []
    for name, axis, across, up in _VIEWS:
        center = [float(c) for c in middle]
        center[axis] = float(chosen[axis])
        planes.append(Plane(name, axis, across, up, (center[0], center[1], center[2]), extent))
    return tuple(planes)


def _largest_slices(scene: Scene) -> list[int]:
    """Slice along each axis with the largest area of lesion, else of liver; the middle without either."""
    if not scene.overlays:
        return [(n - 1) // 2 for n in scene.image.shape]
    lesions = [o for o in scene.overlays if o.is_lesion]
    box = scene.box
    mask = (lesions or list(scene.overlays))[0].mask(scene.labelmap[box])
    chosen = []
    for axis in range(3):
        area = mask.sum(axis=tuple(a for a in range(3) if a != axis))
        largest = np.flatnonzero(area == area.max())
        chosen.append(box[axis].start + int(largest[len(largest) // 2]))
    return chosen


def _window_center(length: int, wanted: float, window: float) -> float:
    """Middle of a window of `window` voxels near `wanted` that stays within `length` voxels where it can."""
    if window >= length:
        return (length - 1) / 2
    return float(np.clip(wanted, (window - 1) / 2, length - 1 - (window - 1) / 2))


def body_box(image: npt.NDArray[Any]) -> Box:
    """Box of what is denser than air and lung in an [i, j, k] image in HU, from every fourth voxel."""
    steps = tuple(4 if n >= 64 else 1 for n in image.shape)
    body = image[tuple(slice(None, None, s) for s in steps)] > _BODY_HU
    coarse = bounding_box(body) or whole_of(body)
    i, j, k = (slice(b.start * s, min(n, b.stop * s)) for b, s, n in zip(coarse, steps, image.shape, strict=True))
    return i, j, k
