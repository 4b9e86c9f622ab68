"""The devices of the machine with their names and memory."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

from LiverSegLib.worker.messages import DeviceInfo
from LiverSegLib.worker.warm import import_torch


def find_devices() -> tuple[DeviceInfo, ...]:
    """GPUs that torch can use, then the CPU; the first is what "auto" chooses.

    Raises:
        ImportError: torch is not installed.
    """
    import_torch()
    import torch

    found = []
    if torch.cuda.is_available():
        free = _gpu_memory()
        for number in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(number)
            uuid = str(getattr(about, "uuid", ""))
            found.append(
                DeviceInfo(
                    name=f"cuda:{number}", title=about.name, free_bytes=free.get(uuid), total_bytes=about.total_memory
                )
            )
    elif torch.backends.mps.is_available():
        found.append(
            DeviceInfo(name="mps", title="Apple GPU", free_bytes=None, total_bytes=torch.mps.recommended_max_memory())
        )
    free_bytes, total_bytes = main_memory()
    return (*found, DeviceInfo(name="cpu", title=cpu_name(), free_bytes=free_bytes, total_bytes=total_bytes))


def _gpu_memory() -> dict[str, int]:
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
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine() or "CPU"


def main_memory() -> tuple[int | None, int | None]:
    """Available and total bytes of main memory, None where the system does not tell."""
    try:
        text = Path("/proc/meminfo").read_text()
        rows = dict(re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE))
        return int(rows["MemAvailable"]) * 1024, int(rows["MemTotal"]) * 1024
    except (OSError, KeyError):
        pass
    try:
        return None, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        return None, None
