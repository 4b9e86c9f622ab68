"""One time point, and its lesions one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from LiverSegLib.errors import InputError
from LiverSegLib.labels import MAIN_ORGAN, Label, values_of
from LiverSegLib.measure import Lesion, find_lesions, voxel_ml_of
from LiverSegLib.volume import Volume

Points = npt.NDArray[np.float64]
"""RAS mm, [n, 3]."""


@dataclass(frozen=True, kw_only=True)
class TimePoint:
    """A scan with its segments.

    Args:
        labelmap: uint8 [i, j, k].
        affine: 4x4, voxel index -> RAS mm.
        labels: what its values mean.
        name: how messages and pages call it.
        volume: the image on the same grid, for pictures; None without it.
    """

    labelmap: npt.NDArray[np.uint8]
    affine: npt.NDArray[np.float64]
    labels: Sequence[Label]
    name: str
    volume: Volume | None = None

    def organ(self) -> npt.NDArray[np.bool_]:
        """Boolean [i, j, k]: the liver with its lesions.

        Raises:
            InputError: nothing of it is there.
        """
        mask = np.isin(self.labelmap, values_of(MAIN_ORGAN, self.labels))
        if not mask.any():
            raise InputError(f"{self.name} has no voxels of {MAIN_ORGAN}; segment it first, or check the label values.")
        return mask

    @property
    def organ_ml(self) -> float:
        """Volume of the liver with its lesions in mL."""
        return float(self.organ().sum()) * voxel_ml_of(self.affine)

    def lesions(self) -> list[LesionPart]:
        """The connected lesions, the largest first.

        Raises:
            InputError: no label is one of lesions.
        """
        from scipy import ndimage

        values = [label.value for label in self.labels if label.is_lesion]
        if not values:
            raise InputError(f"{self.name} has no label of lesions; use a model that segments them.")
        parts, _ = ndimage.label(np.isin(self.labelmap, values), ndimage.generate_binary_structure(3, 3))
        found = []
        for number, box in enumerate(ndimage.find_objects(parts), start=1):
            start = np.array([side.start for side in box])
            inside = parts[box] == number
            moved = self.affine.copy()
            moved[:3, 3] += self.affine[:3, :3] @ start
            (lesion,) = find_lesions(inside, moved)
            points = np.argwhere(inside) @ moved[:3, :3].T + moved[:3, 3]
            found.append(LesionPart(lesion=lesion, points=points, mask_number=number))
        found.sort(key=lambda part: -part.lesion.volume_ml)
        return found


@dataclass(frozen=True)
class LesionPart:
    """One lesion: its measurements, its voxels in RAS mm [n, 3], and its number among the connected parts."""

    lesion: Lesion
    points: Points
    mask_number: int
