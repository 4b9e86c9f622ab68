"""The picture of a case with Slicer's own slice and 3D views, for the documentation: `save_slicer_picture`.

It looks different from machine to machine and needs a gigabyte (slicer-core and trame-slicer, the extra `slicer`), so
the library draws with matplotlib alone. `Testing.headless.views` calls this.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from LiverSegLib.pictures import figures, panels
from LiverSegLib.pictures.build import build_scene
from LiverSegLib.pictures.scene import Overlay, Plane, Scene
from LiverSegLib.volume import Result, Volume

Array = npt.NDArray[Any]

_FILL, _OUTLINE_PIXELS = 0.22, 2
_LIVER_OPACITY = 0.6
# Closed surfaces are made on a grid of about this many mm; finer cannot be seen in a panel.
_SURFACE_MM = 1.2
_SMOOTHING = "0.5"


def save_slicer_picture(path: Path, volume: Volume, result: Result) -> None:
    """Write the picture of `save_case_picture` with panels that Slicer draws; something must be segmented.

    Raises:
        RuntimeError: Slicer's views cannot draw on this machine.
    """
    scene = build_scene(volume, result.labelmap, result.labels)
    *tiles, surface = render_tiles(scene, figures.TILE)
    figure, (*slices, front) = figures.panel_grid(rows=2, columns=2, side=figures.TILE)
    for axes, tile, plane in zip(slices, tiles, scene.planes, strict=True):
        panels.empty_panel(axes, plane.extent_mm)
        half = plane.extent_mm / 2
        axes.imshow(tile, extent=(-half, half, -half, half))
        panels.annotate(axes, scene, plane)
    panels.draw_front(front, surface, 1.0)
    figures.caption(figure, volume.name, figures.measured(result), result.model)
    figures.save(figure, path)


def render_tiles(scene: Scene, side: int) -> Array:
    """The axial, coronal, sagittal and front view by Slicer, in a process of its own: OpenGL may crash.

    Returns:
        RGB, uint8 [4, side, side, 3], first row at the top.

    Raises:
        RuntimeError: the process drew nothing.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_draw_and_end, args=(scene, side, theirs))
    child.start()
    theirs.close()
    try:
        tiles: Array = ours.recv()
    except EOFError as error:
        raise RuntimeError("Slicer's views cannot draw on this machine; its messages stand above.") from error
    finally:
        child.join()
    return tiles


def _draw_and_end(scene: Scene, side: int, answer: Connection) -> None:
    # A display left over from a closed session makes VTK abort; without one it renders offscreen.
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        os.environ.pop(name, None)
    answer.send(_draw(scene, side))
    # Taking down a half-dead OpenGL context is where VTK crashes; the tiles are sent by now.
    os._exit(0)


def _draw(scene: Scene, side: int) -> Array:
    from trame_slicer.core import SlicerApp

    app = SlicerApp()
    volume = _add_volume(app, scene)
    # Views before segments: what enters a slice view first is drawn first, and the image must lie underneath.
    views = [_slice_view(app, volume, scene, plane, side) for plane in scene.planes]
    views.append(_front_view(app, side))
    _add_segmentation(app, scene, volume)
    views[-1].fit_view_to_content()
    return np.stack([_pixels(view) for view in views])


def _matrix(affine: Array) -> Any:
    """A 4x4 array as vtkMatrix4x4."""
    from vtkmodules.vtkCommonMath import vtkMatrix4x4

    matrix = vtkMatrix4x4()
    matrix.DeepCopy(affine.ravel().tolist())
    return matrix


def _add_volume(app: Any, scene: Scene) -> Any:
    """A scalar volume node that shows the image in its window."""
    import slicer.util

    node = app.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "image")
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(scene.image.transpose(2, 1, 0)))
    node.SetIJKToRASMatrix(_matrix(scene.affine))
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGray")
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(*scene.window)
    return node


