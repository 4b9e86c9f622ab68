"""The bridge to 3D Slicer: volume node -> `Volume`, `Result` -> segmentation node and table node.

The only file of this library that imports slicer and vtk. It runs in Slicer's main thread and never waits for
anything.

Places in space: a node's voxels lie in the node's own coordinates, and parent transforms take those to the
world. We segment in the node's own coordinates and put the segmentation under the volume's parent transform,
so that it overlays the volume under every transform, non-linear ones included.

The user's work: what we wrote carries a fingerprint of its voxels as a tag of the segment. A segment of ours
whose voxels have another one was edited, and is replaced only where that was asked for.

Copies: a volume goes out as a view on the node's voxels (a further image of another grid as one copy on the grid
of the first) and a result comes in as one copy of the box that holds its segments. Whoever lets the view leave
Slicer's main thread or process copies it (the worker client writes it to a file).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import slicer
import slicer.util
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from LiverSegLib.boxes import Box, bounding_box, whole_of
from LiverSegLib.engine.region import touched_voxels
from LiverSegLib.errors import InputError, OutputError
from LiverSegLib.io.grids import on_grid_of
from LiverSegLib.labels import Label, display_name, label_for, labels_for
from LiverSegLib.measure import Lesion, Measurements, SegmentMeasurement
from LiverSegLib.request import VoxelBox
from LiverSegLib.volume import Result, Volume

_ONE_VOXEL: Box = (slice(0, 1), slice(0, 1), slice(0, 1))  # of what is empty
_BINARY_LABELMAP = "Binary labelmap"
_CLOSED_SURFACE = "Closed surface"
_PREFIX = "LiverSeg_"
_FINGERPRINT = "LiverSeg.Voxels"
_MEASURED = "LiverSeg.Volume"
_FIRST_TITLES = ("Structure", "Volume [mL]")
_RIGID_TOLERANCE = 1e-4
_SAME_VOXEL = 1e-2
# In voxels, at the corners of two grids: less is rounding of headers, more is worth an interpolation.
_SAME_GRID = 0.05
# Points per axis at which it is looked whether one image covers another.
_COVERAGE_SAMPLES = 16
_ALL_COVERED = 0.99
# Points per side of a ROI: under a non-linear transform its extremes need not be its corners.
_ROI_SAMPLES = np.linspace(-0.5, 0.5, 9)
_VECTORS = "is a color or vector volume; segment a scalar volume such as the original CT."
_NOT_SCALAR = {
    "vtkMRMLLabelMapVolumeNode": "is a label map; choose the image that it was drawn on.",
    "vtkMRMLVectorVolumeNode": _VECTORS,
    "vtkMRMLTensorVolumeNode": "is a tensor volume; segment a scalar volume such as the original CT.",
    "vtkMRMLDiffusionWeightedVolumeNode": "is a diffusion series; extract one scalar volume of it first.",
    "vtkMRMLMultiVolumeNode": "is a time series; extract one of its volumes first.",
    "vtkMRMLSequenceNode": "is a time series; choose the volume that its sequence browser shows.",
}


@dataclass(frozen=True, kw_only=True)
class SegmentsWritten:
    """What `write_segments` did.

    Args:
        node: the segmentation node.
        missing: names of labels without a single voxel; they have no segment.
        kept: names of segments that the user edited in the node that was asked for; because of them `node` is
            a new one.
    """

    node: Any
    missing: tuple[str, ...]
    kept: tuple[str, ...] = ()


def read_volume_node(node: Any) -> Volume:
    """A scalar volume node as a `Volume`: a view on its voxels and its own affine.

    Args:
        node: vtkMRMLScalarVolumeNode.

    Raises:
        InputError: no volume, not one scalar 3D image, or no voxels.
    """
    if node is None:
        raise InputError("There is no volume; choose one.")
    name = node.GetName() or "The volume"
    for class_name, reason in _NOT_SCALAR.items():
        if node.IsA(class_name):
            raise InputError(f"{name} {reason}")
    if not node.IsA("vtkMRMLScalarVolumeNode"):
        raise InputError(f"{name} is not a volume; choose a scalar volume such as a CT.")
    image = node.GetImageData()
    size = image.GetDimensions() if image is not None else (0, 0, 0)
    if min(size) == 0 or image.GetPointData().GetScalars() is None:
        raise InputError(f"{name} holds no voxels; load it again or choose another volume.")
    if image.GetNumberOfScalarComponents() != 1:
        raise InputError(f"{name} {_VECTORS}")
    array = slicer.util.arrayFromVolume(node).transpose(2, 1, 0)
    return Volume(array, ijk_to_ras(node), name, guess_modality(node))


def read_images(node: Any, further: Sequence[Any] = ()) -> Volume:
    """A scalar volume node as a `Volume` whose further channels are other nodes, all on the grid of the first.

    A further image of the same grid in space, whatever its order of axes, is a view on its voxels. Any other one is
    interpolated linearly onto the grid of the first, through the parent transforms of both, which a note tells.

    Args:
        node: vtkMRMLScalarVolumeNode.
        further: the others, in the order of the model's channels.

    Raises:
        InputError: as of `read_volume_node`; or a further image does not reach into the first.
    """
    volume = read_volume_node(node)
    placed = [_placed_on(volume, node, other) for other in further]
    notes = tuple(note for _array, note in placed if note)
    return replace(volume, further=tuple(array for array, _note in placed), notes=notes)


def _placed_on(volume: Volume, node: Any, other: Any) -> tuple[npt.NDArray[Any], str]:
    """Another volume node's voxels on the grid of `volume`, which is that of `node`, and what to tell of it."""
    image, between, linear = read_volume_node(other), _transform_between(node, other), vtk.vtkTransform()
    to_image = np.linalg.inv(image.affine)
    if slicer.vtkMRMLTransformNode.IsGeneralTransformLinear(between, linear):
        matrix = to_image @ np.array(slicer.util.arrayFromVTKMatrix(linear.GetMatrix())) @ volume.affine
        turned = _turned_onto(volume, image, matrix)
        if turned is not None:
            return turned, ""
        between = vtk.vtkTransform()
        between.SetMatrix(slicer.util.vtkMatrixFromArray(matrix))
    else:
        steps, between = (volume.affine, between, to_image), vtk.vtkGeneralTransform()
        between.PostMultiply()
        for step in steps:
            between.Concatenate(slicer.util.vtkMatrixFromArray(step) if isinstance(step, np.ndarray) else step)
    covered = _covered(volume.array.shape, image.array.shape, between)
    if covered == 0:
        raise InputError(
            f"{image.name} lies elsewhere in space than {volume.name}; choose an image of the same place, or bring it "
            "there by a transform."
        )
    note = f"{image.name} was resampled onto the grid of {volume.name}"
    note += f", of which it covers {100 * covered:.0f} %." if covered < _ALL_COVERED else "."
    return _resliced(other.GetImageData(), between, volume.array.shape), note


