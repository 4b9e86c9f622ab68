"""Bringing the liver of one scan onto that of another: from points of the baseline to points of the follow-up.

The livers' distance maps are registered, not the gray values: contrast phases differ, and the segmentation is what the
lesions were found in. First rigid, from the centers of the livers; then, where it is asked for, bent with B-splines.
All voxels are used and one thread, so that the same scans always give the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from LiverSegLib.errors import InputError
from LiverSegLib.followup.parts import Points, TimePoint

_STEP_MM = 4.0
_MARGIN_MM = 40.0
_FAR_MM = 25.0
"""Distances are cut here: what lies far from the surface, such as a part that was cut out, must not pull so hard."""
_MESH_MM = 70.0
_BENDS = 12


@dataclass(frozen=True)
class Grid:
    """An axis-aligned grid in RAS mm: its first voxel and its step."""

    origin: Points
    shape: tuple[int, int, int]
    step: float = _STEP_MM


@dataclass(frozen=True, kw_only=True)
class Registration:
    """A map of points of the baseline to points of the follow-up, both in RAS mm.

    Args:
        matrix: 4x4.
        kind: "rigid", "deformable" or "given".
        dice: of the two livers when they lie on each other; None where it was not looked at.
        grid, bend: displacements in mm [x, y, z, 3] at the voxels of a grid, added before the matrix; None for none.
    """

    matrix: npt.NDArray[np.float64]
    kind: str
    dice: float | None = None
    grid: Grid | None = None
    bend: npt.NDArray[np.float64] | None = None

    def to_followup(self, points: Points) -> Points:
        """Where points of the baseline lie in the follow-up."""
        return _moved(self.matrix, points + self._bend_at(points))

    def to_baseline(self, points: Points) -> Points:
        """Where points of the follow-up lie in the baseline."""
        straight = _moved(np.linalg.inv(self.matrix), points)
        found = straight
        for _ in range(0 if self.bend is None else 15):
            found = straight - self._bend_at(found)
        return found

    def _bend_at(self, points: Points) -> Points:
        if self.bend is None or self.grid is None:
            return np.zeros_like(points)
        from scipy import ndimage

        at = ((points - self.grid.origin) / self.grid.step).T
        parts = [ndimage.map_coordinates(self.bend[..., axis], at, order=1, mode="nearest") for axis in range(3)]
        return np.stack(parts, axis=-1)


def register(baseline: TimePoint, followup: TimePoint, *, deformable: bool = False) -> Registration:
    """Register the livers of two scans; seconds on one core.

    Args:
        baseline, followup: the scans.
        deformable: bend the liver, too, after it was moved.

    Raises:
        InputError: a scan has no liver, or SimpleITK is missing.
    """
    sitk = _simpleitk()
    first, second = baseline.organ(), followup.organ()
    fixed, grid = _distances(first, baseline.affine)
    moving, moving_grid = _distances(second, followup.affine)
    fixed_image, moving_image = _image(sitk, fixed, grid), _image(sitk, moving, moving_grid)
    centers = [_center(mask, one.affine) for mask, one in ((first, baseline), (second, followup))]
    rigid = _rigid(sitk, fixed_image, moving_image, *centers)
    found = Registration(matrix=_matrix_of(rigid), kind="rigid")
    if deformable:
        bend = _bent(sitk, fixed_image, moving_image, rigid)
        found = Registration(matrix=found.matrix, kind="deformable", grid=grid, bend=bend)
    dice = overlap(found, first, baseline.affine, second, followup.affine)
    return Registration(matrix=found.matrix, kind=found.kind, dice=dice, grid=found.grid, bend=found.bend)


def overlap(
    found: Registration,
    first: npt.NDArray[np.bool_],
    first_affine: npt.NDArray[np.float64],
    second: npt.NDArray[np.bool_],
    second_affine: npt.NDArray[np.float64],
) -> float:
    """Dice of two masks when the second lies on the first, on a grid of 4 mm."""
    grid = _grid_of(first, first_affine)
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1).reshape(-1, 3)
    points = grid.origin + grid.step * index
    one = _at(first, first_affine, points)
    other = _at(second, second_affine, found.to_followup(points))
    volumes = (
        mask.sum() * abs(np.linalg.det(at[:3, :3])) for mask, at in ((first, first_affine), (second, second_affine))
    )
    return min(1.0, float(2 * (one & other).sum() * grid.step**3 / sum(volumes)))


def _at(mask: npt.NDArray[np.bool_], affine: npt.NDArray[np.float64], points: Points) -> npt.NDArray[np.bool_]:
    """The mask at points, by the nearest voxel; outside is False."""
    index = np.round(_moved(np.linalg.inv(affine), points)).astype(np.int64)
    inside = ((index >= 0) & (index < mask.shape)).all(axis=-1)
    found = np.zeros(len(points), bool)
    found[inside] = mask[tuple(index[inside].T)]
    return found


def _moved(matrix: npt.NDArray[Any], points: npt.NDArray[Any]) -> Points:
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def _center(mask: npt.NDArray[np.bool_], affine: npt.NDArray[np.float64]) -> Points:
    return _moved(affine, np.argwhere(mask)).mean(axis=0)


def _grid_of(mask: npt.NDArray[np.bool_], affine: npt.NDArray[np.float64]) -> Grid:
    """A grid around a mask."""
    voxels = np.argwhere(mask)
    low, high = voxels.min(axis=0), voxels.max(axis=0)
    corners = np.stack(np.meshgrid(*zip(low, high, strict=True), indexing="ij"), axis=-1).reshape(-1, 3)
    places = _moved(affine, corners)
    origin = places.min(axis=0) - _MARGIN_MM
    i, j, k = (int(n) for n in np.ceil((places.max(axis=0) + _MARGIN_MM - origin) / _STEP_MM) + 1)
    return Grid(origin, (i, j, k))


def _distances(mask: npt.NDArray[np.bool_], affine: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float32], Grid]:
    """Signed distance to the surface in mm, negative inside, on a grid around the mask."""
    from scipy import ndimage

    grid = _grid_of(mask, affine)
    back = np.linalg.inv(affine)
    step, start = back[:3, :3] * grid.step, _moved(back, grid.origin)
    # Thin voxels of a fine image are averaged first, or every fourth would decide.
    blur = np.maximum(0, grid.step / np.linalg.norm(affine[:3, :3], axis=0) / 2 - 0.5)
    soft = ndimage.gaussian_filter(mask.astype(np.float32), blur)
    inside = ndimage.affine_transform(soft, step, start, output_shape=grid.shape, order=1) >= 0.5
    apart = ndimage.distance_transform_edt(~inside) - ndimage.distance_transform_edt(inside)
    return np.clip(apart * grid.step, -_FAR_MM, _FAR_MM).astype(np.float32), grid


def _image(sitk: Any, values: npt.NDArray[np.float32], grid: Grid) -> Any:
    """For SimpleITK, whose coordinates are taken as RAS: both images are, so it makes no difference."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(values.transpose(2, 1, 0)))
    image.SetOrigin(grid.origin.tolist())
    image.SetSpacing([grid.step] * 3)
    return image


