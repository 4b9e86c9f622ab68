"""What becomes of memory that was freed: kept for what is allocated next, or given back. Linux with glibc alone.

Left to itself glibc gives arrays of more than 32 MB back at once, and what is freed at the end of its heap; all else it
keeps. Training allocates the same large arrays anew in each step, and gets them from the system page by page; and after
a network has run the heap holds hundreds of megabytes that nobody uses. See mallopt(3) and malloc_trim(3).
"""

from __future__ import annotations

import ctypes
import sys

# malloc.h
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_ENDLESS = 2**30


def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None


def keep() -> None:
    """From now on keep what is freed, in this process and those that it forks; only for a program of its own."""
    if (glibc := _glibc()) is not None:
        glibc.mallopt(_MMAP_THRESHOLD, _ENDLESS)
        glibc.mallopt(_TRIM_THRESHOLD, _ENDLESS)


def give_back() -> None:
    """Give the system what is free in the heap; a fifth of a second for each time that the next stage needs 200 MB."""
    if (glibc := _glibc()) is not None:
        glibc.malloc_trim(0)
