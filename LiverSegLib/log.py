"""The log: the full story of errors, for the user's eyes only, and without the names of patients.

Names of files and folders often hold a patient's name. What the user passes in is written as "<input 1>", and so on,
also where it stands in an error sentence or a traceback.
"""

from __future__ import annotations

import logging
import logging.handlers
import os
import re
from pathlib import Path
from typing import Any

from LiverSegLib.printable import printable

_hidden: dict[str, str] = {}


def log_file() -> Path:
    """Where the log is kept."""
    from LiverSegLib.models.archive import cache_folder

    return cache_folder() / "logs" / "liverseg.log"


def start_log() -> None:
    """Send what LiverSeg logs to the file; a home that cannot be written to must not stop a segmentation."""
    handler: logging.Handler
    path = log_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.parent.chmod(0o700)
        for earlier in path.parent.glob(f"{path.name}*"):
            earlier.chmod(0o600)
        handler = _PrivateFile(path, maxBytes=1_000_000, backupCount=1, encoding="utf-8", errors="backslashreplace")
    except OSError:
        handler = logging.NullHandler()
    handler.setFormatter(_Discreet("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def hide(path: Path, name: str) -> None:
    """Write `<name>` in the log wherever `path`, or its last part, would stand.

    Args:
        path: a file or folder that the user named.
        name: what to call it, for example "input 1".
    """
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 (a link keeps the name by which it was passed)
    for text in (str(path), str(absolute), str(path.resolve()), absolute.name, path.resolve().name):
        # One or two letters are no name, and would be found in every other word.
        if len(text) > 2:
            _hidden[text] = f"<{name}>"


class _PrivateFile(logging.handlers.RotatingFileHandler):
    """A log that only its owner may read."""

    def _open(self) -> Any:
        return open(self.baseFilename, self.mode, encoding=self.encoding, errors=self.errors, opener=_for_owner)


def _for_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class _Discreet(logging.Formatter):
    """Lines without what must be hidden, and without characters that a terminal obeys."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        for hidden in sorted(_hidden, key=len, reverse=True):
            text = re.sub(rf"(?<!\w){re.escape(hidden)}(?!\w)", _hidden[hidden], text)
        return "\n".join(printable(line) for line in text.split("\n"))
