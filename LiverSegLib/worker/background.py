"""Work that nobody waits for yet: in a thread that lets others go first."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")
_STEPS = 5
"""Of niceness. A busy processor then gives this thread a quarter of its time and not half. It cannot be undone, and
somebody may begin to wait, so it is not more."""


def in_background(do: Callable[[], T]) -> T:
    """Do something in a thread of lower priority and give what it gives.

    The thread ends with it, and so do those that torch starts for it: what comes later runs with the priority of the
    process. Only Linux has priorities of single threads; elsewhere the thread is one like any other.
    """
    with ThreadPoolExecutor(1, "background", initializer=_lower) as pool:
        return pool.submit(do).result()


def _lower() -> None:
    if sys.platform == "linux":
        thread = threading.get_native_id()
        with suppress(OSError):  # a sandbox may forbid it
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + _STEPS)
