"""What can be done with a segmentation that is there: show it in 3D, edit, export, undo."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from LiverSegLib import slicer_bridge
from LiverSegLib.errors import LiverSegError
from LiverSegUI import views
from LiverSegUI.menus import MenuEntry, addMenu


class SegmentationActions:
    """The buttons that work on the chosen segmentation.

    Args:
        ui: the panel's widgets.
        say: shows a sentence in the panel, as an error if its second argument says so.
        segmentation: gives the chosen segmentation or None.
        more: further entries of the menu of exports, each a text and what to call.
    """

    def __init__(
        self, ui: Any, say: Callable[..., None], segmentation: Callable[[], Any], more: list[MenuEntry]
    ) -> None:
        self._ui, self._say, self._segmentation = ui, say, segmentation
        # Slicer's own button, with its menu of smoothing; it follows the node by itself.
        self.show3DButton = slicer.qMRMLSegmentationShow3DButton()
        self.show3DButton.setToolTip(_("Show the segments in 3D, or hide them; the arrow has smoothing."))
        self.show3DButton.clicked.connect(self._onShow3D)
        ui.show3DPlace.layout().insertWidget(0, self.show3DButton)
        ui.editButton.clicked.connect(self.edit)
        kinds = ((_("Label map (NRRD)…"), "NRRD"), (_("Label map (NIfTI)…"), "NIfTI"), (_("Surfaces (STL)…"), "STL"))
        exports: list[MenuEntry] = [(text, partial(self.export, kind)) for text, kind in kinds]
        actions = addMenu(ui.exportButton, [*exports, *more])
        self.exports, self.more = actions[: len(exports)], actions[len(exports) :]

    def update(self) -> None:
        """Follow the choice of segmentation."""
        node = self._segmentation()
        self.show3DButton.setSegmentationNode(node)
        isThere = node is not None and node.GetSegmentation().GetNumberOfSegments() > 0
        self._ui.editButton.setEnabled(node is not None)
        self._ui.exportButton.setEnabled(isThere)

    def edit(self, _checked: bool = False) -> None:
        """Open the Segment Editor with segmentation and volume."""
        node = self._segmentation()
        if node is None:
            return
        slicer.util.selectModule("SegmentEditor")
        editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
        editor.setSegmentationNode(node)
        if slicer_bridge.source_of(node) is not None:
            editor.setSourceVolumeNode(slicer_bridge.source_of(node))

    def export(self, kind: str) -> None:
        """Ask for a folder and write the segments into a new one in it."""
        node = self._segmentation()
        if node is None:
            return
        title = _("Export {name} into a new folder in").format(name=node.GetName())
        parent = qt.QFileDialog.getExistingDirectory(self._ui.exportButton, title, str(Path.home()))
        if not parent:
            return
        try:
            folder = slicer_bridge.export_segments(node, Path(str(parent)), kind)
        except LiverSegError as error:
            self._say(str(error), True)
            return
        self._say(_("The segments were exported to {folder}.").format(folder=folder))

    def _onShow3D(self, _checked: bool = False) -> None:
        node = self._segmentation()
        if node is not None and self.show3DButton.isChecked():
            views.centerOnce(node)
