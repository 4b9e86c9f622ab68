"""A lit picture of the segments' surface from the front, in numpy and scipy alone.

Each ray runs from the front (A) to the back. It stops where the smoothed mask crosses its level, and is lit
there by the gradient of that same smooth field, so that the steps between slices do not show. Pieces of an organ
are painted onto its surface, each where its own smooth mask is the highest.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from LiverSegLib.pictures.scene import Body, Overlay, Scene

FloatArray = npt.NDArray[np.float32]

# Direction to the light in (R, A, S): from the front, a little above and from the patient's right.
_LIGHT = np.array([0.35, 0.80, 0.50], dtype=np.float32) / np.linalg.norm([0.35, 0.80, 0.50])
_TO_EYE = np.array([0, 1, 0], dtype=np.float32)
_HALF = (_LIGHT + _TO_EYE) / np.linalg.norm(_LIGHT + _TO_EYE)
# How much of an inner segment is seen through the liver.
_SEEN_THROUGH = 0.72
# Below one half, so that lesions of a few voxels are not smoothed away.
_INNER_LEVEL = 0.3
# The smooth fields change by about 0.1 per pixel at the silhouette: this makes it some two pixels wide.
_EDGE = 5.0
# Cells of margin around the box, and how many cells of the surface's grid are one of the grids of its paint.
_MARGIN = 3
_COARSER = 3


def render_front(scene: Scene, pixels: int) -> tuple[FloatArray, float]:
    """Render all segments from the front, before black.

    Args:
        scene: what to draw; must have at least one overlay.
        pixels: side of the picture; sets also how far masks are coarsened, so time hardly grows with size.

    Returns:
        RGB in 0 to 1, shape [pixels, pixels, 3], first row at the top and the patient's right on the left;
        and the side of the picture in mm.
    """
    box, spacing = scene.box, scene.spacing
    sides = [(box[a].stop - box[a].start) * spacing[a] for a in range(3)]
    extent = 1.12 * max(sides[0], sides[2])
    # Three pixels per grid cell: the field is smooth, so interpolating the lit rays loses nothing.
    # Voxels larger than that are not cut up further than the blur needs, nor is a deep stack of thin slices.
    cell = max(3 * extent / pixels, max(sides) / 300, min(spacing) / 3)
    picture = np.zeros((pixels, pixels, 3), dtype=np.float32)
    covered = np.zeros((pixels, pixels), dtype=np.float32)
    for number, body in enumerate(scene.bodies):
        field = _smooth_field(body.whole, scene, cell, inner=number > 0)
        layer = _to_canvas(_shade(field, body, scene, cell), cell, extent, pixels)
        # What lies within an earlier segment is seen through it; what sticks out is seen in full.
        seen = layer[..., 3] * (1 - (1 - _SEEN_THROUGH) * covered)
        picture += (layer[..., :3] - picture) * seen[..., None]
        covered = np.maximum(covered, layer[..., 3])
    return picture, extent


def _smooth_field(overlay: Overlay, scene: Scene, cell: float, *, inner: bool) -> FloatArray:
    """The segment as a smooth field with its surface at 0, on a grid of `cell` mm; [R, A, S] with margins."""
    coarse, steps = _coarse(overlay, scene, cell)
    # Blur by as much as the slices are apart; small lesions inside must survive it.
    strength = 1.0 if inner else 1.5
    sigma = [strength * max(s, cell) / s for s in steps]
    smooth = ndimage.gaussian_filter(coarse, sigma)
    zoom = [m / n for m, n in zip(_cells(coarse, steps, cell), coarse.shape, strict=True)]
    field: FloatArray = ndimage.zoom(smooth, zoom, order=1, grid_mode=True, mode="nearest")
    level = _INNER_LEVEL if inner else 0.5
    return field - np.float32(level * min(1.0, float(smooth.max(initial=0.0))))


def _coarse(overlay: Overlay, scene: Scene, cell: float) -> tuple[FloatArray, list[float]]:
    """The share of the segment in blocks of voxels no larger than `cell` mm, with a margin; and their sides in mm."""
    part = overlay.mask(scene.labelmap[scene.box])
    factors = [max(1, min(int(cell / s), n)) for s, n in zip(scene.spacing, part.shape, strict=True)]
    return np.pad(_block_mean(part, factors), _MARGIN), [s * f for s, f in zip(scene.spacing, factors, strict=True)]


def _cells(coarse: FloatArray, steps: list[float], cell: float) -> list[int]:
    """How many cells of the smooth field's grid lie along each side of blocks."""
    return [max(2, round(n * s / cell)) for n, s in zip(coarse.shape, steps, strict=True)]


