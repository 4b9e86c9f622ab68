"""A menu on a button."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt


class ButtonMenu:
    """Actions that drop down from a push or tool button.

    Args:
        button: receives the menu.
        actions: text and what to call of each.
    """

    def __init__(self, button: Any, actions: list[tuple[str, Callable[[], None]]]) -> None:
        self._menu = qt.QMenu(button)
        self.actions = []
        for text, call in actions:
            action = qt.QAction(text, self._menu)
            action.triggered.connect(lambda _checked=False, call=call: call())
            self._menu.addAction(action)
            self.actions.append(action)
        button.setMenu(self._menu)
