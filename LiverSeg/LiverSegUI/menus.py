"""A menu on a button."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt

MenuEntry = tuple[str, Callable[[], None]]
"""A text, and what to call."""


def addMenu(button: Any, entries: list[MenuEntry]) -> list[Any]:
    """Have a menu drop down from a push or tool button; with these entries.

    Returns:
        The actions, which must be kept for as long as the button.
    """
    menu = qt.QMenu(button)
    actions = []
    for text, call in entries:
        action = qt.QAction(text, menu)
        action.triggered.connect(lambda _checked=False, call=call: call())
        menu.addAction(action)
        actions.append(action)
    button.setMenu(menu)
    return actions