def _block_mean(mask: npt.NDArray[np.bool_], factors: list[int]) -> FloatArray:
    """Mean over blocks of `factors` voxels; what overhangs counts as background."""
    padded = np.pad(mask, [(0, -n % f) for n, f in zip(mask.shape, factors, strict=True)])
    i, j, k = (n // f for n, f in zip(padded.shape, factors, strict=True))
    blocks = padded.reshape(i, factors[0], j, factors[1], k, factors[2])
    return np.asarray(blocks.mean(axis=(1, 3, 5), dtype=np.float32))


def _shade(field: FloatArray, body: Body, scene: Scene, cell: float) -> FloatArray:
    """First surface on every ray from the front; [rows, columns, 5]: lit RGB, hit (0 or 1), highest field."""
    ahead = field[:, ::-1, :] > 0
    seen = ahead.any(axis=1)
    hit = np.clip(field.shape[1] - 1 - ahead.argmax(axis=1), 0, field.shape[1] - 2)
    rows, columns = np.indices(hit.shape)
    inside, outside = field[rows, hit, columns], field[rows, hit + 1, columns]
    between = np.clip(inside / np.maximum(inside - outside, 1e-6), 0, 1)[..., None]
    normal = (between - 1) * _gradient_at(field, hit) - between * _gradient_at(field, hit + 1)
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-6)
    diffuse = np.clip(normal @ _LIGHT, 0, 1)
    shine = np.clip(normal @ _HALF, 0, 1) ** 40
    rim = np.clip(normal[..., 1], 0, 1) ** 0.5  # edges turn dark, which shows the roundness
    light = (0.38 + 0.70 * diffuse) * (0.6 + 0.4 * rim)
    image = np.zeros((*hit.shape, 5), dtype=np.float32)
    color = np.array([part.color for part in body.painted])[_part_at(np.stack([rows, hit, columns]), body, scene, cell)]
    image[..., :3] = np.clip(light[..., None] * color / 255 + 0.16 * shine[..., None], 0, 1)
    image[..., 3] = seen
    image[..., 4] = field.max(axis=1)
    return image.transpose(1, 0, 2)[::-1, ::-1]


def _part_at(hit: npt.NDArray[np.intp], body: Body, scene: Scene, cell: float) -> npt.NDArray[np.intp]:
    """Which painted part of a body lies where the rays stop, cells [R, A, S] of the smooth field: [R, S]."""
    best = np.zeros(hit.shape[1:], dtype=np.intp)
    if len(body.painted) == 1:
        return best
    blocks, sides = _coarse(body.whole, scene, cell)
    ends = zip(hit, blocks.shape, _cells(blocks, sides, cell), sides, strict=True)
    place = [((n + 0.5) * count / cells - _MARGIN) * side for n, count, cells, side in ends]  # mm from the box's corner
    highest = np.full(best.shape, -1, dtype=np.float32)
    for number, part in enumerate(body.painted):
        coarse, steps = _coarse(part, scene, _COARSER * cell)
        smooth = ndimage.gaussian_filter(coarse, [_COARSER * cell / step for step in steps])
        at = [mm / step - 0.5 + _MARGIN for mm, step in zip(place, steps, strict=True)]
        value = ndimage.map_coordinates(smooth, at, order=1, mode="nearest")
        best[value > highest] = number
        highest = np.maximum(highest, value)
    return best


def _gradient_at(field: FloatArray, depth: npt.NDArray[np.intp]) -> FloatArray:
    """Central differences of `field` along R, A, S where each ray is at `depth`; shape [R, S, 3]."""
    at = [np.indices(depth.shape)[0], depth, np.indices(depth.shape)[1]]
    parts = []
    for axis in range(3):
        ahead, behind = list(at), list(at)
        ahead[axis] = np.minimum(at[axis] + 1, field.shape[axis] - 1)
        behind[axis] = np.maximum(at[axis] - 1, 0)
        parts.append(field[tuple(ahead)] - field[tuple(behind)])
    return np.stack(parts, axis=-1)


def _to_canvas(layer: FloatArray, cell: float, extent: float, pixels: int) -> FloatArray:
    """Enlarge a layer of `_shade` to pixels and center it; RGBA [pixels, pixels, 4].

    The silhouette is where the enlarged field crosses zero, so that it does not show the grid's steps.
    """
    zoom = cell * pixels / extent
    weighted = layer.copy()
    weighted[..., :3] *= layer[..., 3:4]
    big = ndimage.zoom(weighted, (zoom, zoom, 1), order=1, grid_mode=True, mode="nearest")
    big[..., :3] /= np.maximum(big[..., 3:4], 1e-6)
    big[..., 3] = np.clip(0.5 + _EDGE * big[..., 4], 0, 1) * (big[..., 3] > 0)
    canvas = np.zeros((pixels, pixels, 4), dtype=np.float32)
    rows, columns = min(pixels, big.shape[0]), min(pixels, big.shape[1])
    top, left = (pixels - rows) // 2, (pixels - columns) // 2
    y, x = (big.shape[0] - rows) // 2, (big.shape[1] - columns) // 2
    canvas[top : top + rows, left : left + columns] = big[y : y + rows, x : x + columns, :4]
    return canvas
