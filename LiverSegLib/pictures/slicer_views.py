"""Draws a case with Slicer's own slice and 3D views; the child process of `slicer_process`.

The only file beside the Slicer bridge that imports slicer, vtk and trame_slicer: it hosts Slicer's views.
`python -m LiverSegLib.pictures.slicer_views FOLDER` reads job.json, image.npy and labels.npy (both [k, j, i])
in FOLDER and leaves tiles.npy there: uint8, [4, rows, columns, 3]; axial, coronal, sagittal, front view.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Job = dict[str, Any]
Array = npt.NDArray[Any]

_FILL, _OUTLINE_PIXELS = 0.22, 2
_LIVER_OPACITY = 0.6
# Closed surfaces are made on a grid of about this many mm; finer cannot be seen in a panel.
_SURFACE_MM = 1.2
_SMOOTHING = "0.5"


def main(folder: Path) -> None:
    """Draw the job in `folder`."""
    from trame_slicer.core import SlicerApp

    job: Job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    image = np.load(folder / "image.npy", mmap_mode="r", allow_pickle=False)
    labels = np.load(folder / "labels.npy", allow_pickle=False)
    app = SlicerApp()
    matrix = _matrix(np.array(job["affine"]))
    volume = _add_volume(app, image, matrix, job["window"])
    # Views before segments: what enters a slice view first is drawn first, and the image must lie underneath.
    views = [_slice_view(app, volume, plane, job["tile"]) for plane in job["planes"]]
    views.append(_front_view(app, job["tile"]))
    _add_segmentation(app, job, labels, volume)
    views[-1].fit_view_to_content()
    np.save(folder / "tiles.npy", np.stack([_pixels(view) for view in views]))


def _matrix(affine: Array) -> Any:
    """A 4x4 array as vtkMatrix4x4."""
    from vtkmodules.vtkCommonMath import vtkMatrix4x4

    matrix = vtkMatrix4x4()
    matrix.DeepCopy(affine.ravel().tolist())
    return matrix


def _add_volume(app: Any, image: Array, matrix: Any, window: list[float]) -> Any:
    """A scalar volume node that shows `image` ([k, j, i]) in `window`."""
    import slicer.util

    node = app.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "image")
    slicer.util.updateVolumeFromArray(node, np.asarray(image))
    node.SetIJKToRASMatrix(matrix)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(*window)
    return node


def _add_segmentation(app: Any, job: Job, labels: Array, volume: Any) -> None:
    """Two nodes with the same segments: a full one for the slices, a coarse one for the surface."""
    affine = np.array(job["labels_affine"])
    full = _segmentation_node(app, job["overlays"], labels, affine, volume)
    full.GetDisplayNode().SetVisibility3D(False)
    coarse_labels, coarse_affine = _coarse(labels, affine)
    coarse = _segmentation_node(app, job["overlays"], coarse_labels, coarse_affine, None)
    coarse.GetDisplayNode().SetVisibility2D(False)
    coarse.GetSegmentation().SetConversionParameter("Smoothing factor", _SMOOTHING)
    coarse.CreateClosedSurfaceRepresentation()
    display = coarse.GetDisplayNode()
    display.SetVisibility3D(True)
    for number, overlay in enumerate(job["overlays"]):
        outer = number == 0 and len(job["overlays"]) > 1
        display.SetSegmentOpacity3D(overlay["name"], _LIVER_OPACITY if outer else 1.0)


def _segmentation_node(app: Any, overlays: list[Job], labels: Array, affine: Array, volume: Any) -> Any:
    """A segmentation node with one segment per overlay, one import each since liver and lesions overlap."""
    import slicer.util
    from vtkmodules.vtkCommonCore import vtkStringArray

    node = app.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "segmentation")
    node.CreateDefaultDisplayNodes()
    if volume is not None:
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    labelmap = app.scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    labelmap.SetIJKToRASMatrix(_matrix(affine))
    for overlay in overlays:
        mask = np.isin(labels, overlay["values"])
        if volume is None and overlay is overlays[0] and len(overlays) > 1:
            # One voxel out: a lesion at the liver's surface would break through it in patches.
            mask = ndimage.binary_dilation(mask)
        slicer.util.updateVolumeFromArray(labelmap, mask.astype(np.uint8))
        ids = vtkStringArray()
        ids.InsertNextValue(overlay["name"])
        if not app.segmentations_logic.ImportLabelmapToSegmentationNode(labelmap, node, ids):
            raise RuntimeError(f"segment {overlay['name']} was not imported")
        segment = node.GetSegmentation().GetSegment(overlay["name"])
        segment.SetName(overlay["name"])
        segment.SetColor(*(c / 255 for c in overlay["color"]))
    app.scene.RemoveNode(labelmap)
    _style_slices(node.GetDisplayNode(), overlays)
    return node


def _style_slices(display: Any, overlays: list[Job]) -> None:
    """Translucent fill and a crisp outline on slices."""
    display.SetVisibility2DFill(True)
    display.SetOpacity2DFill(1.0)  # what the segments' own opacities are multiplied by
    display.SetVisibility2DOutline(True)
    display.SetSliceIntersectionThickness(_OUTLINE_PIXELS)
    for overlay in overlays:
        display.SetSegmentOpacity2DFill(overlay["name"], _FILL)
        display.SetSegmentOpacity2DOutline(overlay["name"], 1.0)


def _coarse(labels: Array, affine: Array) -> tuple[Array, Array]:
    """Every n-th voxel of `labels` ([k, j, i]) with its affine; n brings the spacing to `_SURFACE_MM`."""
    i, j, k = (max(1, round(_SURFACE_MM / float(mm))) for mm in np.linalg.norm(affine[:3, :3], axis=0))
    return np.ascontiguousarray(labels[::k, ::j, ::i]), affine @ np.diag([i, j, k, 1])


def _slice_view(app: Any, volume: Any, plane: Job, side: int) -> Any:
    """One slice view, placed in RAS as `plane` says."""
    from trame_slicer.views import SliceView
    from trame_slicer.views.render_scheduler import NoScheduleRendering

    view = SliceView(app.scene, app.app_logic, plane["name"], scheduled_render_strategy=NoScheduleRendering())
    view.update_size(side, side)
    view.set_background_volume_id(volume.GetID())
    right, up = np.array(plane["right"]), np.array(plane["up"])
    up = up - right * (up @ right)  # a sheared volume has no square slices
    pose = np.eye(4)
    pose[:3, :3] = np.column_stack([right, up / np.linalg.norm(up), np.cross(up, right)])
    pose[:3, 3] = plane["center"]
    node = view.get_view_node()
    node.GetSliceToRAS().DeepCopy(_matrix(pose))
    node.UpdateMatrices()
    node.SetDimensions(side, side, 1)
    node.SetFieldOfView(plane["extent_mm"], plane["extent_mm"], 1.0)
    return view


def _front_view(app: Any, side: int) -> Any:
    """The 3D view of the closed surfaces from the front."""
    from trame_slicer.views import ThreeDView
    from trame_slicer.views.render_scheduler import NoScheduleRendering

    view = ThreeDView(app.scene, app.app_logic, "Front", scheduled_render_strategy=NoScheduleRendering())
    view.update_size(side, side)
    view.set_box_visible(False)
    view.set_background_color([0, 0, 0])
    view.set_render_mode_to_orthographic()
    # Depth peeling and multisampling together lose every translucent surface on Mesa's software renderer.
    view.render_window().SetMultiSamples(0)
    view.renderer().SetUseFXAA(True)
    return view


def _pixels(view: Any) -> Array:
    """What a view shows: uint8, [rows, columns, 3], first row at the top."""
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkRenderingCore import vtkWindowToImageFilter

    view.render()
    grab = vtkWindowToImageFilter()
    grab.SetInput(view.render_window())
    grab.ReadFrontBufferOff()
    grab.Update()
    image = grab.GetOutput()
    columns, rows, _ = image.GetDimensions()
    flat = vtk_to_numpy(image.GetPointData().GetScalars())
    return flat.reshape(rows, columns, 3)[::-1].copy()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    # Taking down a half-dead OpenGL context is where VTK crashes; the picture is safe on disk by now.
    sys.stderr.flush()
    os._exit(0)
