"""What the panel does and shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from LiverSegLib import slicer_bridge
from LiverSegLib.errors import LiverSegError
from LiverSegLib.labels import LESION, MAIN_ORGAN, labels_for
from LiverSegUI import views, widgets
from LiverSegUI.batch import BatchView
from LiverSegUI.choices import DeviceBox, ModelBox, modelStore, storedSetting, storeSetting, workerEnvironment
from LiverSegUI.desk import Desk
from LiverSegUI.followup import FollowupDialog
from LiverSegUI.further import FurtherView
from LiverSegUI.handover import HandoverActions
from LiverSegUI.install import installPackages, missingPackages, namesOf, needsExtension, openExtensionsManager
from LiverSegUI.job import SegmentationJob
from LiverSegUI.menus import addMenu
from LiverSegUI.models_dialog import ModelsDialog
from LiverSegUI.region import RoiView
from LiverSegUI.results import ResultsView
from LiverSegUI.segmentation import SegmentationActions
from LiverSegUI.targets import TargetsView
from LiverSegUI.texts import stageText
from LiverSegUI.training_set import TrainingSetAction

_ONE_IMAGE = ("image",)


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
        self._started: list[SegmentationJob] = []
        self._logCount = 0
        self._missing = missingPackages()
        self._hasDevices = False
        self._refresher = qt.QTimer()
        self._refresher.setSingleShot(True)
        self.models, self.devices = ModelBox(ui), DeviceBox(ui)
        self.modelsDialog: ModelsDialog | None = None
        self.further = FurtherView(ui, self.update)
        self.targets = TargetsView(ui, self._onTargetsChanged)
        self.results = ResultsView(ui, self.say)
        self.region = RoiView(ui, self.onFitRoi)
        self.trainingSet = TrainingSetAction(ui, self.say, self._segmentation, self._modelOf)
        self.desk = Desk(ui.exportButton, workerEnvironment)
        self.handover = HandoverActions(ui, self.say, self.desk, self._segmentation, self._jobOf)
        self.followup = FollowupDialog(ui.exportButton, self.say, self.desk, self._segmentation)
        exports = [
            (_("Report (HTML)…"), self.handover.report),
            (_("DICOM SEG and SR…"), self.handover.dicom),
            (_("Compare with another scan…"), self.followup.show),
            (_("Add to training set…"), self.trainingSet.add),
        ]
        self.actions = SegmentationActions(ui, self.say, self._segmentation, exports)
        self.batch = BatchView(ui, self._start, self._showCase)
        ui.cacheEdit.setCurrentPath(storedSetting("cache"))
        self._connect()
        logic.onChange = self.update
        self.update()

    def _connect(self) -> None:
        ui = self.ui
        ui.segmentButton.clicked.connect(self.onSegmentButton)
        ui.installButton.clicked.connect(self.onInstallButton)
        ui.undoButton.clicked.connect(self.onUndoButton)
        ui.logCopyButton.clicked.connect(self.onCopyLogButton)
        ui.modelBox.currentTextChanged.connect(self._onModelChanged)
        ui.cacheEdit.currentPathChanged.connect(self._onCacheChanged)
        add, remove = _("Add a model package…"), _("Take the chosen model off the list")
        self.modelActions = addMenu(ui.modelsButton, [(add, self.onAddModel), (remove, self.onRemoveModel)])
        ui.modelsButton.clicked.connect(self.onModelsButton)
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
        self.desk.close()
        self.followup.close()
        if self.modelsDialog is not None:
            self.modelsDialog.close()

    def clear(self) -> None:
        """The scene is closed."""
        self._started = []
        self.results.clear()
        self.batch.clear()

    def setParameterNode(self, parameterNode: Any) -> None:
        """Read and write this parameter node from now on; None for none."""
        self._parameterNode = parameterNode
        self._inputID = _idOf(parameterNode.inputVolume) if parameterNode is not None else None
        if parameterNode is not None:
            self.chooseModel(parameterNode.model)
            if self.results.job is None and parameterNode.resultsTable is not None:
                self.results.showTable(parameterNode.resultsTable)
        self.onParametersChanged()

    def say(self, sentence: str, isError: bool = False) -> None:
        """Show a sentence below the Segment button; an error with a warning sign."""
        widgets.say(self.ui.statusText, sentence, isError)

    def onParametersChanged(self, _caller: Any = None, _event: Any = None) -> None:
        """The user, a script or a loaded scene changed a choice."""
        node = self._parameterNode
        if node is not None and _idOf(node.inputVolume) != self._inputID:
            self._inputID = _idOf(node.inputVolume)
            self.further.forget()
            output, table = node.outputSegmentation, node.resultsTable
            # What came of one volume must not be replaced by what comes of another.
            if output is not None and slicer_bridge.source_of(output) not in (None, node.inputVolume):
                node.outputSegmentation = None
            if table is not None and slicer_bridge.measured_volume(table) not in (None, node.inputVolume):
                node.resultsTable = None
        self.update()

    def onNodesChanged(self) -> None:
        """Nodes came or went; they do so by the hundred, so look once they all did."""
        self._refresher.start(100)

    def onSegmentButton(self, _checked: bool = False) -> None:
        """Segment, or stop what runs."""
        if self.logic.runner.jobs:
            self.logic.cancel()
            return
        node = self._parameterNode
        volume, output = node.inputVolume, node.outputSegmentation
        replaceEdits = self._askForEdits(output) if output is not None else False
        if replaceEdits is None:
            self.say(_("Nothing was changed."))
            return
        views.showVolume(volume)
        options = {"outputSegmentation": output, "replaceEdits": replaceEdits, "show3D": node.show3D}
        self._start([volume], node.resultsTable, further=self.further.nodes, **options)

    def onInstallButton(self, _checked: bool = False) -> None:
        """Install what is missing and go on."""
        try:
            if needsExtension(self._missing):
                openExtensionsManager()
                return
            self.say(_("Installing; this takes some minutes."))
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

    def onModelsButton(self, _checked: bool = False) -> None:
        """Open the dialog of models."""
        if self.modelsDialog is None:
            self.modelsDialog = ModelsDialog(
                self.ui.modelsButton, modelStore, workerEnvironment, self.chooseModel, self.models.forget
            )
        self.modelsDialog.show()

    def onAddModel(self) -> None:
        """Choose a model package: its zip, or the metadata.json in its folder."""
        title = _("Add a model package: its zip, or configs/metadata.json in its folder")
        filters = _("Model packages") + " (*.zip metadata.json)"
        chosen = qt.QFileDialog.getOpenFileName(self.ui.modelsButton, title, str(Path.home()), filters)
        path = chosen[0] if isinstance(chosen, tuple) else chosen
        if path:
            self.chooseModel(str(Path(path).parents[1]) if path.endswith("metadata.json") else str(path))

    def onRemoveModel(self) -> None:
        """Take an added model off the list."""
        model = self.models.current
        if model is None or model.path is None:
            self.say(_("The built-in models stay on the list."))
        else:
            self.models.remove()
            self.say(_("{model} is off the list; its files are still there.").format(model=model.shownTitle))

    def chooseModel(self, name: str) -> None:
        """Select a model by name or path; one that is gone is told of."""
        try:
            self.models.choose(name)
        except LiverSegError as error:
            self.say(str(error), isError=True)
        else:
            self._onModelChanged()  # the box tells nothing where another model has the same title

    def onFitRoi(self) -> None:
        """Fit the ROI, or a new one, to the input volume."""
        node = self._parameterNode
        if node is not None and node.inputVolume is not None:
            node.roi = self.region.fit(node.roi, node.inputVolume)

    def onUndoButton(self, _checked: bool = False) -> None:
        """Bring back the segments that the last run replaced."""
        job = self.results.job
        if job is not None and job.undo():
            text = _("The segments of {name} are again what they were before the last run; its table is not.")
            self.say(text.format(name=job.segmentationNode.GetName()))
        self.update()

    def onCopyLogButton(self, _checked: bool = False) -> None:
        """The whole log on the clipboard."""
        slicer.app.clipboard().setText("\n".join(self.logic.runner.log) + "\n")
        self.say(_("The log was copied."))

    def update(self) -> None:
        """Bring all widgets up to date with the jobs and the choices."""
        jobs = self.logic.runner.jobs
        last = self.logic.runner.lastJob
        if last is not None and last is not self._shownJob and last.isOver:
            self._shownJob = last
            self._onJobOver(last)
        if jobs:
            text, count = stageText(jobs[0].progress), len(jobs) - 1
            self.say(_("{text} ({count} more waiting)").format(text=text, count=count) if count else text)
        # The bar keeps its place and is empty while nothing runs.
        self.ui.progressBar.setEnabled(bool(jobs))
        self.ui.progressBar.setValue(jobs[0].percent if jobs else 0)
        self.ui.progressBar.setFormat("%p %" if jobs else "")
        self._updateButtons(bool(jobs))
        self._updateInstall()
        self.batch.update()
        self._updateLog()

    def _updateButtons(self, isBusy: bool) -> None:
        ui, node, model = self.ui, self._parameterNode, self.models.current
        volume = node.inputVolume if node is not None else None
        self.targets.show(None if model is None else model.about, node.targets if node is not None else "")
        self.further.show(_ONE_IMAGE if model is None else model.about.inputs, node)
        missing = self.further.missing
        hasTarget = node is not None and bool(self._targets())
        ui.segmentButton.setText(_("Cancel") if isBusy else _("Segment"))
        ui.segmentButton.setEnabled(isBusy or (volume is not None and not missing and hasTarget and model is not None))
        ui.segmentButton.setToolTip(_segmentToolTip(isBusy, volume is not None, missing, hasTarget))
        canRun = hasTarget and model is not None and not self._missing
        self.batch.allow(canRun, model is None or model.hasLesions, self.further.isUsed)
        self.region.update(node.roi if node is not None else None, volume)
        self.actions.update()
        job = self.results.job
        ui.undoButton.setEnabled(not isBusy and job is not None and job.canUndo)
        # What the model cannot do is not offered; its text says so.
        isListed = self.targets.isUsed
        hasLiver = model is None or any(label.name == MAIN_ORGAN for label in model.about.labels)
        ui.liverBox.setVisible(hasLiver and not isListed)
        ui.tumorBox.setVisible((model is None or model.hasLesions) and not isListed)

    def _updateInstall(self) -> None:
        ui, missing = self.ui, self._missing
        ui.installText.setVisible(bool(missing))
        ui.installButton.setVisible(bool(missing))
        ui.segmentButton.setVisible(not missing)
        if not missing:
            return
        text, button = _("The first use needs {names}."), _("Install {names}")
        if needsExtension(missing):
            text = _(
                "The first use needs PyTorch, which the PyTorch extension installs. Install that extension in the "
                "Extensions Manager and restart Slicer."
            )
            button = _("Open the Extensions Manager")
        ui.installText.setText(text.format(names=namesOf(missing)))
        ui.installButton.setText(button.format(names=namesOf(missing)))

    def _askForEdits(self, output: Any) -> bool | None:
        """Whether edits of our segments are replaced; None to leave all as it is."""
        edited = slicer_bridge.edited_segments(output)
        if not edited:
            return False
        segments = [output.GetSegmentation().GetSegment(segmentID).GetName() for segmentID in edited]
        text = _(
            "{segments} in {name} was edited or comes from elsewhere. Replace it?\n\n"
            "Yes: replace it; Undo brings it back.\n"
            "No: keep it, and put the result into a new segmentation.\n"
            "Cancel: do nothing."
        ).format(segments=", ".join(segments), name=output.GetName())
        box = qt.QMessageBox
        answer = slicer.util.messageBox(
            text, windowTitle=_("Edited segments"), icon=box.Question, standardButtons=box.Yes | box.No | box.Cancel
        )
        return None if answer == box.Cancel else bool(answer == box.Yes)

    def _onJobOver(self, job: SegmentationJob) -> None:
        self.say("\n".join([job.message, *job.warnings]), isError=job.state == "failed")
        if job.state != "finished":
            return
        self._showResult(job)
        if job in self._started:
            self._started.remove(job)
            views.showOwnSegmentations()
            node = self._parameterNode
            if node is not None and node.show3D and _idOf(views.shownVolume()) == job.volumeID:
                views.showSurfaces(job.segmentationNode)

    def _showResult(self, job: SegmentationJob) -> None:
        """Show the numbers of a finished job; its nodes are chosen where its volume is."""
        self.results.show(job)
        node = self._parameterNode
        if node is not None and _idOf(node.inputVolume) == job.volumeID:
            node.outputSegmentation, node.resultsTable = job.segmentationNode, job.tableNode or node.resultsTable

    def _targets(self) -> list[str]:
        """What the model is to segment: the ticked of the targets that it knows, and all others that it has."""
        node, model = self._parameterNode, self.models.current
        if self.targets.isUsed:
            return self.targets.chosen
        labels = labels_for({1: MAIN_ORGAN, 2: LESION}) if model is None else model.about.labels
        off = {label.name for label in labels if label.is_lesion and not node.segmentTumor}
        if not node.segmentLiver:
            off.add(MAIN_ORGAN)
        return [label.name for label in labels if label.name not in off]

    def _start(self, volumes: list[Any], table: Any = None, **options: Any) -> list[SegmentationJob]:
        """Segment volumes with the choices of the panel; surfaces of a batch are made when a case is looked at."""
        node, model = self._parameterNode, self.models.current
        if node is None:
            return []
        jobs = self.logic.startAll(
            volumes,
            model=None if model is None else model.place,
            device=self.devices.current,
            targets=self._targets(),
            roi=node.roi,
            table=(table or True) if node.makeTable else None,
            **options,
        )
        self._started += [job for job in jobs if not job.isOver]
        for job in jobs:
            if job.isOver:
                self.say(job.message, isError=job.state == "failed")
        return jobs

    def _showCase(self, volume: Any, job: SegmentationJob | None) -> None:
        """Show a volume of the batch with what came of it, and choose it."""
        views.showVolume(volume)
        views.showOwnSegmentations()
        node = self._parameterNode
        if node is not None:
            node.inputVolume = volume
        if job is None or not job.isOver:
            return
        if job.state != "finished":
            self.say(job.message, isError=job.state == "failed")
            return
        self._showResult(job)
        if node is not None and node.show3D and job.segmentationNode is not None:
            views.showSurfaces(job.segmentationNode)
        self.update()

    def _segmentation(self) -> Any:
        """The segmentation that the buttons are for."""
        chosen = self._parameterNode.outputSegmentation if self._parameterNode is not None else None
        return chosen or (self.results.job.segmentationNode if self.results.job is not None else None)

    def _modelOf(self, segmentation: Any) -> str:
        """The model that wrote a segmentation, where the results shown are its."""
        job = self._jobOf(segmentation)
        return "" if job is None else job.model

    def _jobOf(self, segmentation: Any) -> SegmentationJob | None:
        """The job that wrote a segmentation, where the results shown are its."""
        job = self.results.job
        return job if job is not None and job.segmentationNode is segmentation else None

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

    def _onTargetsChanged(self, text: str) -> None:
        if self._parameterNode is not None:
            self._parameterNode.targets = text
        self.update()

    def _onCacheChanged(self, path: str = "") -> None:
        storeSetting("cache", str(path))
        self.logic.runner.transport.environment = workerEnvironment()


def _segmentToolTip(isBusy: bool, hasInput: bool, missing: str, hasTarget: bool) -> str:
    if isBusy:
        return _("Stop the segmentation; the scene stays as it is.")
    if not hasInput:
        return _("Choose a volume first.")
    if missing:
        return _("Choose the volume of {channel} first; the model needs it.").format(channel=missing)
    if not hasTarget:
        return _("Choose what to segment first.")
    return _("Segment the input volume. You can go on working meanwhile.")


def _idOf(node: Any) -> str | None:
    return None if node is None else str(node.GetID())
