"""The table of several volumes: which to segment, how far each is, and what came out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from LiverSegUI.job import SegmentationJob
from LiverSegUI.texts import percent


class BatchView:
    """Keeps one row for each scalar volume of the scene.

    Args:
        ui: the panel's widgets.
        start: segments a list of volume nodes and gives their jobs.
    """

    def __init__(self, ui: Any, start: Callable[[list[Any]], list[SegmentationJob]]) -> None:
        self._ui, self._start = ui, start
        self._ids: list[str] = []
        self._jobs: dict[str, SegmentationJob] = {}
        ui.batchAllButton.clicked.connect(self.markAll)
        ui.batchRunButton.clicked.connect(self.run)
        ui.batchTable.itemChanged.connect(self._onItemChanged)
        self._filling = False
        ui.batchTable.setColumnWidth(0, 90)  # names are longer than numbers; all fits into 300 pixels

    def refresh(self) -> None:
        """Bring the rows up to date with the scene and the jobs; marks are kept."""
        marked = set(self.marked())
        nodes = [n for n in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if _isPlainVolume(n)]
        self._jobs = {key: job for key, job in self._jobs.items() if slicer.mrmlScene.GetNodeByID(key) is not None}
        self._ids = [node.GetID() for node in nodes]
        self._filling = True
        try:
            table = self._ui.batchTable
            table.setRowCount(len(nodes))
            for row, node in enumerate(nodes):
                item = qt.QTableWidgetItem(node.GetName())
                item.setToolTip(node.GetName())
                item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsUserCheckable)
                item.setCheckState(qt.Qt.Checked if node.GetID() in marked else qt.Qt.Unchecked)
                table.setItem(row, 0, item)
                for column, text in enumerate(self._texts(self._jobs.get(node.GetID())), start=1):
                    table.setItem(row, column, qt.QTableWidgetItem(text))
        finally:
            self._filling = False
        self._onItemChanged()

    def update(self) -> None:
        """Show how far the jobs are."""
        for row, nodeID in enumerate(self._ids):
            for column, text in enumerate(self._texts(self._jobs.get(nodeID)), start=1):
                item = self._ui.batchTable.item(row, column)
                if item is not None and item.text() != text:
                    item.setText(text)
                    item.setToolTip(text)

    def marked(self) -> list[str]:
        """IDs of the marked volumes."""
        table = self._ui.batchTable
        found = []
        for row, nodeID in enumerate(self._ids):
            item = table.item(row, 0)
            if item is not None and item.checkState() == qt.Qt.Checked:
                found.append(nodeID)
        return found

    def markAll(self, _checked: bool = False) -> None:
        """Mark all rows, or none if all are marked."""
        state = qt.Qt.Unchecked if len(self.marked()) == len(self._ids) else qt.Qt.Checked
        for row in range(len(self._ids)):
            self._ui.batchTable.item(row, 0).setCheckState(state)

    def run(self, _checked: bool = False) -> None:
        """Segment the marked volumes."""
        nodes = [slicer.mrmlScene.GetNodeByID(nodeID) for nodeID in self.marked()]
        for job in self._start([node for node in nodes if node is not None]):
            self._jobs[job.volumeID] = job
        self.update()

    def clear(self) -> None:
        """Forget rows and jobs: the scene is closed."""
        self._ids, self._jobs = [], {}
        self._ui.batchTable.setRowCount(0)

    def _onItemChanged(self, _item: Any = None) -> None:
        if not self._filling:
            self._ui.batchRunButton.setEnabled(bool(self.marked()))

    def _texts(self, job: SegmentationJob | None) -> tuple[str, str, str]:
        """State, liver and tumor of a row."""
        if job is None:
            return "", "", ""
        states = {
            "waiting": _("waiting"),
            "running": f"{percent(job.progress)} %",
            "finished": _("done"),
            "cancelled": _("stopped"),
            "failed": job.message,
        }
        volumes = {s.name: f"{s.volume_ml:.1f}" for s in (job.measurements.segments if job.measurements else ())}
        return states[job.state], volumes.get("liver", ""), volumes.get("tumor", "")


def _isPlainVolume(node: Any) -> bool:
    return node.GetClassName() == "vtkMRMLScalarVolumeNode" and not node.GetHideFromEditors()
