"""LiverSeg: liver and liver tumors from CT in 3D Slicer, by a click or a line of Python."""

# The self test is unittest's, as Slicer wants it.
# ruff: noqa: PT009

import sys
from pathlib import Path
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

try:
    import LiverSegLib
except ModuleNotFoundError:
    # Developer mode: Slicer knows only the module's own folder, and the library lies beside it.
    sys.path.append(str(Path(__file__).resolve().parents[1]))
    import LiverSegLib
from LiverSegUI.choices import storedSetting, workerEnvironment
from LiverSegUI.install import missingPackages
from LiverSegUI.job import JobOptions, SegmentationJob
from LiverSegUI.panel import Panel
from LiverSegUI.runner import JobRunner
from LiverSegUI.sample_data import addSampleVolume, registerSampleData
from LiverSegUI.warm_up import WarmUp

from LiverSegLib import slicer_bridge
from LiverSegLib.errors import InputError, LiverSegError
from LiverSegLib.request import SegmentationRequest, model_name


class LiverSeg(ScriptedLoadableModule):
    """The module as Slicer lists it."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Liver Segmentation")
        parent.categories = [_("Segmentation")]
        parent.dependencies = []
        parent.contributors = ["The LiverSeg contributors"]
        parent.helpText = _(
            "Segments the liver and its tumors in CT and measures them. Choose a volume and click Segment; you "
            "can go on working meanwhile. For research only, not for diagnosis or treatment."
        )
        parent.acknowledgementText = _("Built on MONAI and PyTorch.") + f" LiverSeg {LiverSegLib.__version__}."
        slicer.app.connect("startupCompleted()", registerSampleData)


class LiverSegLogic(ScriptedLoadableModuleLogic, VTKObservationMixin):
    """Segmentation from Python; the same as the panel does.

    Example::

        logic = slicer.util.getModuleLogic("LiverSeg")
        segmentationNode = logic.segment(volumeNode)
    """

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        VTKObservationMixin.__init__(self)
        self.onChange: Any = None
        self.runner = JobRunner(self._onChange, workerEnvironment())
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self._onSceneStartClose)
        self.addObserver(scene, scene.NodeRemovedEvent, self._onNodeRemoved)

    def getParameterNode(self) -> Any:
        """The module's parameter node in the scene, see `LiverSegUI.parameters`."""
        # Only now: while Slicer starts, the node classes of modules later in the alphabet do not exist yet.
        from LiverSegUI.parameters import LiverSegParameterNode

        return LiverSegParameterNode(super().getParameterNode())  # type: ignore[call-arg]

    def segment(self, volumeNode: Any, **options: Any) -> Any:
        """Segment a volume and wait for the result; Slicer stays responsive meanwhile.

        Args:
            volumeNode: vtkMRMLScalarVolumeNode.
            **options: as for `start`.

        Returns:
            The vtkMRMLSegmentationNode.

        Raises:
            LiverSegError: the volume cannot be segmented; the text says why and what to do.
        """
        job = self.start(volumeNode, **options)
        self.wait([job])
        if job.state != "finished":
            raise LiverSegError(job.message)
        return job.segmentationNode

    def segmentAll(self, volumeNodes: list[Any], **options: Any) -> list[SegmentationJob]:
        """Segment several volumes one after the other, each into a segmentation of its own, and wait for all.

        A volume that fails does not stop the others: look at each job's `state`, `message`,
        `segmentationNode` and `measurements`.

        Args:
            volumeNodes: the volumes.
            **options: as for `start`, without outputSegmentation and further.
        """
        jobs = self.startAll(volumeNodes, **options)
        self.wait(jobs)
        return jobs

    def start(
        self,
        volumeNode: Any,
        *,
        further: Any = (),
        model: Any = None,
        device: str | None = None,
        targets: Any = None,
        outputSegmentation: Any = None,
        roi: Any = None,
        table: Any = None,
        show3D: bool = False,
        replaceEdits: bool = False,
        progress: Any = None,
        finished: Any = None,
        failed: Any = None,
    ) -> SegmentationJob:
        """Begin to segment a volume and return at once; the callbacks are called from Qt's event loop.

        Args:
            volumeNode: vtkMRMLScalarVolumeNode.
            further: the other images of the case, volume nodes in the order of the model's channels; one on another
                grid is resampled onto that of volumeNode, through the transforms of both.
            model: name or path of a model package; None for the default.
            device: "auto", "cpu", "cuda", "cuda:N" or "mps"; None for what is chosen in the panel.
            targets: for example ["liver"]; "all" for every label of the model, None for its own choice.
            outputSegmentation: where our segments are replaced (`job.undo()` brings them back); None for a new one.
            roi: vtkMRMLMarkupsROINode that limits the work to its box.
            table: vtkMRMLTableNode for the measurements, or True for a new one.
            show3D: make and show closed surfaces.
            replaceEdits: replace edited segments of ours, too; else they are kept, and a new segmentation is made.
            progress, finished, failed: called with the job; `failed` also after `job.cancel()`.

        Raises:
            LiverSegError: the images or the region cannot be segmented.
        """
        further = _listed(further)
        volume = slicer_bridge.read_images(volumeNode, further)
        options = JobOptions(
            request=_request(model, device, targets),
            furtherIDs=tuple(node.GetID() for node in further),
            segmentationID=outputSegmentation.GetID() if outputSegmentation else None,
            roiID=roi.GetID() if roi else None,
            **_tableOptions(table),
            show3D=show3D,
            giveUp=_edits(outputSegmentation) if replaceEdits else frozenset(),
        )
        job = SegmentationJob(volumeNode, options, progress, finished, failed)
        self.runner.start(job, volume)
        return job

    def startAll(self, volumeNodes: list[Any], **options: Any) -> list[SegmentationJob]:
        """Begin to segment several volumes; one that cannot be gives a job that has failed already.

        Raises:
            InputError: further images are given for several volumes.
        """
        if len(volumeNodes) > 1 and _listed(options.get("further", ())):
            raise InputError(_("Further images belong to one volume; segment volumes that have them one at a time."))
        jobs = []
        for volumeNode in volumeNodes:
            try:
                jobs.append(self.start(volumeNode, **options))
            except LiverSegError as error:
                job = SegmentationJob(volumeNode, JobOptions(), failed=options.get("failed"))
                job.fail(str(error))
                jobs.append(job)
        return jobs

    def wait(self, jobs: list[SegmentationJob]) -> None:
        """Run Qt's event loop until all jobs are over."""
        loop = qt.QEventLoop()
        timer = qt.QTimer()
        timer.timeout.connect(lambda: loop.quit() if all(job.isOver for job in jobs) else None)
        timer.start(20)
        if not all(job.isOver for job in jobs):
            loop.exec()
        timer.stop()

    def cancel(self) -> None:
        """Stop all jobs."""
        for job in self.runner.jobs[::-1]:
            job.cancel()

    def close(self) -> None:
        """End the worker process; the logic cannot be used any more."""
        self.removeObservers()
        self.runner.close()

    def _onChange(self) -> None:
        if self.onChange is not None:
            self.onChange()

    def _onSceneStartClose(self, _caller: Any = None, _event: Any = None) -> None:
        if self.runner.jobs:
            self.runner.cancelAll(_("The scene was closed, so the segmentation was stopped."))

    def _onNodeRemoved(self, _caller: Any = None, _event: Any = None) -> None:
        """Nobody waits for the segments of a volume that is gone."""
        for job in self.runner.jobs:
            if slicer.mrmlScene.GetNodeByID(job.volumeID) is None:
                text = _("{name} was removed while it was segmented, so the segmentation was stopped.")
                self.runner.drop(job, text.format(name=job.volumeName))


