"""Stand-ins for widgets that only the Slicer application has, each as thin as the calls that we make.

A test holds their names to those of the real classes.
"""

# The names are those of the real classes.
# ruff: noqa: N801, N802, N815

from __future__ import annotations

from typing import Any

import slicer
import vtk
from PySide6.QtCore import Property, QEvent, QPoint, QRect, Qt, Signal
from PySide6.QtGui import QMouseEvent, QPainter, QPolygon
from PySide6.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QStyle,
    QStyleOptionButton,
    QToolButton,
    QWidget,
)

_HEADER = 24


class qMRMLWidget(QWidget):
    """Hands the scene to the widgets inside, as the connections in the `.ui` file do in the application."""

    mrmlSceneChanged = Signal(object)

    def setMRMLScene(self, scene: Any) -> None:
        """Use a scene."""
        for child in self.findChildren(qMRMLNodeComboBox):
            child.setMRMLScene(scene)
        self.mrmlSceneChanged.emit(scene)


class qMRMLNodeComboBox(QWidget):
    """A list of the scene's nodes of certain classes."""

    currentNodeChanged = Signal(object)
    currentNodeIDChanged = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._tags: list[int] = []
        self._box = QComboBox()
        self._box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self._box.currentIndexChanged.connect(self._on_changed)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)

    def setMRMLScene(self, scene: Any) -> None:
        """Follow a scene; None for none."""
        for tag in self._tags:
            self._scene.RemoveObserver(tag)
        self._scene, self._tags = scene, []
        if scene is None:
            return
        events = (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndCloseEvent, scene.EndImportEvent)
        self._tags = [scene.AddObserver(event, self._refill) for event in events]
        self._refill()

    def currentNode(self) -> Any:
        """The chosen node or None."""
        node_id = self._box.currentData()
        return self._scene.GetNodeByID(node_id) if node_id and self._scene else None

    def setCurrentNode(self, node: Any) -> None:
        """Choose a node; None for none."""
        index = self._box.findData(node.GetID()) if node is not None else -1
        none = self._box.findData("")
        self._box.setCurrentIndex(index if index >= 0 else none)

    def addNode(self) -> Any:
        """What the entry "Create new ..." does."""
        name = self._scene.GenerateUniqueName(self.property("baseName") or "Node")
        node = self._scene.AddNewNodeByClass(self.property("nodeTypes")[0], name)
        self.setCurrentNode(node)
        return node

    def _refill(self, *_: Any) -> None:
        if self._scene.IsBatchProcessing():
            return  # as the real one: the list follows when a scene is loaded, not while
        wanted = self._box.currentData()
        self._box.blockSignals(True)
        self._box.clear()
        if self.property("noneEnabled"):
            self._box.addItem(self.property("noneDisplay") or "None", "")
        for number in range(self._scene.GetNumberOfNodes()):
            node = self._scene.GetNthNode(number)
            if node.GetClassName() in (self.property("nodeTypes") or []) and not node.GetHideFromEditors():
                self._box.addItem(node.GetName(), node.GetID())
        index = self._box.findData(wanted)
        self._box.setCurrentIndex(index if index >= 0 else (0 if self._box.count() else -1))
        self._box.blockSignals(False)
        if self._box.currentData() != wanted:
            self._on_changed()

    def _on_changed(self, _index: int = 0) -> None:
        node = self.currentNode()
        self.currentNodeChanged.emit(node)
        self.currentNodeIDChanged.emit(node.GetID() if node is not None else "")


class qMRMLSegmentationShow3DButton(QPushButton):
    """Makes and removes the closed surfaces of a segmentation, and follows what others do to them."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Show 3D \u25be", parent)  # the real one has a menu behind the arrow
        self._node: Any = None
        self._tags: list[int] = []
        self.setCheckable(True)
        self.setEnabled(False)
        self.toggled.connect(self._on_toggled)

    def segmentationNode(self) -> Any:
        """The node or None."""
        return self._node

    def setSegmentationNode(self, node: Any) -> None:
        """Follow a node; None for none."""
        if node is self._node:
            return
        for tag in self._tags:
            self._node.RemoveObserver(tag)
        self._node = node
        events = (vtk.vtkCommand.ModifiedEvent, slicer.vtkSegmentation.ContainedRepresentationNamesModified)
        self._tags = [] if node is None else [node.AddObserver(event, self._update) for event in events]
        self._update()

    def _update(self, *_: Any) -> None:
        segmentation = None if self._node is None else self._node.GetSegmentation()
        self.setEnabled(segmentation is not None and segmentation.GetNumberOfSegments() > 0)
        if segmentation is not None:
            self.blockSignals(True)
            self.setChecked(segmentation.ContainsRepresentation("Closed surface"))
            self.blockSignals(False)

    def _on_toggled(self, on: bool) -> None:
        if self._node is None:
            return
        if on:
            self._node.GetSegmentation().CreateRepresentation("Closed surface")
        else:
            self._node.GetSegmentation().RemoveRepresentation("Closed surface")


class qSlicerMarkupsPlaceWidget(QWidget):
    """A button that makes the next clicks into a view place the points of a markup."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._node: Any = None
        self._button = QToolButton()
        self._button.setText("+")
        self._button.setCheckable(True)
        self._button.toggled.connect(self.setPlaceModeEnabled)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._button)

    def setMRMLScene(self, scene: Any) -> None:
        """Use a scene."""

    def placeButton(self) -> QToolButton:
        """The button."""
        return self._button

    def setButtonsVisible(self, visible: bool) -> None:
        """Show or hide all buttons."""
        self._button.setVisible(visible)

    def currentNode(self) -> Any:
        """The markup or None."""
        return self._node

    def setCurrentNode(self, node: Any) -> None:
        """Place the points of this markup; None for none."""
        self._node = node
        self._button.setEnabled(node is not None)

    def setPlaceModeEnabled(self, enable: bool) -> None:
        """Begin or end placing."""
        self._button.setChecked(enable)


