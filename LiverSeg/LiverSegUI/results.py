"""The results table of the panel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from LiverSegLib import slicer_bridge
from LiverSegLib.errors import LiverSegError
from LiverSegLib.io import write_measurements_csv
from LiverSegUI.job import SegmentationJob
from LiverSegUI.texts import lesionText, resultRows


class ResultsView:
    """Shows the measurements of one finished job, or of a table of the scene; copies and saves them.

    Args:
        ui: the panel's widgets.
        say: shows a sentence in the panel, as an error if its second argument says so.
    """

    def __init__(self, ui: Any, say: Any) -> None:
        self._ui, self._say = ui, say
        self.job: SegmentationJob | None = None
        self._rows: list[tuple[str, ...]] = []
        ui.resultsTable.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.Stretch)
        ui.copyButton.clicked.connect(self.copy)
        ui.csvButton.clicked.connect(self.askAndSave)
        self.clear()

    def show(self, job: SegmentationJob) -> None:
        """Fill the table from a finished job."""
        assert job.measurements is not None
        self.job = job
        lesions = lesionText(job.measurements, job.labels)
        text = f"{job.volumeName}: {lesions}" if lesions else job.volumeName
        rows, _unit, organ = resultRows(slicer_bridge.measurement_rows(job.measurements, job.labels))
        self._fill(rows, job.measurements.intensity_unit, organ, text)
        self._ui.resultsText.setToolTip(_("Segmented by {model}.").format(model=job.model))

    def showTable(self, tableNode: Any) -> None:
        """Fill the table from a table of the scene, for example one that was loaded; no other table than ours."""
        rows, unit, organ = resultRows(slicer_bridge.table_rows(tableNode))
        if rows:
            self.job = None
            self._fill(rows, unit, organ, _("From the table {name}.").format(name=tableNode.GetName()))

    def clear(self) -> None:
        """Show nothing."""
        self.job = None
        self._fill([], "", "", _("No results yet."))

    def copy(self, _checked: bool = False) -> None:
        """The table as text with tabs, on the clipboard."""
        slicer.app.clipboard().setText("\n".join("\t".join(row) for row in [self._titles, *self._rows]) + "\n")
        self._say(_("The table was copied."))

    def askAndSave(self, _checked: bool = False) -> None:
        """Ask for a file name and save."""
        if self.job is None:
            return
        proposal = str(Path.home() / f"{self.job.volumeName} liver.csv")
        title = _("Save measurements")
        chosen = qt.QFileDialog.getSaveFileName(self._ui.csvButton, title, proposal, "CSV (*.csv)")
        path = chosen[0] if isinstance(chosen, tuple) else chosen
        if path:
            self.save(Path(path))

    def save(self, path: Path) -> None:
        """Write volumes and lesions to a CSV file; what goes wrong is told in the panel."""
        assert self.job is not None
        assert self.job.measurements is not None
        try:
            write_measurements_csv(path, self.job.measurements)
            self._say(_("The measurements were saved to {path}.").format(path=path))
        except LiverSegError as error:
            self._say(str(error), True)

    def _fill(self, rows: list[tuple[str, ...]], unit: str, organ: str, text: str) -> None:
        self._rows = rows
        mean = _("Mean ± SD") + (f" ({unit})" if unit else "")
        share = [_("% of {organ}").format(organ=organ)] if organ else []
        self._titles = (_("Structure"), _("Volume (mL)"), mean, _("Diameter (mm)"), *share)
        self._ui.resultsText.setText(text)
        table = self._ui.resultsTable
        table.setColumnCount(len(self._titles))
        # Units on a line of their own leave a narrow panel room for the names.
        table.setHorizontalHeaderLabels([title.replace(" (", "\n(") for title in self._titles])
        table.setRowCount(len(rows))
        for number, row in enumerate(rows):
            for column, cell in enumerate(row):
                table.setItem(number, column, qt.QTableWidgetItem(cell))
        for column in range(1, len(self._titles)):
            table.resizeColumnToContents(column)
        table.setColumnHidden(3, not any(row[3] for row in rows))
        self._ui.copyButton.setEnabled(bool(rows))
        self._ui.csvButton.setEnabled(self.job is not None)
