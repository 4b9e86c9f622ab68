"""Pages that were written, in the user's browser."""

from __future__ import annotations

from pathlib import Path

import qt


def openPage(path: Path) -> None:
    """Open a page; where no browser can be found nothing happens, and the panel has told where the page lies."""
    qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(path)))
