"""The ROI: its place button, and a fit to the input volume."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer

from LiverSegLib import slicer_bridge


class RoiView:
    """The widgets beside the ROI selector.

    Args:
        ui: the panel's widgets.
        fit: called at a click on "Fit to volume".
    """

    def __init__(self, ui: Any, fit: Callable[[], None]) -> None:
        self._ui = ui
        self._placer: Any = None
        # Slicer's own place button comes with its Markups module; without it the ROI can still be fitted.
        if hasattr(slicer, "qSlicerMarkupsPlaceWidget"):
            self._placer = slicer.qSlicerMarkupsPlaceWidget()
            self._placer.setMRMLScene(slicer.mrmlScene)
            self._placer.setButtonsVisible(False)
            self._placer.placeButton().show()
            ui.roiPlace.layout().addWidget(self._placer)
        ui.roiFitButton.clicked.connect(lambda _checked=False: fit())

    def update(self, roi: Any, volume: Any) -> None:
        """Follow the choice of ROI and volume."""
        if self._placer is not None:
            self._placer.setCurrentNode(roi)
        self._ui.roiFitButton.setEnabled(volume is not None and volume.GetImageData() is not None)

    def fit(self, roi: Any, volume: Any) -> Any:
        """Fit the ROI, or a new one, to the volume; returns it."""
        if roi is None:
            name = slicer.mrmlScene.GenerateUniqueName("Liver ROI")
            roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", name)
            roi.CreateDefaultDisplayNodes()
        slicer_bridge.fit_roi(roi, volume)
        return roi
