"""What the panel does and shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from LiverSegLib import slicer_bridge
from LiverSegLib.errors import LiverSegError
from LiverSegUI.batch import BatchView
from LiverSegUI.choices import DeviceBox, ModelBox, storedSetting, storeSetting, workerEnvironment
from LiverSegUI.install import installPackages, missingPackages
from LiverSegUI.job import SegmentationJob
from LiverSegUI.results import ResultsView
from LiverSegUI.texts import percent, stageText


class Panel:
    """Wires the widgets of the `.ui` file to the logic.

    Args:
        ui: the widgets by name.
        logic: LiverSegLogic.
    """

    def __init__(self, ui: Any, logic: Any) -> None:
        self.ui, self.logic = ui, logic
        self._parameterNode: Any = None
        self._inputID: str | None = None
        self._shownJob: SegmentationJob | None = None
        self._segmentationID: str | None = None
        self._logCount = 0
        self._missing = missingPackages()
        self._hasDevices = False
        self._refresher = qt.QTimer()
        self._refresher.setSingleShot(True)
        self.models, self.devices = ModelBox(ui), DeviceBox(ui)
        self.results = ResultsView(ui, self.say)
        self.batch = BatchView(ui, self._startBatch)
        ui.cacheEdit.setCurrentPath(storedSetting("cache"))
        self._connect()
        logic.onChange = self.update
        self.update()

    def _connect(self) -> None:
        ui = self.ui
        ui.segmentButton.clicked.connect(self.onSegmentButton)
        ui.installButton.clicked.connect(self.onInstallButton)
        ui.openModelButton.clicked.connect(self.onOpenModelButton)
        ui.show3DButton.clicked.connect(self.onShow3DButton)
        ui.editButton.clicked.connect(self.onEditButton)
        ui.modelBox.currentTextChanged.connect(self._onModelChanged)
        ui.cacheEdit.currentPathChanged.connect(self._onCacheChanged)
        self._refresher.timeout.connect(self._refresh)

    def enter(self) -> None:
        """The module is opened: look at what changed meanwhile."""
        self._missing = missingPackages()
        self._refresh()
        if not self._hasDevices and not self._missing:
            self._hasDevices = True
            self.logic.runner.askDevices(self.devices.fill)

    def close(self) -> None:
        """The panel goes away."""
        self._refresher.stop()
        self.logic.onChange = None

    def clear(self) -> None:
        """The scene is closed."""
        self._segmentationID = None
        self.results.show(None)
        self.batch.clear()

    def setParameterNode(self, parameterNode: Any) -> None:
        """Read and write this parameter node from now on; None for none."""
        self._parameterNode = parameterNode
        self._inputID = _idOf(parameterNode.inputVolume) if parameterNode is not None else None
        if parameterNode is not None:
            self.chooseModel(parameterNode.model)
        self.onParametersChanged()

    def say(self, sentence: str, isError: bool = False) -> None:
        """Show a sentence below the Segment button; an error with a warning sign."""
        self.ui.statusText.setText(f"\u26a0 {sentence}" if isError else sentence)

    def onParametersChanged(self) -> None:
        """The user, a script or a loaded scene changed a choice."""
        node = self._parameterNode
        if node is not None and _idOf(node.inputVolume) != self._inputID:
            self._inputID = _idOf(node.inputVolume)
            output = node.outputSegmentation
            # The segments of one volume must not be replaced by those of another.
            if output is not None and _sourceOf(output) not in (None, node.inputVolume):
                node.outputSegmentation = None
        self.update()

    def onNodesChanged(self) -> None:
        """Nodes came or went; they do so by the hundred, so look once they all did."""
        self._refresher.start(100)

    def onSegmentButton(self, _checked: bool = False) -> None:
        """Segment, or stop what runs."""
        if self.logic.runner.jobs:
            self.logic.cancel()
        else:
            self._start([self._parameterNode.inputVolume], self._parameterNode.outputSegmentation)

    def onInstallButton(self, _checked: bool = False) -> None:
        """Install what is missing and go on."""
        self.say(_("Installing; this takes some minutes."))
        try:
            installPackages()
        except LiverSegError as error:
            self.say(str(error), isError=True)
            return
        finally:
            self._missing = missingPackages()
            self.update()
        self.logic.runner.restart()
        self.say(_("Everything is installed."))
        self.enter()
        if self.ui.segmentButton.isEnabled():
            self.onSegmentButton()

    def onOpenModelButton(self, _checked: bool = False) -> None:
        """Choose a model package: its zip, or the metadata.json in its folder."""
        title = _("Open a model package: its zip, or configs/metadata.json in its folder")
        filters = _("Model packages") + " (*.zip metadata.json)"
        chosen = qt.QFileDialog.getOpenFileName(self.ui.openModelButton, title, str(Path.home()), filters)
        path = chosen[0] if isinstance(chosen, tuple) else chosen
        if path:
            self.chooseModel(str(Path(path).parents[1]) if path.endswith("metadata.json") else str(path))

    def chooseModel(self, name: str) -> None:
        """Select a model by name or path; one that is gone is told of."""
        try:
            self.models.choose(name)
        except LiverSegError as error:
            self.say(str(error), isError=True)

    def onShow3DButton(self, _checked: bool = False) -> None:
        """Show the segments as surfaces, or hide them."""
        node = self._segmentation()
        if node is not None and self.ui.show3DButton.isChecked():
            slicer_bridge.show_surfaces(node)
        elif node is not None:
            node.RemoveClosedSurfaceRepresentation()

    def onEditButton(self, _checked: bool = False) -> None:
        """Open the Segment Editor with segmentation and volume."""
        node = self._segmentation()
        if node is None:
            return
        slicer.util.selectModule("SegmentEditor")
        editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
        editor.setSegmentationNode(node)
        if _sourceOf(node) is not None:
            editor.setSourceVolumeNode(_sourceOf(node))

    def update(self) -> None:
        """Bring all widgets up to date with the jobs and the choices."""
        jobs = self.logic.runner.jobs
        last = self.logic.runner.lastJob
        if last is not None and last is not self._shownJob and last.isOver:
            self._shownJob = last
            self._onJobOver(last)
        if jobs:
            text = stageText(jobs[0].progress)
            self.say(
                text if len(jobs) == 1 else _("{text} ({count} more waiting)").format(text=text, count=len(jobs) - 1)
            )
            self.ui.progressBar.setValue(percent(jobs[0].progress))
        self._updateButtons(bool(jobs))
        self.batch.update()
        self._updateLog()

    def _updateButtons(self, isBusy: bool) -> None:
        ui, node = self.ui, self._parameterNode
        ui.installText.setVisible(bool(self._missing))
        ui.installButton.setVisible(bool(self._missing))
        if self._missing:
            text = _("The first use needs {names}.")
            ui.installText.setText(text.format(names=", ".join(name.split(">=")[0] for name in self._missing)))
        ui.segmentButton.setVisible(not self._missing)
        ui.segmentButton.setText(_("Cancel") if isBusy else _("Segment"))
        hasTarget = node is not None and (node.segmentLiver or node.segmentTumor)
        hasInput = node is not None and node.inputVolume is not None
        ui.segmentButton.setEnabled(isBusy or bool(hasInput and hasTarget and self.models.current is not None))
        ui.segmentButton.setToolTip(self._segmentToolTip(isBusy, hasInput, hasTarget))
        ui.progressBar.setVisible(isBusy)
        model = self.models.current
        told = {
            "liver": _("Segment the liver."),
            "tumor": _("Segment tumors in the liver. Without it they count as liver."),
        }
        for box, name in ((ui.liverBox, "liver"), (ui.tumorBox, "tumor")):
            isKnown = model is None or name in model.labels
            box.setEnabled(isKnown)
            box.setToolTip(told[name] if isKnown else _("The chosen model does not segment this."))
        segmentation = self._segmentation()
        ui.show3DButton.setEnabled(segmentation is not None)
        ui.editButton.setEnabled(segmentation is not None)
        ui.show3DButton.setChecked(segmentation is not None and slicer_bridge.has_surfaces(segmentation))

    def _segmentToolTip(self, isBusy: bool, hasInput: bool, hasTarget: bool) -> str:
        if isBusy:
            return _("Stop the segmentation; the scene stays as it is.")
        if not hasInput:
            return _("Choose a volume first.")
        if not hasTarget:
            return _("Choose what to segment first.")
        return _("Segment the chosen volume. You can go on working meanwhile.")

    def _onJobOver(self, job: SegmentationJob) -> None:
        self.say("\n".join([job.message, *job.warnings]), isError=job.state == "failed")
        if job.state != "finished":
            return
        self.results.show(job)
        self._segmentationID = _idOf(job.segmentationNode)
        node = self._parameterNode
        if node is not None and _idOf(node.inputVolume) == job.volumeID:
            node.outputSegmentation = job.segmentationNode

    def _start(self, volumeNodes: list[Any], output: Any) -> list[SegmentationJob]:
        node, model = self._parameterNode, self.models.current
        chosen = [name for name, on in (("liver", node.segmentLiver), ("tumor", node.segmentTumor)) if on]
        others = [] if model is None else [name for name in model.labels if name not in ("liver", "tumor")]
        wanted = [name for name in [*chosen, *others] if model is None or name in model.labels]
        self.ui.progressBar.setValue(0)
        jobs = self.logic.startAll(
            volumeNodes,
            model=None if model is None else model.name,
            device=self.devices.current,
            targets=wanted,
            outputSegmentation=output,
            roi=node.roi,
            table=node.resultsTable,
            show3D=node.show3D,
        )
        for job in jobs:
            if job.isOver:
                self.say(job.message, isError=job.state == "failed")
        return jobs

    def _startBatch(self, volumeNodes: list[Any]) -> list[SegmentationJob]:
        return self._start(volumeNodes, None) if self._parameterNode is not None else []

    def _segmentation(self) -> Any:
        """The segmentation that the buttons below the results are for."""
        chosen = self._parameterNode.outputSegmentation if self._parameterNode is not None else None
        return chosen or (slicer.mrmlScene.GetNodeByID(self._segmentationID) if self._segmentationID else None)

    def _refresh(self) -> None:
        self.batch.refresh()
        self.update()

    def _updateLog(self) -> None:
        runner = self.logic.runner
        new = min(runner.logCount - self._logCount, len(runner.log))
        self._logCount = runner.logCount
        if new > 0:
            self.ui.logText.appendPlainText("\n".join(list(runner.log)[-new:]))

    def _onModelChanged(self, _text: str = "") -> None:
        self.models.describe()
        model = self.models.current
        if self._parameterNode is not None and model is not None:
            self._parameterNode.model = model.name
        self.update()

    def _onCacheChanged(self, path: str = "") -> None:
        storeSetting("cache", str(path))
        self.logic.runner.setEnvironment(workerEnvironment())


def _idOf(node: Any) -> str | None:
    return None if node is None else str(node.GetID())


def _sourceOf(segmentation: Any) -> Any:
    """The volume that a segmentation belongs to, or None."""
    return segmentation.GetNodeReference(segmentation.GetReferenceImageGeometryReferenceRole())
