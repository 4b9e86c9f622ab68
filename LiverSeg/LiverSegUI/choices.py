"""Model, device and cache folder: what the user chose, and what there is to choose from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from LiverSegLib.models.installed import ModelStore
from LiverSegLib.models.models_folder import VARIABLE
from LiverSegLib.system import DeviceInfo
from LiverSegUI.models import ModelInfo, builtInModels, describeModel, installedModels
from LiverSegUI.texts import memoryText

CACHE = "LIVERSEG_CACHE"


def storedSetting(name: str, default: str = "") -> str:
    """What the user chose in an earlier session, under LiverSeg/ in the application's settings."""
    value = qt.QSettings().value(f"LiverSeg/{name}", default)
    return default if value is None else str(value)


def storeSetting(name: str, value: str) -> None:
    """Remember a choice for the next session."""
    qt.QSettings().setValue(f"LiverSeg/{name}", value)


def workerEnvironment() -> dict[str, str]:
    """Variables for the worker that follow from the settings."""
    cache = storedSetting("cache")
    return {CACHE: cache} if cache else {}


def modelStore() -> ModelStore:
    """The store of models where the worker looks for them, too."""
    cache = workerEnvironment().get(CACHE)
    return ModelStore(Path(cache) / "models" if cache and VARIABLE not in os.environ else None)


def currentData(box: Any) -> str:
    """The data of a combo box's current item; its `currentData` differs between PythonQt and PySide6."""
    return str(box.itemData(int(box.property("currentIndex"))) or "")


class ModelBox:
    """The combo box of models and the line below it."""

    def __init__(self, ui: Any) -> None:
        self._box, self._text = ui.modelBox, ui.modelText
        self._models: dict[str, ModelInfo] = {}
        self._isLong = False
        for model in [*builtInModels(), *installedModels(modelStore())]:
            self._add(model)
        self._text.linkActivated.connect(self._onLink)
        self.describe()

    @property
    def current(self) -> ModelInfo | None:
        """The chosen model; None where there is none at all."""
        return self._models.get(currentData(self._box))

    def choose(self, name: str) -> None:
        """Select a model by name or path; "" selects the first.

        Raises:
            ModelError: a path that is no model package.
        """
        if name and name not in self._models:
            installed = {model.name: model for model in installedModels(modelStore())}
            self._add(installed[name] if name in installed else describeModel(Path(name)))
        index = self._box.findData(name) if name else 0
        if index != int(self._box.property("currentIndex")):
            self._box.setCurrentIndex(index)
        self.describe()

    def remove(self) -> None:
        """Take the chosen model off the list, if the user added it; its files stay."""
        model = self.current
        if model is not None and model.path is not None:
            self.forget(model.name)

    def forget(self, name: str) -> None:
        """Take a model off the list that is gone."""
        if self._models.pop(name, None) is not None:
            self._box.removeItem(self._box.findData(name))

    def describe(self) -> None:
        """Show what the chosen model is."""
        model = self.current
        self._text.setText(_("There is no model; add a package.") if model is None else model.html(self._isLong))
        self._text.setToolTip("" if model is None else f"{model.text} {model.longText}")

    def _onLink(self, link: str = "") -> None:
        self._isLong = str(link) == "more"
        self.describe()

    def _add(self, model: ModelInfo) -> None:
        title = model.shownTitle
        if any(title == other.shownTitle for other in self._models.values()):
            title = f"{model.about.title} ({model.path})"
        self._models[model.name] = model
        self._box.addItem(title, model.name)


class DeviceBox:
    """The combo box of devices; the choice is remembered."""

    def __init__(self, ui: Any) -> None:
        self._box = ui.deviceBox
        self.fill(())
        self._box.currentTextChanged.connect(self._onChanged)

    @property
    def current(self) -> str:
        """ "auto", "cpu", "cuda:0", ..."""
        return currentData(self._box) or "auto"

    def fill(self, devices: tuple[DeviceInfo, ...]) -> None:
        """Offer what the worker found; before that only the choices that are always there."""
        wanted = storedSetting("device", "auto")
        self._box.blockSignals(True)
        self._box.clear()
        self._box.addItem(_("Automatic"), "auto")
        for device in devices:
            self._box.addItem(device.title + memoryText(device.free_bytes, device.total_bytes), device.name)
        for name in ("cpu", wanted):
            if self._box.findData(name) < 0:
                self._box.addItem(_("Processor (CPU)") if name == "cpu" else name, name)
        self._box.setCurrentIndex(self._box.findData(wanted))
        self._box.blockSignals(False)

    def _onChanged(self, _text: str = "") -> None:
        storeSetting("device", self.current)
