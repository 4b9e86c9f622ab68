"""The widgets of the dialog of models: a search line, the list, what is known of one model, and buttons."""

from __future__ import annotations

from typing import Any

import qt
from slicer.i18n import tr as _

from LiverSegLib.models.transfer import Transfer
from LiverSegUI import widgets

_SIZE = (680, 620)
_STEPS = 1000


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
        self.table = widgets.textTable(_("Models"), [_("Model"), _("Images"), _("Size"), _("State")])
        self.table.setSelectionMode(qt.QAbstractItemView.SingleSelection)
        self.table.setShowGrid(False)
        self.details = qt.QTextBrowser()
        self.details.setOpenExternalLinks(True)
        self.details.setAccessibleName(_("What is known of the chosen model"))
        self.accept = qt.QCheckBox()
        self.bar = qt.QProgressBar()
        self.bar.setRange(0, _STEPS)
        self.bar.setAccessibleName(_("Progress of the installation"))
        self.status = widgets.sentenceLabel()
        self.main = widgets.button(_("Install"), "")
        self.main.setDefault(True)
        self.file = widgets.button(
            _("Install from file…"), _("A model that is on this computer: its zip or its folder.")
        )
        self.verify = widgets.button(_("Verify"), _("Compare every file of the model with its checksum."))
        self.remove = widgets.button(_("Remove"), _("Delete the model from this computer."))
        self.close = widgets.button(_("Close"), "")
        self._arrange()
        self.hideProgress()

    def fill(self, rows: list[tuple[str, ...]]) -> None:
        """Show one row of texts for each model."""
        widgets.fillTable(self.table, rows)

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
        widgets.say(self.status, sentence, isError)

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