def _method(sitk: Any) -> Any:
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetMetricAsMeanSquares()
    method.SetMetricSamplingStrategy(method.NONE)
    method.SetInterpolator(sitk.sitkLinear)
    return method


def _rigid(sitk: Any, fixed: Any, moving: Any, first: Points, second: Points) -> Any:
    start = sitk.Euler3DTransform()
    start.SetCenter(first.tolist())
    start.SetTranslation((second - first).tolist())
    method = _method(sitk)
    method.SetOptimizerAsRegularStepGradientDescent(2.0, 1e-3, 200, relaxationFactor=0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([2, 1])
    method.SetSmoothingSigmasPerLevel([1, 0])
    method.SetInitialTransform(start, inPlace=True)
    method.Execute(fixed, moving)
    return start


def _bent(sitk: Any, fixed: Any, moving: Any, rigid: Any) -> npt.NDArray[np.float64]:
    """Displacements [x, y, z, 3] at the fixed image's voxels, before the rigid motion."""
    sides = np.array(fixed.GetSize()) * _STEP_MM
    bend = sitk.BSplineTransformInitializer(fixed, [max(2, round(float(side) / _MESH_MM)) for side in sides])
    method = _method(sitk)
    method.SetShrinkFactorsPerLevel([2])  # a mesh of 70 mm needs no more, and every step costs an eighth
    method.SetSmoothingSigmasPerLevel([1])
    method.SetMovingInitialTransform(rigid)
    method.SetInitialTransform(bend, inPlace=True)
    method.SetOptimizerAsLBFGSB(numberOfIterations=_BENDS, maximumNumberOfFunctionEvaluations=_BENDS + 4)
    method.Execute(fixed, moving)
    size, origin, spacing = fixed.GetSize(), fixed.GetOrigin(), fixed.GetSpacing()
    field = sitk.TransformToDisplacementField(bend, sitk.sitkVectorFloat64, size, origin, spacing)
    return sitk.GetArrayFromImage(field).transpose(2, 1, 0, 3)


def _matrix_of(transform: Any) -> npt.NDArray[np.float64]:
    turn = np.array(transform.GetMatrix()).reshape(3, 3)
    center, shift = np.array(transform.GetCenter()), np.array(transform.GetTranslation())
    matrix = np.eye(4)
    matrix[:3, :3] = turn
    matrix[:3, 3] = center + shift - turn @ center
    return matrix


def _simpleitk() -> Any:
    try:
        import SimpleITK
    except ModuleNotFoundError as error:
        raise InputError(
            f"Scans can only be registered with SimpleITK ({error}); install it, or give the transform."
        ) from error
    return SimpleITK