def _add_segmentation(app: Any, scene: Scene, volume: Any) -> None:
    """Two nodes with the same segments: a full one for the slices, a coarse one for the surface."""
    labels = np.ascontiguousarray(scene.labelmap.transpose(2, 1, 0))
    full = _segmentation_node(app, scene.overlays, labels, scene.affine, volume)
    full.GetDisplayNode().SetVisibility3D(False)
    coarse_labels, coarse_affine = _coarse(labels, scene.affine)
    coarse = _segmentation_node(app, scene.overlays, coarse_labels, coarse_affine, None)
    coarse.GetDisplayNode().SetVisibility2D(False)
    coarse.GetSegmentation().SetConversionParameter("Smoothing factor", _SMOOTHING)
    coarse.CreateClosedSurfaceRepresentation()
    display = coarse.GetDisplayNode()
    display.SetVisibility3D(True)
    for number, overlay in enumerate(scene.overlays):
        outer = number == 0 and len(scene.overlays) > 1
        display.SetSegmentOpacity3D(overlay.name, _LIVER_OPACITY if outer else 1.0)


def _segmentation_node(app: Any, overlays: Sequence[Overlay], labels: Array, affine: Array, volume: Any) -> Any:
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
        mask = overlay.mask(labels)
        if volume is None and overlay is overlays[0] and len(overlays) > 1:
            # One voxel out: a lesion at the liver's surface would break through it in patches.
            mask = ndimage.binary_dilation(mask)
        slicer.util.updateVolumeFromArray(labelmap, mask.astype(np.uint8))
        ids = vtkStringArray()
        ids.InsertNextValue(overlay.name)
        if not app.segmentations_logic.ImportLabelmapToSegmentationNode(labelmap, node, ids):
            raise RuntimeError(f"segment {overlay.name} was not imported")
        segment = node.GetSegmentation().GetSegment(overlay.name)
        segment.SetName(overlay.name)
        segment.SetColor(*(c / 255 for c in overlay.color))
    app.scene.RemoveNode(labelmap)
    _style_slices(node.GetDisplayNode(), overlays)
    return node


def _style_slices(display: Any, overlays: Sequence[Overlay]) -> None:
    """Translucent fill and a crisp outline on slices."""
    display.SetVisibility2DFill(True)
    display.SetOpacity2DFill(1.0)  # what the segments' own opacities are multiplied by
    display.SetVisibility2DOutline(True)
    display.SetSliceIntersectionThickness(_OUTLINE_PIXELS)
    for overlay in overlays:
        display.SetSegmentOpacity2DFill(overlay.name, _FILL)
        display.SetSegmentOpacity2DOutline(overlay.name, 1.0)


def _coarse(labels: Array, affine: Array) -> tuple[Array, Array]:
    """Every n-th voxel of `labels` ([k, j, i]) with its affine; n brings the spacing to `_SURFACE_MM`."""
    i, j, k = (max(1, round(_SURFACE_MM / float(mm))) for mm in np.linalg.norm(affine[:3, :3], axis=0))
    return np.ascontiguousarray(labels[::k, ::j, ::i]), affine @ np.diag([i, j, k, 1])


def _slice_view(app: Any, volume: Any, scene: Scene, plane: Plane, side: int) -> Any:
    """One slice view, placed in RAS as `plane` says."""
    from trame_slicer.views import SliceView
    from trame_slicer.views.render_scheduler import NoScheduleRendering

    view = SliceView(app.scene, app.app_logic, plane.name, scheduled_render_strategy=NoScheduleRendering())
    view.update_size(side, side)
    view.set_background_volume_id(volume.GetID())
    right = -scene.affine[:3, plane.across] / scene.spacing[plane.across]
    up = scene.affine[:3, plane.up] / scene.spacing[plane.up]
    up = up - right * (up @ right)  # a sheared volume has no square slices
    pose = np.eye(4)
    pose[:3, :3] = np.column_stack([right, up / np.linalg.norm(up), np.cross(up, right)])
    pose[:3, 3] = (scene.affine @ [*plane.center, 1.0])[:3]
    node = view.get_view_node()
    node.GetSliceToRAS().DeepCopy(_matrix(pose))
    node.UpdateMatrices()
    node.SetDimensions(side, side, 1)
    node.SetFieldOfView(plane.extent_mm, plane.extent_mm, 1.0)
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
    return np.array(flat.reshape(rows, columns, 3)[::-1])
