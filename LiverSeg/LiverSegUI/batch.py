"""The batch table: which volumes to segment, how far each is, what came out, and the way to see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from LiverSegLib.labels import MAIN_ORGAN
from LiverSegUI.job import SegmentationJob

_TUMOR = 3


class BatchView:
    """Keeps one row for each scalar volume of the scene.

    Args:
        ui: the panel's widgets.
        start: segments a list of volume nodes and gives their jobs.
        show: called with a volume node and its job or None at a click on its row.
    """

    def __init__(
        self,
        ui: Any,
        start: Callable[[list[Any]], list[SegmentationJob]],
        show: Callable[[Any, SegmentationJob | None], None],
    ) -> None:
        self._ui, self._start, self._show = ui, start, show
        self._ids: list[str] = []
        self._jobs: dict[str, SegmentationJob] = {}
        self._round: list[SegmentationJob] = []
        self._canRun = True
        self._checking = False
        ui.batchAllButton.clicked.connect(self.markAll)
        ui.batchRunButton.clicked.connect(self.run)
        ui.batchTable.itemChanged.connect(self._onItemChanged)
        ui.batchTable.cellClicked.connect(self._onCellClicked)
        ui.batchTable.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.Stretch)

    def refresh(self) -> None:
        """Bring the rows up to date with the scene and the jobs; marks are kept."""
        marked = set(self.marked())
        nodes = [n for n in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if _isPlainVolume(n)]
        self._jobs = {key: job for key, job in self._jobs.items() if slicer.mrmlScene.GetNodeByID(key) is not None}
        self._ids = [node.GetID() for node in nodes]
        table = self._ui.batchTable
        table.blockSignals(True)
        table.setRowCount(len(nodes))
        for row, node in enumerate(nodes):
            item = qt.QTableWidgetItem(node.GetName())
            item.setToolTip(node.GetName())
            item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable | qt.Qt.ItemIsUserCheckable)
            item.setCheckState(qt.Qt.Checked if node.GetID() in marked else qt.Qt.Unchecked)
            table.setItem(row, 0, item)
            for column in (1, 2, _TUMOR):
                table.setItem(row, column, qt.QTableWidgetItem(""))
        table.blockSignals(False)
        self.update()

    def update(self) -> None:
        """Show how far the jobs are."""
        for row, nodeID in enumerate(self._ids):
            job = self._jobs.get(nodeID)
            for column, text in enumerate(_texts(job), start=1):
                item = self._ui.batchTable.item(row, column)
                if item.text() != text:
                    item.setText(text)
                    item.setToolTip(job.message if job is not None and job.message else text)
        count, done, bar = len(self._round), sum(job.isOver for job in self._round), self._ui.batchProgressBar
        bar.setRange(0, max(1, count))
        bar.setValue(done)
        bar.setFormat(_("{done} of {count} done").format(done=done, count=count) if count else "")
        self._updateButton()

    def allow(self, canRun: bool, withTumor: bool, needsFurther: bool) -> None:
        """Whether a batch can be started, and what the model has to show and needs.

        Args:
            canRun: what a batch needs is there.
            withTumor: the model marks tumors.
            needsFurther: the model takes several images of a case, of which a row of the table is but one.
        """
        self._canRun = canRun and not needsFurther
        self._ui.batchRunButton.setToolTip(
            _("The model needs several images of a case; segment one case at a time with the Segment button.")
            if needsFurther
            else _("Segment the checked volumes one after the other with the model and the options above.")
        )
        self._ui.batchTable.setColumnHidden(_TUMOR, not withTumor)
        self._updateButton()

    def marked(self) -> list[str]:
        """IDs of the marked volumes."""
        items = [self._ui.batchTable.item(row, 0) for row in range(len(self._ids))]
        return [self._ids[row] for row, item in enumerate(items) if item.checkState() == qt.Qt.Checked]

    def markAll(self, _checked: bool = False) -> None:
        """Mark all rows, or none if all are marked."""
        state = qt.Qt.Unchecked if len(self.marked()) == len(self._ids) else qt.Qt.Checked
        for row in range(len(self._ids)):
            self._ui.batchTable.item(row, 0).setCheckState(state)

    def run(self, _checked: bool = False) -> None:
        """Segment the marked volumes."""
        nodes = [slicer.mrmlScene.GetNodeByID(nodeID) for nodeID in self.marked()]
        started = self._start([node for node in nodes if node is not None])
        # More volumes while a batch runs lengthen it.
        self._round = [job for job in self._round if not all(old.isOver for old in self._round)] + started
        for job in started:
            self._jobs[job.volumeID] = job
        self.update()

    def clear(self) -> None:
        """Forget rows and jobs: the scene is closed."""
        self._ids, self._jobs, self._round = [], {}, []
        self._ui.batchTable.setRowCount(0)
        self.update()

    def _updateButton(self) -> None:
        self._ui.batchRunButton.setEnabled(self._canRun and bool(self.marked()))

    def _onItemChanged(self, _item: Any = None) -> None:
        self._updateButton()
        # The click that checks a row does not ask for its case as well.
        self._checking = True
        qt.QTimer.singleShot(0, self._onChecked)

    def _onChecked(self) -> None:
        self._checking = False

    def _onCellClicked(self, row: int, _column: int = 0) -> None:
        if self._checking or not 0 <= row < len(self._ids):
            return
        node = slicer.mrmlScene.GetNodeByID(self._ids[row])
        if node is not None:
            self._show(node, self._jobs.get(self._ids[row]))


def _texts(job: SegmentationJob | None) -> tuple[str, ...]:
    """State, liver and tumor of a row."""
    if job is None:
        return "", "", ""
    states = {"waiting": _("waiting"), "finished": _("done"), "cancelled": _("stopped"), "failed": _("failed")}
    state = states.get(job.state, f"{job.percent} %")
    segments, organs = (job.measurements.segments, job.measurements.organs) if job.measurements else ((), ())
    organ = [part.volume_ml for part in (*segments, *organs) if part.name == MAIN_ORGAN]
    lesionNames = [label.name for label in job.labels if label.is_lesion]
    lesions = [part.volume_ml for part in segments if part.name in lesionNames]
    return state, *(f"{sum(found):.1f}" if found else "" for found in (organ, lesions))


def _isPlainVolume(node: Any) -> bool:
    return node.GetClassName() == "vtkMRMLScalarVolumeNode" and not node.GetHideFromEditors()
