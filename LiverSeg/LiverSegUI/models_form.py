"""The widgets of the dialog of models: a search line, the list, what is known of one model, and buttons."""

from __future__ import annotations

from typing import Any

import qt
from slicer.i18n import tr as _

from LiverSegLib.models.transfer import Transfer

_SIZE = (680, 620)
_STEPS = 1000
_COLUMNS = 4


class ModelsForm:
    """Builds and fills the widgets; what they do is decided by `ModelsDialog`.

    Args:
        parent: the widget that the dialog belongs to.
    """

    def __init__(self, parent: Any) -> None:
        self.dialog = qt.QDialog(parent)
        self.dialog.setWindowTitle(_("Models"))
        self.dialog.resize(*_SIZE)
        self.search = qt.QLineEdit()
        self.search.setPlaceholderText(_("Search: an organ, CT or MR, a license…"))
        self.search.setClearButtonEnabled(True)
        self.search.setAccessibleName(_("Search for models"))
        self.table = _table()
        self.details = qt.QTextBrowser()
        self.details.setOpenExternalLinks(True)
        self.details.setAccessibleName(_("What is known of the chosen model"))
        self.accept = qt.QCheckBox()
        self.bar = qt.QProgressBar()
        self.bar.setRange(0, _STEPS)
        self.bar.setAccessibleName(_("Progress of the installation"))
        self.status = qt.QLabel()
        self.status.setWordWrap(True)
        self.status.setTextFormat(qt.Qt.PlainText)
        self.main = _button(_("Install"), "")
        self.main.setDefault(True)
        self.file = _button(_("Install from file…"), _("A model that is on this computer: its zip or its folder."))
        self.verify = _button(_("Verify"), _("Compare every file of the model with its checksum."))
        self.remove = _button(_("Remove"), _("Delete the model from this computer."))
        self.close = _button(_("Close"), "")
        self._arrange()
        self.hideProgress()

    def fill(self, rows: list[tuple[str, ...]]) -> None:
        """Show one row of texts for each model."""
        self.table.blockSignals(True)
        self.table.setRowCount(len(rows))
        for row, texts in enumerate(rows):
            for column, text in enumerate(texts):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(text)
                self.table.setItem(row, column, item)
        self.table.blockSignals(False)

    def choose(self, row: int) -> None:
        """Select a row."""
        self.table.selectRow(row)

    def showRows(self, shown: list[bool]) -> None:
        """Hide the rows of models that are not searched for."""
        for row, isShown in enumerate(shown):
            self.table.setRowHidden(row, not isShown)
        row = self.table.currentRow()
        if not (0 <= row < len(shown) and shown[row]) and any(shown):
            self.choose(shown.index(True))

    def say(self, sentence: str, isError: bool = False) -> None:
        """Show a sentence; an error with a warning sign."""
        self.status.setText(f"\u26a0 {sentence}" if isError else sentence)

    def showProgress(self, transfer: Transfer | None) -> None:
        """Show how far the installation is; None for its very beginning."""
        self.bar.setVisible(True)
        self.bar.setValue(_STEPS * transfer.done // transfer.total if transfer is not None and transfer.total else 0)
        self.bar.setFormat("")
        self.status.setText(_("Starting…") if transfer is None else transfer.text)

    def hideProgress(self) -> None:
        """Nothing runs any more."""
        self.bar.setVisible(False)

    def _arrange(self) -> None:
        buttons = qt.QHBoxLayout()
        for button in (self.file, self.verify, self.remove):
            buttons.addWidget(button)
        buttons.addStretch(1)
        for button in (self.main, self.close):
            buttons.addWidget(button)
        layout = qt.QVBoxLayout(self.dialog)
        layout.addWidget(self.search)
        layout.addWidget(self.table, 3)
        layout.addWidget(self.details, 2)
        layout.addWidget(self.accept)
        layout.addWidget(self.bar)
        layout.addWidget(self.status)
        layout.addLayout(buttons)


def _table() -> Any:
    table = qt.QTableWidget(0, _COLUMNS)
    table.setAccessibleName(_("Models"))
    table.setHorizontalHeaderLabels([_("Model"), _("Images"), _("Size"), _("State")])
    table.setSelectionBehavior(qt.QAbstractItemView.SelectRows)
    table.setSelectionMode(qt.QAbstractItemView.SingleSelection)
    table.setEditTriggers(qt.QAbstractItemView.NoEditTriggers)
    table.setTabKeyNavigation(False)
    table.setShowGrid(False)
    table.verticalHeader().setVisible(False)
    header = table.horizontalHeader()
    header.setSectionResizeMode(0, qt.QHeaderView.Stretch)
    for column in range(1, _COLUMNS):
        header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
    return table


def _button(text: str, toolTip: str) -> Any:
    button = qt.QPushButton(text)
    button.setToolTip(toolTip)
    button.setAutoDefault(False)
    return button
