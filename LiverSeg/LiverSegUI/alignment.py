"""How two volumes of the scene lie to each other through its transforms, as a task for another process."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from LiverSegLib.boxes import bounding_box, whole_of
from LiverSegLib.worker.arrays import ArrayFolder, matrix_of
from LiverSegLib.worker.tasks import Alignment

_STEP_MM = 6.0
_MARGIN_MM = 24.0


def alignmentOf(
    baseline: Any,
    followupTransform: Any,
    drawn: npt.NDArray[np.uint8],
    affine: npt.NDArray[np.float64],
    folder: ArrayFolder,
) -> Alignment:
    """From points of the baseline to points of the follow-up.

    A transform that bends is sampled around what is drawn on the baseline.

    Args:
        baseline: the volume node of the baseline, under any parent transforms.
        followupTransform: the transform node under which the follow-up lies, or would lie, on the baseline; None for
            the world.
        drawn: the label map of the baseline [i, j, k].
        affine: of the baseline, voxel index -> RAS mm of the node itself.
        folder: for the samples.

    Raises:
        OutputError: the disk is full.
    """
    between, linear = vtk.vtkGeneralTransform(), vtk.vtkTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(baseline.GetParentTransformNode(), followupTransform, between)
    if slicer.vtkMRMLTransformNode.IsGeneralTransformLinear(between, linear):
        return Alignment(matrix=matrix_of(np.array(slicer.util.arrayFromVTKMatrix(linear.GetMatrix()))))
    box = bounding_box(drawn) or whole_of(drawn)
    corners = np.array(list(product(*((side.start, side.stop - 1) for side in box)))) @ affine[:3, :3].T + affine[:3, 3]
    origin = corners.min(axis=0) - _MARGIN_MM
    shape = np.ceil((corners.max(axis=0) + _MARGIN_MM - origin) / _STEP_MM).astype(int) + 1
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    moved = _moved(between, (origin + _STEP_MM * index).reshape(-1, 3)).reshape(index.shape)
    x, y, z = (float(value) for value in origin)
    return Alignment(moved=folder.put(moved), origin=(x, y, z), step=_STEP_MM)


def _moved(transform: Any, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Points [n, 3] through a transform of VTK, all in one call."""
    given, found = vtk.vtkPoints(), vtk.vtkPoints()
    for one in (given, found):
        one.SetDataTypeToDouble()
    given.SetData(numpy_to_vtk(np.ascontiguousarray(points), deep=True))
    transform.TransformPoints(given, found)
    return np.array(vtk_to_numpy(found.GetData()))
