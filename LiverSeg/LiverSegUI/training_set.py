"""A corrected segmentation becomes a case of a training set."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from LiverSegLib import slicer_bridge
from LiverSegLib.errors import LiverSegError
from LiverSegLib.io.training_set import Origin, add_case
from LiverSegUI.choices import storedSetting, storeSetting

_FOLDER = "trainingSet"


class TrainingSetAction:
    """What the entry "Add to training set" in the menu of the Export button does.

    Args:
        ui: the panel's widgets.
        say: shows a sentence in the panel, as an error if its second argument says so.
        segmentation: gives the chosen segmentation or None.
        model: gives the model that wrote a segmentation, "" where that is not known.
    """

    def __init__(
        self, ui: Any, say: Callable[..., None], segmentation: Callable[[], Any], model: Callable[[Any], str]
    ) -> None:
        self._ui, self._say, self._segmentation, self._model = ui, say, segmentation, model

    def add(self) -> None:
        """Ask for the folder of the training set and add the segmentation with its volume."""
        node = self._segmentation()
        if node is None:
            return
        title = _("Add {name} to the training set in").format(name=node.GetName())
        start = storedSetting(_FOLDER) or str(Path.home())
        folder = str(qt.QFileDialog.getExistingDirectory(self._ui.exportButton, title, start))
        if not folder:
            return
        try:
            volume, masks = slicer_bridge.drawn_on_volume(node)
            case = add_case(Path(folder), volume, masks, Origin(who=_person(), model=self._model(node)))
        except LiverSegError as error:
            self._say(str(error), True)
            return
        storeSetting(_FOLDER, folder)
        self._say(_("Added to the training set in {folder} as {case}.").format(folder=folder, case=case))


def _person() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # an account without a name
        return ""
