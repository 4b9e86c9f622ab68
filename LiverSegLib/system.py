"""What the machine is: processor, main memory, GPUs, this program's share of them. torch is imported for GPUs only."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

LOWEST_PRIORITY = 19
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, kw_only=True)
class DeviceInfo:
    """One device: its name for requests ("cuda:0"), its title for people, its memory in bytes if known."""

    name: str
    title: str
    free_bytes: int | None
    total_bytes: int | None


@dataclass(frozen=True)
class MainMemory:
    """Bytes of main memory, None where the system does not tell; `swap` is what is free of it."""

    available: int | None = None
    total: int | None = None
    swap: int | None = None


def find_devices() -> tuple[DeviceInfo, ...]:
    """GPUs that torch can use, then the CPU; the first is what "auto" chooses.

    Raises:
        ImportError: torch is not installed.
    """
    memory = main_memory()
    cpu = DeviceInfo(name="cpu", title=cpu_name(), free_bytes=memory.available, total_bytes=memory.total)
    return (*find_gpus(), cpu)


def find_gpus() -> tuple[DeviceInfo, ...]:
    """GPUs that torch can use, in its order.

    Raises:
        ImportError: torch is not installed.
    """
    import torch

    if torch.cuda.is_available():
        free = _free_gpu_memory()
        found = []
        for number in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(number)
            left = free.get(str(getattr(about, "uuid", "")))
            name, total = f"cuda:{number}", int(about.total_memory)
            found.append(DeviceInfo(name=name, title=about.name, free_bytes=left, total_bytes=total))
        return tuple(found)
    if torch.backends.mps.is_available():
        total = torch.mps.recommended_max_memory()
        return (DeviceInfo(name="mps", title="Apple GPU", free_bytes=None, total_bytes=total),)
    return ()


def _free_gpu_memory() -> dict[str, int]:
    """Free bytes by GPU UUID, from the driver's tool: asking torch would occupy every GPU with a context."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return {}
    query = [tool, "--query-gpu=uuid,memory.free", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    rows = re.findall(r"^GPU-(\S+), *(\d+) *$", done.stdout, re.MULTILINE)
    return {uuid: int(mebibytes) * 2**20 for uuid, mebibytes in rows}


def cpu_name() -> str:
    """What the maker calls the CPU, or at least its kind."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine() or "CPU"


def allowed_cpus() -> int:
    """CPUs of this process: its affinity, and on Linux the quota of its container."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = (_CGROUP / "cpu.max").read_text().split()
        return min(count, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no such file, or "max": no quota
        return count


def main_memory() -> MainMemory:
    """Main memory of the machine."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        rows = {name: int(kib) * 1024 for name, kib in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)}
        return MainMemory(rows["MemAvailable"], rows["MemTotal"], rows["SwapFree"])
    except (OSError, KeyError):  # no Linux
        pass
    try:
        return MainMemory(total=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return _windows_memory()


def _windows_memory() -> MainMemory:
    kernel = getattr(getattr(ctypes, "windll", None), "kernel32", None)
    if kernel is None:
        return MainMemory()
    # MEMORYSTATUSEX: length and load (32 bits each), then total and available main memory and five more.
    status = (ctypes.c_ulonglong * 8)()
    ctypes.cast(status, ctypes.POINTER(ctypes.c_uint32))[0] = ctypes.sizeof(status)
    if not kernel.GlobalMemoryStatusEx(ctypes.byref(status)):
        return MainMemory()
    return MainMemory(int(status[2]), int(status[1]))


def available_bytes() -> int | None:
    """Main memory that this process can still get, swap included; None where the system does not tell."""
    memory = main_memory()
    machine = None if memory.available is None or memory.swap is None else memory.available + memory.swap
    return min((n for n in (machine, _left_of_container(), _left_of_process()) if n is not None), default=None)


def resident_bytes() -> int | None:
    """Main memory that this process has now; None where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):  # no Linux
        pass
    try:
        import resource
    except ImportError:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # ever, which is not less than now
    return most if sys.platform == "darwin" else most * 1024


def _left_of_container() -> int | None:
    try:
        limit, used = ((_CGROUP / name).read_text() for name in ("memory.max", "memory.current"))
        return max(0, int(limit) - int(used))
    except (OSError, ValueError):  # no such file, or "max": no limit
        return None


def _left_of_process() -> int | None:
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


def priority_hint() -> str:
    """A sentence where the system runs this process after all others, else "".

    3D Slicer on Linux gives itself the lowest priority, and nobody but root can raise it again.
    """
    if not hasattr(os, "getpriority") or os.getpriority(os.PRIO_PROCESS, 0) < LOWEST_PRIORITY:
        return ""
    return (
        f"This runs at the lowest priority (nice {LOWEST_PRIORITY}), so it waits for every other program; "
        "start Slicer with the environment variable SLICER_BACKGROUND_THREAD_PRIORITY=0 for full speed."
    )


def package_version(name: str) -> str | None:
    """Version of an installed Python package, None where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