def _turned_onto(volume: Volume, image: Volume, matrix: npt.NDArray[np.float64]) -> npt.NDArray[Any] | None:
    """The voxels of an image in the axis order of a volume, where both are one grid; else None.

    The matrix takes voxels of the volume to those of the image.
    """
    corners = np.array([[*corner, 1] for corner in product(*((0, n - 1) for n in volume.array.shape))])
    theirs = np.array(list(product(*((0, n - 1) for n in image.array.shape))))
    apart = np.abs((corners @ matrix.T)[:, None, :3] - theirs).max(axis=-1)
    if apart.min(axis=1).max() > _SAME_GRID:
        return None
    try:
        return on_grid_of(volume, replace(image, affine=volume.affine @ np.linalg.inv(matrix)))
    except InputError:  # flat: the corners alone do not tell the order of axes
        return None


def _covered(shape: tuple[int, ...], other: tuple[int, ...], transform: Any) -> float:
    """How much of a grid of `shape` another of `other` voxels covers, from 0 to 1; a transform leads from one to it."""
    sides = [np.linspace(0, n - 1, min(n, _COVERAGE_SAMPLES)) for n in shape]
    points = np.array([transform.TransformPoint(*point) for point in product(*sides)])
    return float(((points >= -0.5) & (points <= np.array(other) - 0.5)).all(axis=1).mean())