def _listed(further: Any) -> list[Any]:
    """One node or several as a list."""
    return [further] if isinstance(further, slicer.vtkMRMLNode) else list(further or ())


def _request(model: Any, device: str | None, targets: Any) -> SegmentationRequest:
    """What is asked of the worker; its region follows when the job begins."""
    device = device or storedSetting("device", "auto")
    return SegmentationRequest(model=model_name(model), device=device, targets=_names(targets))


def _tableOptions(table: Any) -> dict[str, Any]:
    """The options of a job that say which table its measurements go into."""
    return {"newTable": True} if table is True else {"tableID": table.GetID() if table else None}


def _edits(segmentation: Any) -> frozenset[str]:
    """What was edited in a segmentation, to be given up."""
    return frozenset(slicer_bridge.edited_segments(segmentation).values())


def _names(targets: Any) -> tuple[str, ...] | None:
    """One name or several as a request has them; None stays the model's own choice."""
    return targets if targets is None else (targets,) if isinstance(targets, str) else tuple(targets)


class LiverSegWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel in the application: its life, and its parameter node."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: Any = None
        self.panel: Any = None
        self.warmUp: Any = None
        self._parameterNode: Any = None
        self._guiTag: Any = None

    def setup(self) -> None:
        """Build the panel, once."""
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/LiverSeg.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = LiverSegLogic()
        self.panel = Panel(self.ui, self.logic)
        self.warmUp = WarmUp(self.ui, self.panel.models, self.panel.devices, self.logic.runner)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self._onSceneStartClose)
        # A scene is loaded: its choices come before its nodes, so the boxes must not answer meanwhile.
        self.addObserver(scene, scene.StartImportEvent, self._disconnect)
        for event in (scene.EndCloseEvent, scene.EndImportEvent):
            self.addObserver(scene, event, self._onSceneReady)
        for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent):
            self.addObserver(scene, event, self._onNodesChanged)
        self.initializeParameterNode()
        if self.isEntered:  # loaded anew while it is shown: the application does not enter it again
            self.panel.enter()
            self.warmUp.enter()

    @property
    def isEntered(self) -> bool:
        """Whether the module is the one that is shown."""
        return bool(getattr(self.parent, "isEntered", False))

    def cleanup(self) -> None:
        """The application closes, or the module is loaded anew."""
        self._disconnect()
        self.removeObservers()
        if self.panel is not None:
            self.warmUp.close()
            self.panel.close()
            self.logic.close()

    def enter(self) -> None:
        """The user opens the module."""
        self.initializeParameterNode()
        self.panel.enter()
        self.warmUp.enter()

    def exit(self) -> None:
        """The user opens another module; a job goes on."""
        self._disconnect()
        self.warmUp.exit()

    def onReload(self) -> None:
        """Developer mode: load the library anew as well."""
        for name in list(sys.modules):
            if name.split(".")[0] in ("LiverSegLib", "LiverSegUI"):
                del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def _onSceneStartClose(self, _caller: Any = None, _event: Any = None) -> None:
        """The parameter node is about to go; the logic stops its jobs by itself."""
        self._disconnect()
        self.panel.clear()

    def _onSceneReady(self, _caller: Any = None, _event: Any = None) -> None:
        """Begin anew with what an emptied or a loaded scene holds."""
        if self.isEntered:
            self.initializeParameterNode()
            self.panel.onNodesChanged()

    def initializeParameterNode(self) -> None:
        """Use the scene's parameter node; select the first volume where none is chosen."""
        self._disconnect()
        parameterNode = self.logic.getParameterNode()
        first = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
        if parameterNode.inputVolume is None and first is not None:
            parameterNode.inputVolume = first
        self._parameterNode = parameterNode
        self._guiTag = parameterNode.connectGui(self.ui)
        self.addObserver(parameterNode, vtk.vtkCommand.ModifiedEvent, self.panel.onParametersChanged)
        self.panel.setParameterNode(parameterNode)

    def _disconnect(self, _caller: Any = None, _event: Any = None) -> None:
        """Let the parameter node go."""
        parameterNode, self._parameterNode = self._parameterNode, None
        if parameterNode is not None:
            parameterNode.disconnectGui(self._guiTag)
            self.removeObserver(parameterNode, vtk.vtkCommand.ModifiedEvent, self.panel.onParametersChanged)
        if self.panel is not None:
            self.panel.setParameterNode(None)

    def _onNodesChanged(self, _caller: Any = None, _event: Any = None) -> None:
        if self.isEntered:
            self.panel.onNodesChanged()


class LiverSegTest(ScriptedLoadableModuleTest):
    """Self test for a real Slicer: `Slicer --testing --python-code ...` or Reload and Test."""

    def runTest(self) -> None:
        """From the phantom CT to segments, with the default model."""
        if missingPackages():
            self.delayDisplay(f"Left out, not installed: {missingPackages()}")
            return
        from LiverSegLib.sample import make_sample

        slicer.mrmlScene.Clear()
        node, truth = addSampleVolume(), make_sample()[1] > 0
        segmentation = slicer.util.getModuleLogic("LiverSeg").segment(node, device="cpu", table=True)
        found = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, "LiverSeg_liver", node).transpose(2, 1, 0)
        dice = 2 * (truth & (found > 0)).sum() / (truth.sum() + (found > 0).sum())
        self.assertGreater(dice, 0.7)
        self.delayDisplay(f"LiverSeg: test passed, Dice of the liver phantom {dice:.3f}")
