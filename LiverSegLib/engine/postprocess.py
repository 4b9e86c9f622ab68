"""What anatomy says of a label map: one liver, without holes, lesions only inside it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from LiverSegLib.engine.geometry import Box

Mask = npt.NDArray[np.bool_]


def bounding_box(mask: npt.NDArray[np.generic], margin: int = 0) -> Box | None:
    """Half-open index ranges around the non-zero voxels, widened by `margin` inside the array."""
    box = []
    for axis in range(mask.ndim):
        used = np.flatnonzero(mask.any(axis=tuple(n for n in range(mask.ndim) if n != axis)))
        if not used.size:
            return None
        box.append((max(int(used[0]) - margin, 0), min(int(used[-1]) + 1 + margin, mask.shape[axis])))
    return tuple(box)


def postprocess(
    labelmap: npt.NDArray[np.uint8], liver: int | None, tumor: int | None, *, largest: bool, holes: bool,
    inside: bool,
) -> None:  # fmt: skip
    """Clean a label map [i, j, k] in place.

    Args:
        labelmap: labels of a model.
        liver, tumor: their values; None where the model has no such label.
        largest: keep only the largest connected part of liver and lesions together.
        holes: fill what the liver encloses.
        inside: remove lesions that are not attached to the liver.
    """
    if liver is None:
        return
    box = bounding_box(labelmap)
    if box is None:
        return
    # Memory order for SciPy: it walks C order, our arrays have i fastest.
    part = labelmap[tuple(slice(*r) for r in box)].transpose(2, 1, 0)
    values = (liver,) if tumor is None else (liver, tumor)
    organ = np.isin(part, values) if len(values) > 1 else part == liver
    if not organ.any():
        return
    kept = largest_component(organ) if largest else organ
    if tumor is not None and inside:
        kept = kept & ~_detached(part == tumor, part == liver)
    part[organ & ~kept] = 0
    if holes:
        part[enclosed(kept) & (part == 0)] = liver


def largest_component(mask: Mask) -> Mask:
    """The largest face-connected part of a mask."""
    parts, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return np.asarray(parts == int(sizes.argmax()))


def enclosed(mask: Mask) -> Mask:
    """Voxels outside `mask` that it cuts off from the border of the array.

    The array may be tight around the mask: the world outside counts as background.
    """
    padded = np.pad(mask, 1)
    parts, count = ndimage.label(~padded)
    if count < 2:
        return np.zeros_like(mask)
    return np.asarray((parts != parts.flat[0]) & ~padded)[1:-1, 1:-1, 1:-1]


def _detached(lesions: Mask, liver: Mask) -> Mask:
    """Lesion parts that do not touch the liver."""
    parts, count = ndimage.label(lesions)
    if not count:
        return lesions
    touching = np.unique(parts[ndimage.binary_dilation(liver)])
    keep = np.zeros(count + 1, bool)
    keep[touching] = True
    return np.asarray(lesions & ~keep[parts])
