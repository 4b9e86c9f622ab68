"""MONAI's import without what only other uses of it need: a sixth of its time, and 120 MB less.

MONAI imports all of itself, and wherever they are installed ignite (its training loops), matplotlib (its notebooks) and
scipy.signal (its augmentations of signals). A program that asks for the short import at its start gets the modules of
the network that it builds and no others; in a script of one's own, in a test and in training MONAI is imported whole.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from LiverSegLib.networks.deferred_packages import DeferredPackages

UNUSED = ("ignite", "matplotlib", "scipy.signal")
"""Packages that MONAI can do without, and the engine does."""
_own_process = False


def shorten() -> None:
    """From now on import of MONAI what a network needs, and not `UNUSED`; for a process that runs our program alone."""
    global _own_process
    if not _own_process and "monai" not in sys.modules:  # a MONAI that is there is whole
        sys.meta_path.insert(0, DeferredPackages())
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
