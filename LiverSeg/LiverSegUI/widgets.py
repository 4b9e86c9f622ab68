"""Widgets that the dialogs have in common: a button, a table of texts, and a line that says a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import qt


def button(text: str, toolTip: str) -> Any:
    """A push button that Return does not press by chance."""
    made = qt.QPushButton(text)
    made.setToolTip(toolTip)
    made.setAutoDefault(False)
    return made


def textTable(name: str, titles: Sequence[str]) -> Any:
    """A table to look at and to choose rows of; the first column takes the room that is left."""
    table = qt.QTableWidget(0, len(titles))
    table.setAccessibleName(name)
    table.setHorizontalHeaderLabels(list(titles))
    table.setSelectionBehavior(qt.QAbstractItemView.SelectRows)
    table.setEditTriggers(qt.QAbstractItemView.NoEditTriggers)
    table.setTabKeyNavigation(False)
    table.verticalHeader().setVisible(False)
    header = table.horizontalHeader()
    header.setSectionResizeMode(0, qt.QHeaderView.Stretch)
    for column in range(1, len(titles)):
        header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
    return table


def fillTable(table: Any, rows: Sequence[Sequence[str]]) -> None:
    """Show these rows of texts, without telling anybody of a change; a text that is cut off is in its tool tip."""
    table.blockSignals(True)
    table.setRowCount(len(rows))
    for row, texts in enumerate(rows):
        for column, text in enumerate(texts):
            item = qt.QTableWidgetItem(text)
            item.setToolTip(text)
            table.setItem(row, column, item)
    table.blockSignals(False)


def sentenceLabel() -> Any:
    """A line below a dialog that says what happens."""
    label = qt.QLabel()
    label.setWordWrap(True)
    label.setTextFormat(qt.Qt.PlainText)
    return label


def say(label: Any, sentence: str, isError: bool = False) -> None:
    """Show a sentence; an error with a warning sign."""
    label.setText(f"\u26a0 {sentence}" if isError else sentence)
