"""How an image is brought to a model's grid, and its logits back, as a value: conventions that programs differ in."""

from __future__ import annotations

import math
from dataclasses import dataclass

OWN_AXES = "ijk"
"""What stands for axis codes where the axes of a model are those of the image's array, whatever way they point."""
_CLOSE = 1e-3
"""mm; as MONAI compares spacings."""


@dataclass(frozen=True, kw_only=True)
class Resampling:
    """The conventions of the program that trained a model; by default MONAI's.

    Args:
        edges: the outer edges of image and grid lie on each other, and the grid has round(n * spacing / new_spacing)
            voxels; else the centers of the first voxels do.
        cubic: images are interpolated by cubic splines and kept within their range of values; else linearly.
            Logits always are linearly.
        separate_above: where voxels of the image, or else of the grid, are longer than this many times along one axis
            than along another, each slice is interpolated by itself and the nearest slice taken; inf for never.
        keep_within: an axis whose spacing in the image lies within these parts of the wanted one keeps it.
        normalize_first: intensity steps are done with the image's own voxels, before they are resampled.
    """

    edges: bool = False
    cubic: bool = False
    separate_above: float = math.inf
    keep_within: tuple[float, float] | None = None
    normalize_first: bool = False

    def spacing(self, have: float, want: float) -> float:
        """The spacing of a model's axis in mm, of the image's own and the wanted one (<= 0: the image's)."""
        if want <= 0:
            return have
        if self.keep_within is None:
            return want
        low, high = self.keep_within
        return have if low * want - _CLOSE <= have <= high * want + _CLOSE else want

    def thick_axis(self, first: tuple[float, ...], then: tuple[float, ...]) -> int | None:
        """The axis along which the nearest slice is taken on the way between two grids; None where there is none.

        Args:
            first, then: voxel sizes in mm of the grids, the one that is left first.
        """
        for spacing in (first, then):
            longest = max(spacing)
            if longest / min(spacing) > self.separate_above:
                found = [axis for axis, size in enumerate(spacing) if math.isclose(size, longest, rel_tol=1e-6)]
                return found[0] if len(found) == 1 else None
        return None


MONAI = Resampling()
