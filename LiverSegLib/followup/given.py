"""A registration that is given and not looked for: where points of a grid on the baseline lie in the follow-up."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from LiverSegLib.errors import InputError
from LiverSegLib.followup.parts import Points
from LiverSegLib.followup.register import Grid, Registration


def bent_registration(grid: Grid, moved: npt.NDArray[np.float64]) -> Registration:
    """A registration that bends, from samples of it.

    The affine part is fitted, so that what is left to bend is small and the way back can be found.

    Args:
        grid: around the liver of the baseline, RAS mm.
        moved: where its points lie in the follow-up, RAS mm, [x, y, z, 3].

    Raises:
        InputError: it is no map of one place to one other: points are not finite, or lie in a plane.
    """
    if moved.shape != (*grid.shape, 3) or not np.isfinite(moved).all():
        raise InputError("The transform does not say where each point of the baseline lies; choose another transform.")
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
    points: Points = grid.origin + grid.step * index
    full = np.concatenate([points.reshape(-1, 3), np.ones((points.size // 3, 1))], axis=1)
    found, *_ = np.linalg.lstsq(full, moved.reshape(-1, 3), rcond=None)
    matrix = np.eye(4)
    matrix[:3] = found.T
    if abs(np.linalg.det(matrix[:3, :3])) < 1e-3:
        raise InputError("The transform flattens the baseline; choose another transform.")
    back = np.linalg.inv(matrix)
    bend = moved @ back[:3, :3].T + back[:3, 3] - points
    return Registration(matrix=matrix, kind="given", grid=grid, bend=bend)
