"""A case for the module tests, and what to ask of a host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import slicer.util

from Testing.headless.host import Host

AFFINE = np.diag([-2.0, -2.0, 2.0, 1.0])
AFFINE[:3, 3] = (64, 60, -50)
SHAPE = (64, 60, 50)


def add_volume(draw_case: Any, name: str = "CT", shape: tuple[int, int, int] = SHAPE) -> Any:
    """Put the drawn case into the scene."""
    case = draw_case(AFFINE, shape, np.int16)
    return slicer.util.addVolumeFromArray(case.array.transpose(2, 1, 0), ijkToRAS=AFFINE, name=name)


def worker_pids(host: Host) -> list[int]:
    """IDs of the worker processes that run or are about to end."""
    transport = host.widget.logic.runner.transport
    processes = [*transport._ending] if transport._process is None else [transport._process, *transport._ending]
    return [int(process._process.processId()) for process in processes if process.isRunning()]


def is_running(pid: int) -> bool:
    """Whether a process lives; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def is_idle(host: Host) -> bool:
    """Whether no job is left."""
    return not host.widget.logic.runner.jobs
