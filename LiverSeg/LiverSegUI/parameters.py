"""The choices that belong to a scene; import it only once all of Slicer's modules are loaded."""

import slicer
from slicer.parameterNodeWrapper import parameterNodeWrapper


@parameterNodeWrapper
class LiverSegParameterNode:
    """What the user chose for the scene; it is saved with it.

    Args:
        inputVolume: the volume to segment.
        outputSegmentation: where to; empty for a new one.
        roi: box that limits the work; empty for the whole volume.
        resultsTable: table that receives the measurements; empty for a new one.
        model: name or path of the model package; "" for the default.
        segmentLiver, segmentTumor: the targets.
        targets: names of the targets of a model that has many, a line each; "" for its default.
        show3D: show the segments in 3D when they are done.
        makeTable: put the measurements into a table.

    Its node refers to the further images of a case, too, see `LiverSegUI.further`.
    """

    inputVolume: slicer.vtkMRMLScalarVolumeNode
    outputSegmentation: slicer.vtkMRMLSegmentationNode
    roi: slicer.vtkMRMLMarkupsROINode
    resultsTable: slicer.vtkMRMLTableNode
    model: str = ""
    segmentLiver: bool = True
    segmentTumor: bool = True
    targets: str = ""
    show3D: bool = True
    makeTable: bool = True
