"""What a model of many labels is to segment: a list with check marks, and a line that searches it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt

from LiverSegLib.models import ModelDescription
from LiverSegLib.models.spec import MANY_LABELS

_SEPARATOR = "\n"


class TargetsView:
    """The list; what is checked is kept as a text in the scene, "" for what the model does unless told otherwise.

    Args:
        ui: the panel's widgets.
        onChange: called with that text when the user has changed it.
    """

    def __init__(self, ui: Any, onChange: Callable[[str], None]) -> None:
        self._place, self._list = ui.targetsPlace, ui.targetsList
        self._onChange = onChange
        self._about: ModelDescription | None = None
        self._names: list[str] = []
        self._text: str | None = None
        ui.targetsSearch.textChanged.connect(self._onSearch)
        ui.targetsAllButton.clicked.connect(lambda _checked=False: self._check(self._names))
        ui.targetsNoneButton.clicked.connect(lambda _checked=False: self._check([]))
        self._list.itemChanged.connect(self._onItemChanged)
        self._place.setVisible(False)

    def show(self, about: ModelDescription | None, text: str) -> None:
        """Show the labels of a model, and which of them are chosen; nothing for a model of few."""
        isUsed = needsList(about)
        self._place.setVisible(isUsed)
        if not isUsed or about is None:
            self._about = None
            return
        if about is self._about and text == self._text:
            return
        if about is not self._about:
            self._fill(about)
        chosen = self._chosenOf(text)
        self._text = text
        self._list.blockSignals(True)
        for row, name in enumerate(self._names):
            self._list.item(row).setCheckState(qt.Qt.Checked if name in chosen else qt.Qt.Unchecked)
        self._list.blockSignals(False)

    @property
    def isUsed(self) -> bool:
        """Whether the model has more labels than fit beside each other."""
        return self._about is not None

    @property
    def chosen(self) -> list[str]:
        """Names of the labels that are checked."""
        items = [self._list.item(row) for row in range(len(self._names))]
        return [name for name, item in zip(self._names, items, strict=True) if item.checkState() == qt.Qt.Checked]

    def _chosenOf(self, text: str) -> list[str]:
        assert self._about is not None
        known = [name for name in text.split(_SEPARATOR) if name in self._names]
        return known if known or text == _SEPARATOR else list(self._about.default_targets)

    def _fill(self, about: ModelDescription) -> None:
        self._about = about
        default = about.default_targets
        labels = sorted(about.labels, key=lambda label: label.name not in default)  # what most want stands above
        self._names = [label.name for label in labels]
        self._list.blockSignals(True)
        self._list.clear()
        for label in labels:
            item = qt.QListWidgetItem(label.display_name)
            item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable | qt.Qt.ItemIsUserCheckable)
            item.setCheckState(qt.Qt.Unchecked)
            self._list.addItem(item)
        self._list.blockSignals(False)

    def _check(self, names: list[str]) -> None:
        """Check these of the labels that are shown; those that the search hides stay as they are."""
        self._list.blockSignals(True)
        for row, name in enumerate(self._names):
            if not self._list.isRowHidden(row):
                self._list.item(row).setCheckState(qt.Qt.Checked if name in names else qt.Qt.Unchecked)
        self._list.blockSignals(False)
        self._onItemChanged()

    def _onItemChanged(self, _item: Any = None) -> None:
        # A separator alone: nothing at all, which is not the model's own choice.
        self._text = _SEPARATOR.join(self.chosen) or _SEPARATOR
        self._onChange(self._text)

    def _onSearch(self, text: str = "") -> None:
        words = str(text).lower().replace("_", " ").split()
        for row, name in enumerate(self._names):
            shown = f"{name} {self._list.item(row).text()}".lower().replace("_", " ")
            self._list.setRowHidden(row, not all(word in shown for word in words))


def needsList(about: ModelDescription | None) -> bool:
    """Whether two check boxes cannot say what a model is to segment."""
    return about is not None and (len(about.labels) > MANY_LABELS or len(about.default_targets) < len(about.labels))
