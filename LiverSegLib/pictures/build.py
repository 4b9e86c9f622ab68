"""From a volume and its label map to a `Scene`: axes, gray window, segments, slices, field of view.

Everything is reoriented to the closest RAS axes first (transposed and flipped views, no resampling), so that
an oblique or flipped volume is drawn along its own voxel axes, under the nearest anatomical directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from LiverSegLib.boxes import bounding_box, whole_of
from LiverSegLib.engine.axes import axis_order
from LiverSegLib.errors import OutputError
from LiverSegLib.labels import Label, organs_first, values_of
from LiverSegLib.pictures.colors import picture_colors
from LiverSegLib.pictures.gray import display_window, looks_like_hu
from LiverSegLib.pictures.scene import Box, Overlay, Plane, Scene
from LiverSegLib.volume import Volume

# Name, axis across the plane, axis to the right (reversed), axis upwards.
_VIEWS = (("Axial", 2, 0, 1), ("Coronal", 1, 0, 2), ("Sagittal", 0, 1, 2))
_BODY_HU = -300.0
_PLACED = ("CT", "MR")


def build_scene(volume: Volume, labelmap: npt.NDArray[np.uint8], labels: Sequence[Label]) -> Scene:
    """Reorient, choose the gray window, the slices and the field of view.

    Args:
        volume: the image, [i, j, k].
        labelmap: its segments, on the same grid.
        labels: what the values of the label map mean.

    Raises:
        OutputError: the label map has another shape than the image.
    """
    if labelmap.shape != volume.array.shape:
        raise OutputError(
            f"The result does not belong to {volume.name}: its label map is {labelmap.shape}, "
            f"the image {volume.array.shape}; draw it on the image that was segmented."
        )
    axes = axis_order(volume.affine, "RAS")
    image, turned = axes.apply(volume.array), np.asarray(axes.apply(labelmap), np.uint8)
    scene = Scene(
        image=image,
        labelmap=turned,
        affine=volume.affine @ axes.back(volume.array.shape),
        window=display_window(image, volume.modality),
        overlays=_overlays(labelmap, labels),
        box=bounding_box(turned) or whole_of(turned),
        body=_body_box(image, hu=looks_like_hu(image, volume.modality)),
    )
    if 1 in image.shape:
        return replace(scene, planes=(_only_plane(scene),), placed=volume.modality in _PLACED)
    return replace(scene, planes=_planes(scene))


def _only_plane(scene: Scene) -> Plane:
    """The plane of a volume of one slice, all of it in view, in its own proportions."""
    shape, spacing = scene.image.shape, scene.spacing
    name, axis, across, up = next(view for view in _VIEWS if shape[view[1]] == 1)
    width, height = shape[across] * spacing[across], shape[up] * spacing[up]
    i, j, k = ((n - 1) / 2 for n in shape)
    return Plane(name=name, axis=axis, across=across, up=up, center=(i, j, k), extent_mm=width, aspect=height / width)


def _overlays(labelmap: npt.NDArray[np.uint8], labels: Sequence[Label]) -> tuple[Overlay, ...]:
    """Segments that have voxels; organs come before their lesions and include them, as they do when measured."""
    present = np.zeros(256, dtype=bool)
    # np.unique sorts and bincount widens to 64 bits; a table write does neither.
    present[labelmap] = True
    overlays = []
    colors = picture_colors(labels)
    for label in organs_first(labels):
        values = tuple(value for value in values_of(label.name, labels) if present[value])
        if values:
            overlays.append(Overlay(label.name, colors[label.name], values, label.is_lesion, label.part_of))
    return tuple(overlays)


def _planes(scene: Scene) -> tuple[Plane, ...]:
    """The three planes at one scale, centered on the body across and on the liver upwards."""
    shape, spacing, box, body = scene.image.shape, scene.spacing, scene.box, scene.body
    sides = [(body[a].stop - body[a].start) * spacing[a] for a in (0, 1)]
    extent = 1.04 * max(*sides, (box[2].stop - box[2].start) * spacing[2])
    middle = [(body[a].start + body[a].stop - 1) / 2 for a in (0, 1)]
    # What is in view stays within the volume where it can.
    half = (min(extent / spacing[2], shape[2]) - 1) / 2
    middle.append(np.clip((box[2].start + box[2].stop - 1) / 2, half, shape[2] - 1 - half))
    chosen = _largest_slices(scene)
    planes = []
    for name, axis, across, up in _VIEWS:
        i, j, k = (float(chosen[a] if a == axis else middle[a]) for a in range(3))
        planes.append(Plane(name=name, axis=axis, across=across, up=up, center=(i, j, k), extent_mm=extent))
    return tuple(planes)


def _largest_slices(scene: Scene) -> list[int]:
    """Slice along each axis with the largest area of lesion, else of liver; the middle without either."""
    if not scene.overlays:
        return [(n - 1) // 2 for n in scene.image.shape]
    lesions = [o for o in scene.overlays if o.is_lesion]
    box = scene.box
    mask = (lesions[0] if lesions else scene.bodies[0].whole).mask(scene.labelmap[box])
    chosen = []
    for axis in range(3):
        area = mask.sum(axis=tuple(a for a in range(3) if a != axis))
        largest = np.flatnonzero(area == area.max())
        chosen.append(box[axis].start + int(largest[len(largest) // 2]))
    return chosen


def _body_box(image: npt.NDArray[Any], *, hu: bool) -> Box:
    """Box of what is denser than air and lung in an [i, j, k] image in HU, from every fourth voxel; else all of it."""
    if not hu:
        return slice(0, image.shape[0]), slice(0, image.shape[1]), slice(0, image.shape[2])
    steps = tuple(4 if n >= 64 else 1 for n in image.shape)
    body = image[tuple(slice(None, None, s) for s in steps)] > _BODY_HU
    coarse = bounding_box(body) or whole_of(body)
    i, j, k = (slice(b.start * s, min(n, b.stop * s)) for b, s, n in zip(coarse, steps, image.shape, strict=True))
    return i, j, k
