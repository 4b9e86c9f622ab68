"""The results table of the panel."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import qt
import slicer
from slicer.i18n import tr as _

from LiverSegLib.io import write_measurements_csv
from LiverSegLib.volume import Result
from LiverSegUI.job import SegmentationJob
from LiverSegUI.texts import resultRows


class ResultsView:
    """Shows the measurements of one finished job, copies and saves them.

    Args:
        ui: the panel's widgets.
        say: shows a sentence in the panel.
    """

    def __init__(self, ui: Any, say: Any) -> None:
        self._ui, self._say = ui, say
        self.job: SegmentationJob | None = None
        ui.copyButton.clicked.connect(self.copy)
        ui.csvButton.clicked.connect(self.askAndSave)
        self.show(None)

    def show(self, job: SegmentationJob | None) -> None:
        """Fill the table from a finished job; None empties it."""
        self.job = job if job is not None and job.measurements is not None else None
        text = _("No results yet.")
        if self.job is not None:
            text = _("{volume}, by {model}").format(volume=self.job.volumeName, model=self.job.model)
        self._ui.resultsText.setText(text)
        rows = self._rows()
        table = self._ui.resultsTable
        table.setRowCount(len(rows))
        for number, row in enumerate(rows):
            for column, text in enumerate(row):
                table.setItem(number, column, qt.QTableWidgetItem(text))
        table.resizeColumnToContents(0)
        for button in (self._ui.copyButton, self._ui.csvButton):
            button.setEnabled(self.job is not None)

    def copy(self, _checked: bool = False) -> None:
        """The table as text with tabs, on the clipboard."""
        slicer.app.clipboard().setText("\n".join("\t".join(row) for row in self._rows()) + "\n")
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
        """Write volumes and lesions to a CSV file.

        Raises:
            OutputError: the file cannot be written.
        """
        job = self.job
        if job is None or job.measurements is None:
            return
        nothing = np.zeros((1, 1, 1), np.uint8)
        result = replace(Result(nothing, np.eye(4), job.labels, job.measurements), model=job.model)
        write_measurements_csv(path, result)
        self._say(_("The measurements were saved to {path}.").format(path=path))

    def _rows(self) -> list[tuple[str, str]]:
        if self.job is None or self.job.measurements is None:
            return []
        return resultRows(self.job.measurements)
