"""The phantom CT in Slicer's Sample Data module; it is made on the spot, nothing is downloaded."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

import LiverSegLib

NAME = "LiverPhantomCT"
_CATEGORY = "LiverSeg"
_URI = f"liverseg:{NAME}"
_FILE = f"{NAME}-{LiverSegLib.__version__}.nrrd"  # another version may make another phantom
_ICONS = Path(__file__).resolve().parents[1] / "Resources" / "Icons"


def registerSampleData() -> None:
    """Offer the phantom in the Sample Data module and to `SampleData.downloadSample`.

    A click calls our function. A script takes the way of a download, in which our rule turns the name of the
    phantom into a file of it.
    """
    import SampleData

    logic = SampleData.SampleDataLogic
    logic.registerUrlRewriteRule(_CATEGORY, _fileUri)
    source = SampleData.SampleDataSource(
        sampleName=NAME,
        sampleDescription=_("Liver phantom CT"),
        uris=_URI,
        fileNames=_FILE,
        nodeNames=_("Liver phantom CT"),
        customDownloader=addSampleVolume,
        thumbnailFileName=str(_ICONS / f"{NAME}.png"),
    )
    sources = slicer.modules.sampleDataSources.setdefault(_CATEGORY, [])
    if not any(other.sampleName == NAME for other in sources):
        sources.append(source)


def addSampleVolume(_source: Any = None) -> Any:
    """Add the phantom to the scene and show it; returns its vtkMRMLScalarVolumeNode."""
    from LiverSegLib.sample import make_sample

    slicer.app.setOverrideCursor(qt.Qt.WaitCursor)
    try:
        volume, _truth = make_sample()
    finally:
        slicer.app.restoreOverrideCursor()
    voxels = volume.array.transpose(2, 1, 0)
    name = slicer.mrmlScene.GenerateUniqueName(_("Liver phantom CT"))
    node = slicer.util.addVolumeFromArray(voxels, ijkToRAS=volume.affine, name=name)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetAutoWindowLevel(False)
    node.GetDisplayNode().SetWindowLevelMinMax(-100, 250)
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    return node


def _fileUri(uri: str) -> str:
    """For the phantom's own name a file that holds it, made now; any other address is left as it is."""
    if uri != _URI or (Path(slicer.mrmlScene.GetCacheManager().GetRemoteCacheDirectory()) / _FILE).exists():
        return uri  # what lies in the download cache is used without a look at its address
    from LiverSegLib.sample import make_sample

    volume, _truth = make_sample()
    node = slicer.vtkMRMLScalarVolumeNode()
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(volume.affine))
    slicer.util.updateVolumeFromArray(node, volume.array.transpose(2, 1, 0))
    storage = slicer.vtkMRMLNRRDStorageNode()
    folder = tempfile.mkdtemp(prefix="liverseg-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder) / _FILE
    storage.SetFileName(str(path))
    if not storage.WriteData(node):
        raise OSError(f"{path} could not be written")
    return path.as_uri()
