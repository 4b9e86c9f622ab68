"""The further images of a case that a model of several needs: a selector for each, named as the model names them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from LiverSegLib.models.text import one_line

_ROW = Path(__file__).resolve().parents[1] / "Resources" / "UI" / "FurtherImage.ui"
_LONGEST_NAME = 24
_PREFIX = "furtherVolume."


class FurtherView:
    """The selectors; what is chosen is kept in the scene, for each name of an image apart.

    So a model that needs a T2 finds the T2 that was chosen for another one, and never takes it for something else.

    Args:
        ui: the panel's widgets.
        onChange: called when the user has chosen.
    """

    def __init__(self, ui: Any, onChange: Callable[[], None]) -> None:
        self._place, self._inputLabel, self._onChange = ui.furtherPlace, ui.inputLabel, onChange
        self._rows: list[Any] = []
        self._names: tuple[str, ...] = ()
        self._parameterNode: Any = None
        self._place.setVisible(False)

    def show(self, inputs: tuple[str, ...], parameterNode: Any) -> None:
        """Show a selector for each image of a case but the first, and what is chosen; None chooses nothing."""
        first, *further = inputs
        self._parameterNode = parameterNode
        if self._names != (*further,):
            self._names = (*further,)
            while len(self._rows) < len(further):
                self._rows.append(self._newRow(len(self._rows)))
            text = _("Input volume ({channel}):") if further else _("Input volume:")
            self._inputLabel.setText(text.format(channel=one_line(first, _LONGEST_NAME)))
            for number, row in enumerate(self._rows):
                row.FurtherImage.setVisible(number < len(further))
            for row, name in zip(self._rows, further, strict=False):
                row.channelLabel.setText(one_line(name, _LONGEST_NAME) + ":")
                tip = _("The {channel} of the same patient and place as the input volume.").format(channel=name)
                row.channelSelector.setToolTip(tip)
                row.channelSelector.setAccessibleName(name)
            self._place.setVisible(bool(further))
        for row, node in zip(self._rows, self._chosen(), strict=False):
            row.channelSelector.blockSignals(True)
            row.channelSelector.setCurrentNode(node)
            row.channelSelector.blockSignals(False)

    @property
    def isUsed(self) -> bool:
        """Whether the model needs further images."""
        return bool(self._names)

    @property
    def nodes(self) -> list[Any]:
        """The chosen volume nodes, in the model's order."""
        return [node for node in self._chosen() if node is not None]

    @property
    def missing(self) -> str:
        """Name of the first image that is not chosen yet; "" where none is missing."""
        return next((name for name, node in zip(self._names, self._chosen(), strict=True) if node is None), "")

    def forget(self) -> None:
        """Choose nothing, for any model: the input volume is another one, perhaps of another patient."""
        if self._parameterNode is not None:
            node = self._parameterNode.parameterNode
            roles = [node.GetNthNodeReferenceRole(number) for number in range(node.GetNumberOfNodeReferenceRoles())]
            for role in roles:
                if role.startswith(_PREFIX):
                    node.SetNodeReferenceID(role, None)

    def _chosen(self) -> list[Any]:
        node = self._parameterNode
        return [None if node is None else chosen(node, name) for name in self._names]

    def _newRow(self, number: int) -> Any:
        widget = slicer.util.loadUI(str(_ROW))
        row = slicer.util.childWidgetVariables(widget)
        row.FurtherImage = widget
        row.channelSelector.setMRMLScene(slicer.mrmlScene)
        # The signal has a second form with another argument, so the selector itself is asked.
        row.channelSelector.currentNodeChanged.connect(lambda *_about: self._onChosen(number))
        self._place.layout().addWidget(widget)
        return row

    def _onChosen(self, number: int) -> None:
        if self._parameterNode is not None and number < len(self._names):
            choose(self._parameterNode, self._names[number], self._rows[number].channelSelector.currentNode())
            self._onChange()


def chosen(parameterNode: Any, name: str) -> Any:
    """The volume node that a scene has for the image that models call `name`, or None."""
    return parameterNode.parameterNode.GetNodeReference(_role(name))


def choose(parameterNode: Any, name: str, node: Any) -> None:
    """Keep a volume node, or None, as the image that models call `name`."""
    parameterNode.parameterNode.SetNodeReferenceID(_role(name), None if node is None else node.GetID())


def _role(name: str) -> str:
    """The node reference's role; names of images hold spaces and signs that a scene file uses for other things."""
    return f"{_PREFIX}{name.encode().hex()}"
