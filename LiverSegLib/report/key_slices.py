"""The slice in which a lesion is largest, with its diameter in that slice drawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from LiverSegLib.boxes import bounding_box
from LiverSegLib.measure import Lesion, longest_diameter
from LiverSegLib.pictures import figures, panels
from LiverSegLib.pictures.scene import Plane, Scene
from LiverSegLib.volume import Result

_SIDE = 380
# The close view is this many diameters wide, and never closer than that many mm.
_CLOSE, _CLOSEST_MM = 3.0, 60.0
_LINE = "#ffffff"
Points = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class KeySlice:
    """Where one lesion is drawn.

    Args:
        lesion, number: the lesion, and its number among those of its label.
        plane: the axial slice in which it has most voxels.
        ends: of the longest diameter in that slice, in voxels of the scene [2, 3].
        diameter_mm: its length.
    """

    lesion: Lesion
    number: int
    plane: Plane
    ends: Points
    diameter_mm: float


def key_slices(scene: Scene, result: Result, most: int) -> list[KeySlice]:
    """Those of the `most` largest lesions, in the order of the measurements; none of a picture of one slice."""
    if len(scene.planes) < 3:
        return []
    parts = {label.name: _parts(scene.labelmap == label.value) for label in result.labels if label.is_lesion}
    numbered = list(result.measurements.numbered_lesions())
    largest = sorted(range(len(numbered)), key=lambda n: -numbered[n][1].volume_ml)[:most]
    chosen = [numbered[n] for n in sorted(largest)]
    return [_key_slice(scene, lesion, number, parts[lesion.name]) for number, lesion in chosen]


def _parts(mask: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.int64]]:
    """The voxels [n, 3] of each 26-connected part."""
    box = bounding_box(mask)
    if box is None:
        return []
    parts, _ = ndimage.label(mask[box], ndimage.generate_binary_structure(3, 3))
    first = np.array([s.start for s in box])
    places = enumerate(ndimage.find_objects(parts), start=1)
    return [np.argwhere(parts[place] == n) + [s.start for s in place] + first for n, place in places]


def _key_slice(scene: Scene, lesion: Lesion, number: int, parts: list[npt.NDArray[np.int64]]) -> KeySlice:
    to_voxels = np.linalg.inv(scene.affine)
    center = (to_voxels @ [*lesion.center_ras, 1.0])[:3]
    voxels = min(parts, key=lambda part: float(np.linalg.norm(part.mean(axis=0) - center)))
    heights, counts = np.unique(voxels[:, 2], return_counts=True)
    height = int(heights[counts.argmax()])
    flat = voxels[voxels[:, 2] == height]
    # The slice is taken for thin, so that one voxel has its diameter within it.
    affine = scene.affine.copy()
    affine[:3, 2] *= 1e-3 / scene.spacing[2]
    points = flat @ scene.affine[:3, :3].T + scene.affine[:3, 3]
    ends = np.array(longest_diameter(points, affine))
    middle = flat.mean(axis=0)
    plane = replace(scene.planes[0], center=(float(middle[0]), float(middle[1]), float(height)))
    return KeySlice(
        lesion=lesion,
        number=number,
        plane=plane,
        ends=(ends - scene.affine[:3, 3]) @ to_voxels[:3, :3].T,
        diameter_mm=float(np.linalg.norm(ends[0] - ends[1])),
    )


def picture_of(scene: Scene, key: KeySlice) -> bytes:
    """The whole slice and a close view of the lesion side by side, as PNG."""
    figure, (whole, close) = figures.panel_grid(rows=1, columns=2, side=_SIDE, has_caption=False)
    height = (*scene.planes[0].center[:2], key.plane.center[2])
    there = replace(scene.planes[0], center=height)
    near = replace(key.plane, extent_mm=min(there.extent_mm, max(_CLOSEST_MM, _CLOSE * key.diameter_mm)))
    panels.draw_slice(whole, scene, there, line=1.0)
    position, index = panels.position_text(scene, there)
    panels.title(whole, position)
    panels.title(whole, index, right=True)
    panels.draw_letters(whole, there.letters)
    panels.draw_scale_bar(whole, there)
    panels.draw_slice(close, scene, near, line=1.1, fill=0.08)
    x, y = zip(*_drawn(key, near, scene.spacing), strict=True)
    close.plot(x, y, color=_LINE, linewidth=1.6, marker="|", markersize=6, solid_capstyle="butt")
    panels.title(close, f"{key.diameter_mm:.1f} mm in this slice")
    panels.draw_scale_bar(close, near)
    return figures.png_of(figure)


def _drawn(key: KeySlice, plane: Plane, spacing: tuple[float, float, float]) -> Iterator[tuple[float, float]]:
    """The ends in mm to the right and upwards from the middle of the panel."""
    u, v = plane.across, plane.up
    for end in key.ends:
        yield (plane.center[u] - end[u]) * spacing[u], (end[v] - plane.center[v]) * spacing[v]
