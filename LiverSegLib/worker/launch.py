"""The command line of a worker process."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import LiverSegLib

IDLE_SECONDS = 600.0
"""How long an unused model stays in memory."""

# The package's folder comes first only while it is imported: in Slicer it is full of other modules.
_BOOTSTRAP = (
    "import sys; sys.path[:] = [{root}] + [p for p in sys.path if p]; import LiverSegLib; "
    "sys.path.append(sys.path.pop(0)); sys.path += {extra}; "
    "from LiverSegLib.worker.server import main; sys.exit(main({arguments}))"
)


def worker_command(
    python: str | Path | None = None,
    *,
    log: Path | None = None,
    idle_seconds: float = IDLE_SECONDS,
    extra_paths: Sequence[str | Path] = (),
) -> list[str]:
    """Program and arguments that start a worker with this very LiverSegLib, wherever it lies.

    Args:
        python: the interpreter; None for `sys.executable` (PythonSlicer inside Slicer).
        log: file that the worker's log is also written to, at most about 2 MB.
        idle_seconds: an unused model is freed after this time.
        extra_paths: appended to the worker's `sys.path`.
    """
    root = Path(LiverSegLib.__file__).resolve().parents[1]
    arguments = ["--idle-seconds", str(idle_seconds)]
    if log is not None:
        arguments += ["--log", str(log)]
    # ascii(): launchers and Windows code pages damage other characters on a command line.
    script = _BOOTSTRAP.format(
        root=ascii(str(root)), extra=ascii([str(p) for p in extra_paths]), arguments=ascii(arguments)
    )
    return [str(python or sys.executable), "-c", script]