class SegmentEditor:
    """What we ask of the Segment Editor: which nodes it works on, and a state to undo to."""

    def __init__(self) -> None:
        self.segmentation: Any = None
        self.volume: Any = None
        self.saved = 0

    def segmentationNode(self) -> Any:
        """The edited segmentation or None."""
        return self.segmentation

    def setSegmentationNode(self, node: Any) -> None:
        """Edit this segmentation."""
        self.segmentation = node

    def setSourceVolumeNode(self, node: Any) -> None:
        """Edit it on this volume."""
        self.volume = node

    def saveStateForUndo(self) -> None:
        """Remember the segments."""
        self.saved += 1


class ctkCollapsibleButton(QWidget):
    """A titled section that can be folded."""

    contentsCollapsed = Signal(bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._text, self._collapsed = "", False
        self._folded: list[QWidget] = []
        self.setContentsMargins(0, _HEADER, 0, 0)

    def _get_text(self) -> str:
        return self._text

    def _set_text(self, text: str) -> None:
        self._text = text
        self.update()

    def _is_collapsed(self) -> bool:
        return self._collapsed

    def _set_collapsed(self, collapsed: bool) -> None:
        self._collapsed = collapsed
        self._apply()
        self.contentsCollapsed.emit(collapsed)

    text = Property(str, _get_text, _set_text)
    collapsed = Property(bool, _is_collapsed, _set_collapsed)

    def _apply(self) -> None:
        # As in CTK, what its owner has hidden stays hidden.
        for child in self._folded:
            child.setVisible(True)
        children = self.findChildren(QWidget, options=Qt.FindChildOption.FindDirectChildrenOnly)
        self._folded = [child for child in children if self._collapsed and not child.isHidden()]
        for child in self._folded:
            child.setVisible(False)
        self.setMaximumHeight(_HEADER if self._collapsed else 16777215)
        self.updateGeometry()

    def event(self, event: QEvent) -> bool:
        """Fold and unfold at a click; children that come later are folded when the section is shown."""
        if event.type() == QEvent.Type.Polish:
            self._apply()
        if (
            isinstance(event, QMouseEvent)
            and event.type() == QEvent.Type.MouseButtonPress
            and event.position().y() < _HEADER
        ):
            self._set_collapsed(not self._collapsed)
            return True
        return super().event(event)

    def paintEvent(self, _event: Any) -> None:
        """The header."""
        painter = QPainter(self)
        option = QStyleOptionButton()
        option.initFrom(self)
        option.rect = QRect(0, 0, self.width(), _HEADER - 2)
        option.state |= QStyle.StateFlag.State_Raised
        self.style().drawControl(QStyle.ControlElement.CE_PushButtonBevel, option, painter, self)
        painter.setPen(self.palette().buttonText().color())
        painter.setBrush(self.palette().buttonText())
        x, y = 10, _HEADER // 2 - 1
        arrow = [(-3, -4), (4, 0), (-3, 4)] if self._collapsed else [(-4, -3), (4, -3), (0, 4)]
        painter.drawPolygon(QPolygon([QPoint(x + a, y + b) for a, b in arrow]))
        inside = option.rect.adjusted(22, 0, -4, 0)
        painter.drawText(inside, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, self._text)


class ctkPathLineEdit(QWidget):
    """A line for a path."""

    currentPathChanged = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._edit, button = QLineEdit(), QToolButton()
        button.setText("…")
        self._edit.textChanged.connect(self.currentPathChanged)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._edit)
        layout.addWidget(button)

    def setCurrentPath(self, path: str) -> None:
        """Choose a path."""
        self._edit.setText(path)


WIDGETS = (
    qMRMLWidget,
    qMRMLNodeComboBox,
    ctkCollapsibleButton,
    ctkPathLineEdit,
    qMRMLSegmentationShow3DButton,
    qSlicerMarkupsPlaceWidget,
)
for _widget in (qMRMLWidget, qMRMLNodeComboBox, qMRMLSegmentationShow3DButton, qSlicerMarkupsPlaceWidget):
    setattr(slicer, _widget.__name__, _widget)