def _resliced(image: Any, transform: Any, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """The voxels of vtkImageData on a grid [i, j, k] of `shape`; outside of it there is its lowest value.

    The transform takes voxels of the grid to those of the image. The voxels keep their type.
    """
    voxels = vtk.vtkImageData()
    voxels.ShallowCopy(image)
    voxels.SetOrigin(0, 0, 0)
    voxels.SetSpacing(1, 1, 1)
    reslice = vtk.vtkImageReslice()
    reslice.SetInputData(voxels)
    reslice.SetResliceTransform(transform)
    reslice.SetInterpolationModeToLinear()
    reslice.SetBackgroundLevel(image.GetScalarRange()[0])
    reslice.SetOutputOrigin(0, 0, 0)
    reslice.SetOutputSpacing(1, 1, 1)
    reslice.SetOutputExtent([end for n in shape for end in (0, n - 1)])
    reslice.Update()
    found = vtk_to_numpy(reslice.GetOutput().GetPointData().GetScalars())
    return found.reshape(shape[::-1]).transpose(2, 1, 0)


def ijk_to_ras(node: Any) -> npt.NDArray[np.float64]:
    """4x4, voxel index -> the volume node's own RAS mm; parent transforms are not in it."""
    return _matrix(node.GetIJKToRASMatrix)


def _matrix(fill: Callable[[Any], object]) -> npt.NDArray[np.float64]:
    """The 4x4 matrix that a method of Slicer writes into its argument."""
    matrix = vtk.vtkMatrix4x4()
    fill(matrix)
    return np.array(slicer.util.arrayFromVTKMatrix(matrix), dtype=np.float64)


def guess_modality(node: Any) -> str | None:
    """Say "CT" or "MR" where the node came from DICOM or carries Hounsfield units, else None."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    item = hierarchy.GetItemByDataNode(node) if hierarchy is not None else 0
    if item:
        key = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMSeriesModalityAttributeName()
        modality = hierarchy.GetItemAttribute(item, key)
        if modality in ("CT", "MR"):
            return str(modality)
    units = node.GetVoxelValueUnits()
    return "CT" if units is not None and units.GetCodeValue() == "[hnsf'U]" else None


def transform_warnings(node: Any) -> list[str]:
    """What to tell of a parent transform that changes shapes: nothing of ours is measured through it."""
    name, parent = node.GetName(), node.GetParentTransformNode()
    if parent is None:
        return []
    before = "volumes in mL and diameters are those before the transform."
    if not parent.IsTransformToWorldLinear():
        return [f"{name} is under the non-linear transform {parent.GetName()}; {before}"]
    axes = _matrix(parent.GetMatrixTransformToWorld)[:3, :3]
    if np.abs(axes.T @ axes - np.eye(3)).max() > _RIGID_TOLERANCE:
        return [f"{name} is under the transform {parent.GetName()}, which scales or shears it; {before}"]
    return []


def roi_box(roi: Any, volume_node: Any) -> VoxelBox:
    """The voxels of a volume that a region of interest touches, as half-open ranges along i, j and k.

    Args:
        roi: vtkMRMLMarkupsROINode, rotated or not, under any parent transforms.
        volume_node: the volume, under any parent transforms.

    Raises:
        InputError: the region has no size, or lies outside the volume.
    """
    name = roi.GetName() or "The region of interest"
    size = np.array(roi.GetSize())
    if roi.GetNumberOfDefinedControlPoints() == 0 or size.min() <= 0:
        raise InputError(f"{name} has no size; place it in the views, fit it to the volume, or choose no ROI.")
    place = np.array(slicer.util.arrayFromVTKMatrix(roi.GetObjectToNodeMatrix()))
    between = _transform_between(roi, volume_node)
    steps = np.array(list(product(_ROI_SAMPLES, repeat=3))) * size
    points = np.array([between.TransformPoint(point) for point in steps @ place[:3, :3].T + place[:3, 3]])
    shape = volume_node.GetImageData().GetDimensions()
    ranges = zip(touched_voxels(points, ijk_to_ras(volume_node)), shape, strict=True)
    i, j, k = ((max(0, start), min(stop, n)) for (start, stop), n in ranges)
    if min(stop - start for start, stop in (i, j, k)) < 2:
        raise InputError(f"{name} lies outside {volume_node.GetName()}; move it onto the volume.")
    return i, j, k


def fit_roi(roi: Any, volume_node: Any) -> None:
    """Make a region of interest enclose all voxels of a volume, along the volume's axes and under its transform.

    Args:
        roi: vtkMRMLMarkupsROINode.
        volume_node: a volume with voxels.
    """
    affine = ijk_to_ras(volume_node)
    shape = np.array(volume_node.GetImageData().GetDimensions())
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    place = np.eye(4)
    place[:3, :3] = affine[:3, :3] / spacing
    size = shape * spacing
    if np.abs(place[:3, :3].T @ place[:3, :3] - np.eye(3)).max() > _RIGID_TOLERANCE:
        # A box cannot follow sheared axes; one along the node's axes holds them.
        corners = np.array(list(product(*((-0.5, n - 0.5) for n in shape)))) @ affine[:3, :3].T
        place, size = np.eye(4), np.ptp(corners, axis=0)
    elif np.linalg.det(place[:3, :3]) < 0:
        place[:3, 0] *= -1  # a box has no handedness, its matrix must be a rotation
    place[:3, 3] = (affine @ [*((shape - 1) / 2), 1.0])[:3]
    with slicer.util.NodeModify(roi):
        roi.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
        roi.SetCenter(place[:3, 3])
        roi.SetAndObserveObjectToNodeMatrix(slicer.util.vtkMatrixFromArray(place))
        roi.SetSize(size)


def write_segments(
    result: Result,
    volume_node: Any,
    segmentation_node: Any = None,
    show_3d: bool = False,
    give_up: Collection[str] = (),
) -> SegmentsWritten:
    """Put a result's labels into a segmentation node as segments.

    Segments with our IDs (`Label.segment_id`) are replaced in place and keep the name, color and terms that
    the user may have given them; all other segments are left as they are. Where the user edited one of ours,
    nothing is replaced and the result goes into a new node beside it. Our segment of a label that was not found
    is removed rather than left empty. A liver that was segmented with its lesions has a hole where a lesion
    lies, as in the label map.

    Args:
        result: what the segmenter gave for `volume_node`.
        volume_node: the segmented volume; decides on place, transform and subject hierarchy.
        segmentation_node: where to; None makes a new one.
        show_3d: make and show closed surfaces; those that are there are made anew in any case.
        give_up: what `edited_segments` gave for the edits that may be replaced.

    Raises:
        OutputError: the segmentation cannot take a label map.
    """
    kept = _kept(segmentation_node, result.labels, give_up) if segmentation_node is not None else ()
    is_new = segmentation_node is None or bool(kept)
    node = _new_segmentation(volume_node) if is_new else segmentation_node
    try:
        with slicer.util.NodeModify(node):
            had_surface = has_surfaces(node)
            affine = _same_place(node, volume_node) @ ijk_to_ras(volume_node)
            _remember_source(node, volume_node)
            found = _import(node, _image(result.labelmap, affine), result.labels)
        _place_beside(node, volume_node, is_new)
    except OutputError:
        if is_new:
            slicer.mrmlScene.RemoveNode(node)
        raise
    if had_surface or show_3d:
        show_surfaces(node)
    missing = tuple(label.name for label in result.labels if label not in found)
    return SegmentsWritten(node=node, missing=missing, kept=kept)


def edited_segments(node: Any) -> dict[str, str]:
    """Our segments in a node that are not, or may not be, as we wrote them.

    Returns:
        The ID of each and a fingerprint of what it holds now, to be given up to `write_segments`.
    """
    found = {}
    for segment_id in node.GetSegmentation().GetSegmentIDs():
        if segment_id.startswith(_PREFIX):
            now, written = _fingerprint(node, segment_id), vtk.reference("")
            segment = node.GetSegmentation().GetSegment(segment_id)
            if not segment.GetTag(_FINGERPRINT, written) or str(written) != now:
                found[segment_id] = now
    return found


def source_of(node: Any) -> Any:
    """The volume that a segmentation belongs to, or None."""
    return node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole())


def save_state(node: Any) -> Any:
    """Remember all segments of a node as they are, in Slicer's own history; see `restore_state`."""
    history = slicer.vtkSegmentationHistory()
    history.SetMaximumNumberOfStates(2)  # one to go back to, and the one that is left for it
    history.SetSegmentation(node.GetSegmentation())
    history.SaveState()
    return history


def restore_state(history: Any, node: Any) -> bool:
    """Bring all segments back to what `save_state` remembered; False if nothing has changed since."""
    had_surface = has_surfaces(node)
    with slicer.util.NodeModify(node):
        done = bool(history.IsRestorePreviousStateAvailable() and history.RestorePreviousState())
    if done and had_surface:
        show_surfaces(node)
    return done


def has_surfaces(node: Any) -> bool:
    """Whether a segmentation node has closed surfaces."""
    return bool(node.GetSegmentation().ContainsRepresentation(_CLOSED_SURFACE))


def show_surfaces(node: Any) -> None:
    """Make the closed surfaces of a segmentation node and show them in the 3D views."""
    node.CreateClosedSurfaceRepresentation()
    if node.GetDisplayNode() is not None:
        node.GetDisplayNode().SetVisibility3D(True)


def write_table(
    measurements: Measurements,
    table_node: Any = None,
    name: str = "Liver measurements",
    volume_node: Any = None,
    labels: Sequence[Label] = (),
) -> Any:
    """Put measurements into a table node: the rows of `measurement_rows`.

    A column in which a row has no number is text, which can be empty.

    Args:
        measurements: volumes in mL, gray values, longest diameters in mm, lesion centers in RAS mm.
        table_node: vtkMRMLTableNode whose contents are replaced; None makes one.
        name: of the new node.
        volume_node: what was measured; the table refers to it, see `measured_volume`.
        labels: of the measured label map, which tell what each is called.
    """
    rows = measurement_rows(measurements, labels)
    scene = slicer.mrmlScene
    node = table_node or scene.AddNewNodeByClass("vtkMRMLTableNode", scene.GenerateUniqueName(name))
    with slicer.util.NodeModify(node):
        node.RemoveAllColumns()
        for title in rows[0] if rows else _FIRST_TITLES:
            values = [row[title] for row in rows] or [""]
            is_text = any(value is None or isinstance(value, str) for value in values)
            array = vtk.vtkStringArray() if is_text else vtk.vtkDoubleArray()
            array.SetName(title)
            for value in values:
                array.InsertNextValue(_text(value) if is_text else value)
            node.AddColumn(array)
        if volume_node is not None:
            node.SetNodeReferenceID(_MEASURED, volume_node.GetID())
    return node


def _text(value: str | float | None) -> str:
    return "" if value is None else value if isinstance(value, str) else f"{value:.1f}"


def measured_volume(table_node: Any) -> Any:
    """The volume whose measurements a table holds, or None."""
    return table_node.GetNodeReference(_MEASURED)


def measurement_rows(measurements: Measurements, labels: Sequence[Label] = ()) -> list[dict[str, Any]]:
    """A row for each segment, each organ of which only the pieces are segments, and each lesion, largest first.

    Returns:
        Of each row column title -> name, number, or None. The columns of gray values are there where the image was
        measured, that of shares where there are pieces of an organ, those of diameter and center where there are
        lesions.
    """
    shown = {label.name: label.display_name for label in labels}
    wholes = (*measurements.segments, *measurements.organs)
    parts: list[tuple[SegmentMeasurement | Lesion, str]] = [(whole, "") for whole in wholes]
    parts += [(lesion, f" {number}") for number, lesion in measurements.numbered_lesions()]
    unit = f" [{measurements.intensity_unit}]" if measurements.intensity_unit else ""
    has_gray = any(part.mean_intensity is not None for part, _number in parts)
    rows = []
    for part, number in parts:
        name = shown.get(part.name) or display_name(part.name)
        row: dict[str, Any] = dict(zip(_FIRST_TITLES, (name + number, part.volume_ml), strict=True))
        if has_gray:
            row |= {f"Mean{unit}": part.mean_intensity, f"Standard deviation{unit}": part.std_intensity}
        if measurements.shared_organ is not None:
            share = part.organ_percent if isinstance(part, SegmentMeasurement) else None
            row[f"Share of {measurements.shared_organ} [%]"] = share
        if measurements.lesions:
            titles = ["Longest diameter [mm]", *(f"Center {letter} [mm]" for letter in "RAS")]
            values = [part.longest_diameter_mm, *part.center_ras] if isinstance(part, Lesion) else [None] * 4
            row |= dict(zip(titles, values, strict=True))
        rows.append(row)
    return rows


def table_rows(table_node: Any) -> list[dict[str, Any]]:
    """The rows of a table that `write_table` made: column title -> text or number; none for any other table."""
    table = table_node.GetTable()
    titles = [table.GetColumnName(number) for number in range(table.GetNumberOfColumns())]
    if tuple(titles[:2]) != _FIRST_TITLES:
        return []
    rows = range(table.GetNumberOfRows())
    return [{title: _value(table.GetValue(row, column)) for column, title in enumerate(titles)} for row in rows]


def _value(cell: Any) -> str | float:
    return float(cell.ToDouble()) if cell.IsNumeric() else str(cell.ToString())


def export_segments(node: Any, parent: Path, kind: str) -> Path:
    """Write the segments of a node to files by Slicer's own exporter, into a new folder: nothing is replaced.

    Args:
        node: vtkMRMLSegmentationNode.
        parent: where the new folder is made.
        kind: "STL" for a surface file of each segment, "NRRD" or "NIfTI" for one label map on the volume's grid.

    Returns:
        The new folder.

    Raises:
        OutputError: the folder cannot be made, or Slicer could not write into it.
    """
    ids = vtk.vtkStringArray()
    node.GetSegmentation().GetSegmentIDs(ids)
    folder = new_folder(parent, f"{node.GetName()} {kind}")
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    if kind == "STL":
        had_surface = has_surfaces(node)
        done = logic.ExportSegmentsClosedSurfaceRepresentationToFiles(str(folder), node, ids, "STL", True, 1.0, False)
        if not had_surface:
            node.RemoveClosedSurfaceRepresentation()
    else:
        extension, grid = {"NRRD": "nrrd", "NIfTI": "nii.gz"}[kind], source_of(node)
        done = logic.ExportSegmentsBinaryLabelmapRepresentationToFiles(str(folder), node, ids, extension, True, grid)
    if not done or not any(folder.iterdir()):
        raise OutputError(f"Slicer could not export {node.GetName()} to {folder}; choose another folder.")
    return folder


def drawn_on_volume(node: Any) -> tuple[Volume, dict[str, npt.NDArray[np.bool_]]]:
    """The volume of a segmentation and what each segment covers of its voxels [i, j, k], by the names of labels.

    A voxel belongs to a segment where its center does, whatever grid the segment lies on and whatever linear
    transforms are between the two.

    Args:
        node: vtkMRMLSegmentationNode.

    Raises:
        InputError: the segmentation has no volume, or that has no voxels.
        OutputError: segments are surfaces, or a non-linear transform lies between the two.
    """
    volume, to_segment = _volume_under(node)
    masks: dict[str, npt.NDArray[np.bool_]] = {}
    for segment_id in node.GetSegmentation().GetSegmentIDs():
        mask = masks.setdefault(_label_name(node, segment_id), np.zeros(volume.array.shape, bool, order="F"))
        box, part = _part_on(node, segment_id, to_segment, volume.array.shape)
        mask[box] |= part
    return volume, masks


def labels_on_volume(node: Any, more: Sequence[str] = ()) -> tuple[Volume, npt.NDArray[np.uint8], tuple[Label, ...]]:
    """The volume of a segmentation and all that is drawn as one label map [i, j, k] on its voxels.

    Where segments overlap, lesions lie on top of pieces, and these on top of organs, as in our label maps.

    Args:
        node: vtkMRMLSegmentationNode.
        more: names of labels that were looked for, too, and may have no segment.

    Raises:
        InputError: as `drawn_on_volume`; or nothing is drawn, or there are more segments than a label map has values.
        OutputError: as `drawn_on_volume`.
    """
    volume, to_segment = _volume_under(node)
    ids = {segment_id: _label_name(node, segment_id) for segment_id in node.GetSegmentation().GetSegmentIDs()}
    names = list(dict.fromkeys([*ids.values(), *more]))
    if len(names) > np.iinfo(np.uint8).max:
        raise InputError(f"{node.GetName()} has {len(names)} segments; keep at most 255 of them.")
    labels = labels_for(dict(enumerate(names, start=1)))
    rank = {label.name: (label.is_lesion, label.is_piece, label.part_of is None) for label in labels}
    values = {label.name: label.value for label in labels}
    labelmap = np.zeros(volume.array.shape, np.uint8, order="F")
    for segment_id in sorted(ids, key=lambda segment_id: rank[ids[segment_id]]):
        box, part = _part_on(node, segment_id, to_segment, volume.array.shape)
        labelmap[box][part] = values[ids[segment_id]]
    if not labelmap.any():
        raise InputError(f"Nothing is drawn in {node.GetName()} where its volume {volume.name} is; segment it first.")
    return volume, labelmap, labels


def drawn_by_others(node: Any) -> tuple[str, ...]:
    """Names of the labels of a segmentation whose voxels are not those that we wrote: edited, or from elsewhere."""
    edited, ids = edited_segments(node), node.GetSegmentation().GetSegmentIDs()
    theirs = [segment_id for segment_id in ids if segment_id in edited or not segment_id.startswith(_PREFIX)]
    return tuple(dict.fromkeys(_label_name(node, segment_id) for segment_id in theirs))


def _volume_under(node: Any) -> tuple[Volume, npt.NDArray[np.float64]]:
    """The volume that a segmentation was drawn on, and the 4x4 from its voxels to the segmentation's own mm."""
    source = source_of(node)
    if source is None:
        raise InputError(f"{node.GetName()} belongs to no volume; choose its source volume in the Segment Editor.")
    volume, segmentation = read_volume_node(source), node.GetSegmentation()
    if segmentation.GetSourceRepresentationName() != _BINARY_LABELMAP:
        raise OutputError(f"{node.GetName()} is made of surfaces; convert it to binary label maps in Segmentations.")
    between, linear = _transform_between(source, node), vtk.vtkTransform()
    if not slicer.vtkMRMLTransformNode.IsGeneralTransformLinear(between, linear):
        raise OutputError(f"{node.GetName()} and its volume are under different non-linear transforms; harden them.")
    return volume, np.array(slicer.util.arrayFromVTKMatrix(linear.GetMatrix())) @ volume.affine


def _label_name(node: Any, segment_id: str) -> str:
    """The name of the label that a segment is: its ID tells it for ours, its name for those of others."""
    is_ours = segment_id.startswith(_PREFIX)
    name = segment_id.removeprefix(_PREFIX) if is_ours else node.GetSegmentation().GetSegment(segment_id).GetName()
    return label_for(1, name).name or segment_id.lower()


def _part_on(
    node: Any, segment_id: str, to_segment: npt.NDArray[np.float64], shape: tuple[int, ...]
) -> tuple[Box, npt.NDArray[np.bool_]]:
    """A segment on a grid [i, j, k] of `shape`, by nearest voxel: a box of the grid, and the mask of that box.

    The matrix takes indices of the grid to the segment's mm.
    """
    image = node.GetBinaryLabelmapInternalRepresentation(segment_id)
    scalars = image.GetPointData().GetScalars() if image is not None else None
    if scalars is None:
        return _ONE_VOXEL, np.zeros((1, 1, 1), bool)
    value = node.GetSegmentation().GetSegment(segment_id).GetLabelValue()
    stored = vtk_to_numpy(scalars).reshape(image.GetDimensions()[::-1]).transpose(2, 1, 0) == value
    first = np.array(image.GetExtent()[::2])
    matrix = np.linalg.inv(_matrix(image.GetImageToWorldMatrix)) @ to_segment
    matrix[:3, 3] -= first
    shift = np.round(matrix[:3, 3]).astype(int)
    apart = np.abs(matrix[:3, :3] - np.eye(3)) @ shape + np.abs(matrix[:3, 3] - shift)
    if apart.max() < _SAME_VOXEL:  # the usual case: both have one grid, and only the stored box is looked at
        starts = [max(0, -step) for step in shift]
        sizes = zip(starts, shift, shape, stored.shape, strict=True)
        stops = [max(start, min(n, m - step)) for start, step, n, m in sizes]
        i, j, k = (slice(start, stop) for start, stop in zip(starts, stops, strict=True))
        theirs = (slice(side.start + step, side.stop + step) for side, step in zip((i, j, k), shift, strict=True))
        return (i, j, k), stored[tuple(theirs)]
    return whole_of(np.broadcast_to(False, shape)), _nearest(stored, matrix, shape)


def _nearest(
    stored: npt.NDArray[np.bool_], matrix: npt.NDArray[np.float64], shape: tuple[int, ...]
) -> npt.NDArray[np.bool_]:
    """A mask on a grid of `shape` whose indices the matrix takes to indices of `stored`; outside there is nothing."""
    mask = np.zeros(shape, bool, order="F")
    i, j = np.ogrid[: shape[0], : shape[1]]
    for k in range(shape[2]):  # a slice at a time: places take three numbers a voxel
        at = [np.floor(row[0] * i + row[1] * j + (row[2] * k + row[3] + 0.5)).astype(np.int32) for row in matrix[:3]]
        inside = np.ones(shape[:2], bool)
        for place, size in zip(at, stored.shape, strict=True):
            inside &= (place >= 0) & (place < size)
        mask[:, :, k][inside] = stored[tuple(place[inside] for place in at)]
    return mask


def safe_name(name: str) -> str:
    """A node's name as every system takes it for a file."""
    return "".join("_" if letter in '\\/:*?"<>|' or ord(letter) < 32 else letter for letter in name).strip(". ")


def new_folder(parent: Path, name: str) -> Path:
    """Make a folder whose name nothing has yet.

    Raises:
        OutputError: it cannot be made.
    """
    safe = safe_name(name)
    try:
        for number in range(1, 10_000):
            folder = parent / (safe if number == 1 else f"{safe} {number}")
            if not folder.exists():
                folder.mkdir()
                return folder
    except OSError as error:
        raise OutputError(f"{parent} cannot be written to ({error.strerror}); choose another folder.") from error
    raise OutputError(f"{parent} is full of exports; choose another folder.")


def show_only_segmentation_of(volume_node: Any) -> None:
    """Hide our segmentations of all other volumes, and show those of this one."""
    for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        source, display = source_of(node), node.GetDisplayNode()
        has_ours = any(segment_id.startswith(_PREFIX) for segment_id in node.GetSegmentation().GetSegmentIDs())
        if source is not None and display is not None and has_ours:
            display.SetVisibility(source is volume_node)


def _new_segmentation(volume_node: Any) -> Any:
    scene = slicer.mrmlScene
    name = scene.GenerateUniqueName(f"{volume_node.GetName()} segmentation")
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    return node


def _same_place(node: Any, volume_node: Any) -> npt.NDArray[np.float64]:
    """Bring the segmentation under the volume's transform; returns 4x4, volume's coordinates -> its own.

    Where a user's segments are in it already, it is the label map that moves and not they.

    Raises:
        OutputError: surfaces are its source, or a non-linear transform lies between the two.
    """
    name, segmentation = node.GetName(), node.GetSegmentation()
    ids = segmentation.GetSegmentIDs()
    if segmentation.GetSourceRepresentationName() != _BINARY_LABELMAP:
        if ids:
            raise OutputError(f"{name} is not made of binary label maps; choose a new segmentation as output.")
        segmentation.SetSourceRepresentationName(_BINARY_LABELMAP)
    is_under_it = volume_node.GetParentTransformNode() is node.GetParentTransformNode()
    if is_under_it or all(segment_id.startswith(_PREFIX) for segment_id in ids):
        node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
        return np.eye(4)
    between, linear = _transform_between(volume_node, node), vtk.vtkTransform()
    if not slicer.vtkMRMLTransformNode.IsGeneralTransformLinear(between, linear):
        raise OutputError(
            f"{name} and {volume_node.GetName()} are under different non-linear transforms; "
            "choose a new segmentation as output."
        )
    return np.array(slicer.util.arrayFromVTKMatrix(linear.GetMatrix()))


def _transform_between(source: Any, target: Any) -> Any:
    """vtkGeneralTransform from the own coordinates of one node to those of another, through the world."""
    transform = vtk.vtkGeneralTransform()
    parents = source.GetParentTransformNode(), target.GetParentTransformNode()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(*parents, transform)
    return transform


def _import(node: Any, image: Any, labels: Sequence[Label]) -> list[Label]:
    """Replace our segments by the labels of an image, in one import; returns the labels that it holds."""
    segmentation = node.GetSegmentation()
    values = set(np.unique(vtk_to_numpy(image.GetPointData().GetScalars())).tolist())
    found = [label for label in labels if label.value in values]
    for label in labels:
        if label not in found and segmentation.GetSegment(label.segment_id) is not None:
            segmentation.RemoveSegment(label.segment_id)
    known = [label for label in found if segmentation.GetSegment(label.segment_id) is not None]
    names = {label.value: label.segment_id for label in found}
    ids = vtk.vtkStringArray()
    for value in range(1, max(names, default=0) + 1):
        ids.InsertNextValue(names.get(value, ""))  # the import passes over an empty ID
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    if found and not logic.ImportLabelmapToSegmentationNode(image, node, ids):
        raise OutputError(f"Slicer could not import into {node.GetName()}; choose a new segmentation as output.")
    for label in found:
        segment = segmentation.GetSegment(label.segment_id)
        if label not in known:
            segment.SetName(label.display_name)
            segment.SetColor(*(channel / 255 for channel in label.color))
            if label.terminology:
                segment.SetTag(segment.GetTerminologyEntryTagName(), label.terminology)
        segment.SetTag(_FINGERPRINT, _fingerprint(node, label.segment_id))
    return found


def _kept(node: Any, labels: Sequence[Label], give_up: Collection[str]) -> tuple[str, ...]:
    """Names of the edited segments in the way of these labels."""
    ids = {label.segment_id for label in labels}
    kept = [i for i, voxels in edited_segments(node).items() if i in ids and voxels not in give_up]
    return tuple(node.GetSegmentation().GetSegment(segment_id).GetName() for segment_id in kept)


def _fingerprint(node: Any, segment_id: str) -> str:
    """The same for the same voxels at the same place, whatever margins and neighbors are stored with them."""
    image = node.GetBinaryLabelmapInternalRepresentation(segment_id)
    scalars = image.GetPointData().GetScalars() if image is not None else None
    if scalars is None:
        return ""
    value = node.GetSegmentation().GetSegment(segment_id).GetLabelValue()
    mask = (vtk_to_numpy(scalars).reshape(image.GetDimensions()[::-1]) == value).transpose(2, 1, 0)
    box = bounding_box(mask) or _ONE_VOXEL
    first = [side.start + start for side, start in zip(box, image.GetExtent()[::2], strict=True)]
    corner = np.round(_matrix(image.GetImageToWorldMatrix) @ [*first, 1.0], 1) + 0.0
    part = mask[box]
    content = np.packbits(part.transpose(2, 1, 0)).tobytes()
    return hashlib.blake2b(content + f"{part.shape} {corner}".encode(), digest_size=16).hexdigest()


def _image(labelmap: npt.NDArray[np.uint8], affine: npt.NDArray[np.float64]) -> Any:
    """The box of a label map [i, j, k] that holds its labels, as vtkOrientedImageData on the whole grid.

    Slicer stores segments cropped in the same way, and the closed surfaces are made faster of less.
    """
    box = bounding_box(labelmap, margin=1) or _ONE_VOXEL
    part = labelmap[box]
    image = slicer.vtkOrientedImageData()
    image.SetExtent([n for side in box for n in (side.start, side.stop - 1)])
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    # VTK owns the voxels: shared numpy memory would have to outlive the segmentation.
    voxels = vtk_to_numpy(image.GetPointData().GetScalars())
    voxels.reshape(part.shape[::-1])[:] = part.transpose(2, 1, 0)
    image.SetGeometryFromImageToWorldMatrix(slicer.util.vtkMatrixFromArray(affine))
    return image


def _remember_source(node: Any, volume_node: Any) -> None:
    """The volume's grid is the one that Slicer's editor goes on with, unless the user has chosen another."""
    role = node.GetReferenceImageGeometryReferenceRole()
    if node.GetNodeReference(role) is None or all(
        i.startswith(_PREFIX) for i in node.GetSegmentation().GetSegmentIDs()
    ):
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)


def _place_beside(node: Any, volume_node: Any, is_new: bool) -> None:
    """The segmentation beside the volume in the subject hierarchy (same study: DICOM export needs it)."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    if hierarchy is None:
        return
    item, volume_item = hierarchy.GetItemByDataNode(node), hierarchy.GetItemByDataNode(volume_node)
    if not item or not volume_item:
        return
    if is_new or hierarchy.GetItemParent(item) == hierarchy.GetSceneItemID():
        hierarchy.SetItemParent(item, hierarchy.GetItemParent(volume_item))
