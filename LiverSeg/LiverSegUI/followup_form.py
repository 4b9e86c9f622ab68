"""The widgets of the dialog that compares two scans: what to compare, and the table of what has changed."""

from __future__ import annotations

from typing import Any

import qt
from slicer.i18n import tr as _

from LiverSegUI import widgets

_SIZE = (720, 460)
_TITLES = (_("Lesion"), _("Baseline"), _("Follow-up"), _("Diameter (mm)"), _("Change"), _("Volume (mL)"), _("Change"))


class FollowupForm:
    """Builds and fills the widgets; what they do is decided by `FollowupDialog`.

    Args:
        parent: the widget that the dialog belongs to.
    """

    def __init__(self, parent: Any) -> None:
        self.dialog = qt.QDialog(parent)
        self.dialog.setWindowTitle(_("Compare two scans of one patient"))
        self.dialog.resize(*_SIZE)
        self.baseline = _choice(_("Segmentation of the earlier scan"))
        self.followup = _choice(_("Segmentation of the later scan"))
        self.alignment = _choice(_("How the later scan comes onto the earlier one"))
        self.table = widgets.textTable(_("Changes of the lesions"), _TITLES)
        self.status = widgets.sentenceLabel()
        self.compare = widgets.button(_("Compare…"), _("Choose a folder for the page, and compare."))
        self.page = widgets.button(_("Open the page"), _("The table with pictures of each lesion at both times."))
        self.page.setEnabled(False)
        self.close = widgets.button(_("Close"), "")
        layout = qt.QVBoxLayout(self.dialog)
        for text, box in (
            (_("Earlier scan"), self.baseline),
            (_("Later scan"), self.followup),
            (_("Alignment"), self.alignment),
        ):
            layout.addLayout(_row(text, box))
        layout.addWidget(self.status)
        layout.addWidget(self.table, 1)
        buttons = qt.QHBoxLayout()
        buttons.addWidget(self.compare)
        buttons.addWidget(self.page)
        buttons.addStretch(1)
        buttons.addWidget(self.close)
        layout.addLayout(buttons)

    def offer(self, box: Any, entries: list[tuple[str, str]], chosen: str) -> None:
        """Fill a box with texts and what they stand for, and choose one."""
        box.clear()
        for text, data in entries:
            box.addItem(text, data)
        box.setCurrentIndex(max(0, box.findData(chosen)))

    def fill(self, rows: list[tuple[str, ...]]) -> None:
        """Show the rows of the table."""
        widgets.fillTable(self.table, rows)

    def say(self, sentence: str, isError: bool = False) -> None:
        """Show a sentence; an error with a warning sign."""
        widgets.say(self.status, sentence, isError)


def _choice(name: str) -> Any:
    box = qt.QComboBox()
    box.setAccessibleName(name)
    box.setToolTip(name)
    box.setSizeAdjustPolicy(qt.QComboBox.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(24)
    return box


def _row(text: str, box: Any) -> Any:
    row = qt.QHBoxLayout()
    label = qt.QLabel(text)
    label.setMinimumWidth(90)
    row.addWidget(label)
    row.addWidget(box, 1)
    return row
