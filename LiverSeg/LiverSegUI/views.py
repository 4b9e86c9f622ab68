"""What the slice and 3D views show: the case that the user looks at, and no segmentation of another one over it."""

from __future__ import annotations

from typing import Any

import slicer

from LiverSegLib import slicer_bridge

_CENTERED = "LiverSeg.Centered"


def shownVolume() -> Any:
    """The volume in the background of the slice views, or None where there is none or no view."""
    ids = [view.GetBackgroundVolumeID() or "" for view in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")]
    return next(filter(None, map(slicer.mrmlScene.GetNodeByID, ids)), None)


def showVolume(volume: Any) -> None:
    """Bring a volume into the slice views, unless it is there; the views stay where they are if it is."""
    if shownVolume() is not volume:
        slicer.util.setSliceViewerLayers(background=volume, fit=True)


def showOwnSegmentations() -> None:
    """Show our segmentations of the volume that is shown, and hide those of the others."""
    volume = shownVolume()
    if volume is not None:
        slicer_bridge.show_only_segmentation_of(volume)


def showSurfaces(segmentation: Any) -> None:
    """Show the segments in 3D; surfaces that are there are kept."""
    if not slicer_bridge.has_surfaces(segmentation):
        slicer_bridge.show_surfaces(segmentation)
    centerOnce(segmentation)


def centerOnce(segmentation: Any) -> None:
    """Turn the 3D views to a segmentation that comes into them for the first time; later the user has turned them."""
    if segmentation.GetAttribute(_CENTERED) is None:
        segmentation.SetAttribute(_CENTERED, "1")
        if slicer.app.layoutManager() is not None:  # there is none without a main window
            slicer.util.resetThreeDViews()
