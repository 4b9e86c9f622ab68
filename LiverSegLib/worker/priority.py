"""The priority that this process has, which its worker inherits."""

from __future__ import annotations

import os

LOWEST = 19


def priority_hint() -> str:
    """A sentence where the system runs this process after all others, else "".

    3D Slicer on Linux gives itself the lowest priority, and nobody but root can raise it again.
    """
    if not hasattr(os, "getpriority") or os.getpriority(os.PRIO_PROCESS, 0) < LOWEST:
        return ""
    return (
        f"This runs at the lowest priority (nice {LOWEST}), so it waits for every other program; "
        "start Slicer with the environment variable SLICER_BACKGROUND_THREAD_PRIORITY=0 for full speed."
    )
