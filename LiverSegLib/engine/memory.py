"""How much main memory there is, and what happens where it runs out."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from LiverSegLib.errors import DeviceError

_WORDS = ("not enough memory", "can't allocate", "out of memory", "ALLOC_FAILED")
_CGROUP = Path("/sys/fs/cgroup")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on any device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # torch raises no class of its own for the allocators of CPU and MPS, drivers and cuDNN
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)


@contextmanager
def memory_guard(sentence: str) -> Iterator[None]:
    """Turn every way to run out of memory into a `DeviceError` with `sentence`.

    Raises:
        DeviceError: memory ran out.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise DeviceError(sentence) from error


def available_bytes() -> int | None:
    """Main memory that this process can still get, swap included; None where the system does not tell."""
    limits = [n for n in (_of_machine(), _of_container(), _of_process()) if n is not None]
    return min(limits, default=None)


def _of_machine() -> int | None:
    try:
        rows = dict(re.findall(r"^(\w+):\s+(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE))
        return (int(rows["MemAvailable"]) + int(rows["SwapFree"])) * 1024
    except (OSError, KeyError, ValueError):  # no Linux
        return None


def _of_container() -> int | None:
    try:
        limit, used = ((_CGROUP / name).read_text() for name in ("memory.max", "memory.current"))
        return max(0, int(limit) - int(used))
    except (OSError, ValueError):  # no such file, or "max": no limit
        return None


def _of_process() -> int | None:
    """What a limit on the address space (`ulimit -v`) leaves."""
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit == resource.RLIM_INFINITY:
            return None
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        return max(0, limit - pages * os.sysconf("SC_PAGE_SIZE"))
    except (ImportError, OSError, ValueError):
        return None
