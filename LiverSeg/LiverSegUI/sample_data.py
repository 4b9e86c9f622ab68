"""The phantom CT in Slicer's Sample Data module; it is made on the spot, nothing is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

_ICONS = Path(__file__).resolve().parents[1] / "Resources" / "Icons"


def registerSampleData() -> None:
    """Offer the phantom in the Sample Data module."""
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="LiverSeg",
        sampleName="LiverPhantomCT",
        uris="",  # nothing to download, but the list wants as many of these as of names
        fileNames="LiverPhantomCT.nrrd",
        nodeNames="LiverPhantomCT",
        customDownloader=lambda _source=None: addSampleVolume(),
        thumbnailFileName=str(_ICONS / "LiverPhantomCT.png"),
    )


def addSampleVolume() -> Any:
    """Add the phantom to the scene and show it; returns its vtkMRMLScalarVolumeNode."""
    from LiverSegLib.sample import make_sample

    volume, _truth = make_sample()
    voxels = volume.array.transpose(2, 1, 0)
    node = slicer.util.addVolumeFromArray(voxels, ijkToRAS=volume.affine, name=_("Liver phantom CT"))
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetAutoWindowLevel(False)
    node.GetDisplayNode().SetWindowLevelMinMax(-100, 250)
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    return node
