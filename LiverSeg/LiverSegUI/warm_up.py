"""The worker is ready when the user clicks: it loads the chosen model as soon as the module is open."""

from __future__ import annotations

from typing import Any

import slicer

from LiverSegLib.system import available_bytes
from LiverSegUI.choices import DeviceBox, ModelBox
from LiverSegUI.install import missingPackages
from LiverSegUI.runner import JobRunner
from LiverSegUI.transport import oneShot

CHOICE_MS = 400
"""So long a choice has to stand: a wheel over the box passes by many models."""
LEFT_MS = 600_000
"""After so long outside the module the worker ends and gives all its memory back."""
_ROOM = 2 << 30
"""Bytes that have to be free; a machine with less has better uses for them."""


class WarmUp:
    """Has the worker load the chosen model while the module is shown, and ends an unused worker after it was left.

    Nothing of it is told: what fails is told by the segmentation that needs it. A model that stays unused for the
    worker's own idle time is freed there.

    Args:
        ui: the panel's widgets by name.
        models, devices: what is chosen in the panel.
        runner: has the worker.
    """

    def __init__(self, ui: Any, models: ModelBox, devices: DeviceBox, runner: JobRunner) -> None:
        self._models, self._devices, self._runner = models, devices, runner
        self._isShown = False
        self._chosen, self._left = oneShot(self._onChosen), oneShot(self._onLeft)
        for box in (ui.modelBox, ui.deviceBox):
            box.currentTextChanged.connect(self._onChoice)

    def enter(self) -> None:
        """The module is shown."""
        self._isShown = True
        self._left.stop()
        self._onChoice()

    def exit(self) -> None:
        """Another module is shown."""
        self._isShown = False
        self._chosen.stop()
        self._left.start(LEFT_MS)

    def close(self) -> None:
        """The panel goes away."""
        self._isShown = False
        self._chosen.stop()
        self._left.stop()

    def _onChoice(self, _text: str = "") -> None:
        if self._isShown:
            self._chosen.start(CHOICE_MS)

    def _onChosen(self) -> None:
        model = self._models.current
        # An application that tests modules opens each of them, and waits for none of this.
        if not self._isShown or model is None or slicer.app.testingEnabled() or missingPackages():
            return
        if self._runner.jobs:
            self._chosen.start(CHOICE_MS)
            return
        free = available_bytes()
        if free is None or free >= _ROOM:
            self._runner.warmUp(model.place, self._devices.current)

    def _onLeft(self) -> None:
        if self._runner.jobs:  # from a script, or begun before
            self._left.start(LEFT_MS)
        else:
            self._runner.restart()
