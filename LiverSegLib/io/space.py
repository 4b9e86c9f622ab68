"""From the axes, spacings and origin of a file to the affine of a `Volume`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# DICOM and ITK count millimeters to the left, posterior and superior.
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def affine_of(
    steps: npt.ArrayLike, origin: npt.ArrayLike, to_ras: npt.NDArray[np.float64] = LPS_TO_RAS
) -> npt.NDArray[np.float64]:
    """Voxel index -> RAS mm.

    Args:
        steps: three vectors in mm, from voxel to voxel along i, j and k.
        origin: center of the first voxel in mm.
        to_ras: 4x4, from the file's space to RAS.
    """
    affine = np.eye(4)
    affine[:3, :3] = np.transpose(steps)
    affine[:3, 3] = origin
    # Values near the largest float may overflow here; `Volume` refuses what comes of it.
    with np.errstate(all="ignore"):
        return to_ras @ affine
