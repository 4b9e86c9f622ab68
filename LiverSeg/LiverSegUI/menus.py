"""A menu on a button."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt


def addMenu(button: Any, entries: list[tuple[str, Callable[[], None]]]) -> list[Any]:
    """Have a menu drop down from a push or tool button; each entry is a text and what to call.

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
