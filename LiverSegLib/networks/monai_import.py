"""MONAI's import without the packages that only other uses of it need: less than half of its time.

Wherever they are installed, MONAI imports ignite (its training loops), matplotlib (its notebooks) and scipy.signal
(its augmentations of signals): up to two seconds before the first voxel of a command or of Slicer's worker. A program
asks for the short import at its start; in a script of one's own, in a test and in training MONAI is imported whole.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

UNUSED = ("ignite", "matplotlib", "scipy.signal")
"""Packages that MONAI can do without, and the engine does."""
_own_process = False


def shorten() -> None:
    """From now on import MONAI without `UNUSED`; for a process that runs our program and nothing else."""
    global _own_process
    _own_process = True


@contextmanager
def without_unused() -> Iterator[None]:
    """In a process that asked for it, hide `UNUSED` from what is imported here; afterwards they can be imported."""
    hidden = [name for name in UNUSED if _own_process and name not in sys.modules]
    # Python answers an import of what is None here as if it were not installed.
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
