"""`qt` and `ctk` as Slicer's Python has them, on real Qt: PySide6's classes in one flat module."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

from Testing.headless import standins


class UiLoader(QtUiTools.QUiLoader):
    """Knows the stand-ins, as the application's loader knows its own widgets."""

    def __init__(self) -> None:
        super().__init__()
        for widget in standins.WIDGETS:
            self.registerCustomWidget(widget)


class _QtModule(ModuleType):
    QUiLoader = UiLoader

    def __getattr__(self, name: str) -> Any:
        for module in (QtCore, QtGui, QtWidgets):
            if hasattr(module, name):
                return getattr(module, name)
        raise AttributeError(f"qt has no {name}")


def install() -> None:
    """Make `import qt` and `import ctk` work."""
    sys.modules["qt"] = _QtModule("qt")
    ctk = ModuleType("ctk")
    for widget in standins.WIDGETS:
        if widget.__name__.startswith("ctk"):
            setattr(ctk, widget.__name__, widget)
    sys.modules["ctk"] = ctk
