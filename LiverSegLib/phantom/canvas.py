"""What is painted on: HU and the room that is still free for organs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from LiverSegLib.phantom.anatomy import Anatomy, Tissue
from LiverSegLib.phantom.space import EVERYWHERE, Array, Box, Field, Grid, Noise, smooth_max


@dataclass(kw_only=True)
class Canvas:
    """A phantom in the making.

    Args:
        grid: where the voxels are.
        anatomy: whose body it is.
        tissue: HU of this contrast phase.
        hu: float32 [x, y, z], painted in place.
        free: distance (mm) into the nearest thing that organs must not enter; negative where there is room.
        shell: distance (mm) to the abdominal cavity under the diaphragm.
        grain: short-wave noise for textures.
    """

    grid: Grid
    anatomy: Anatomy
    tissue: Tissue
    hu: Array
    free: Array
    shell: Array
    grain: Noise

    def paint(self, distance: Field, value: float | Field, box: Box = EVERYWHERE) -> None:
        """Fill the body given by `distance` (shape of `box`) with `value` HU, soft at its surface."""
        cover = self.grid.cover(distance)
        region = self.hu[box]
        region += cover * (value - region)

    def fit(self, distance: Array, box: Box, gap: float, rounding: float = 4.0) -> Array:
        """Cut a body so that it stays `gap` mm off everything that is already there."""
        return smooth_max(distance, self.free[box] + np.float32(gap), rounding)

    def ascites(self, box: Box = EVERYWHERE) -> Array | float:
        """Thickness (mm) of the fluid between the peritoneum and what hangs in it; 0 for most patients."""
        thick = self.anatomy.ascites
        return np.clip(thick * (1 + 0.4 * self.anatomy.bumps(self.grid, box)), 2, 25) if thick else 0.0

    def occupy(self, distance: Field, box: Box = EVERYWHERE) -> None:
        """Keep later organs out of this body."""
        region = self.free[box]
        np.maximum(region, -distance.astype(np.float32), out=region)
