"""The command line of a worker process."""

from __future__ import annotations

import sys
from pathlib import Path

import LiverSegLib

IDLE_SECONDS = 600.0
"""How long an unused model stays in memory."""

# The package's folder comes first only while it is imported: in Slicer it is full of other modules.
_BOOTSTRAP = (
    "import sys; sys.path[:] = [{root}] + [p for p in sys.path if p]; import LiverSegLib; "
    "sys.path.append(sys.path.pop(0)); from LiverSegLib.worker.server import main; main({idle_seconds})"
)


def worker_command(idle_seconds: float = IDLE_SECONDS) -> list[str]:
    """Program and arguments that start a worker with this Python and this very LiverSegLib, wherever it lies.

    Args:
        idle_seconds: an unused model is freed after this time.
    """
    root = Path(LiverSegLib.__file__).resolve().parents[1]
    # ascii(): launchers and Windows code pages damage other characters on a command line.
    script = _BOOTSTRAP.format(root=ascii(str(root)), idle_seconds=idle_seconds)
    return [sys.executable, "-c", script]
