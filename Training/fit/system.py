"""What machine a model is trained on: processor, memory, GPUs, versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import torch

_PACKAGES = ("torch", "monai", "lightning", "numpy", "scipy", "SimpleITK", "nibabel")


def system_report() -> dict[str, Any]:
    """Facts about this machine that explain a run's speed and results; None where the system does not tell.

    Returns:
        Plain data for JSON: system, python, cpu, cores (that this process may use), memory_gb, memory_free_gb, gpus
        (a list of name, memory_gb and memory_free_gb), cuda and packages (name to version).
    """
    total, free = _memory()
    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        "cpu": _cpu_model(),
        "cores": _cores(),
        "memory_gb": _gigabytes(total),
        "memory_free_gb": _gigabytes(free),
        "gpus": _gpus(),
        "cuda": torch.version.cuda,
        "packages": {name: version for name in _PACKAGES if (version := _version(name)) is not None},
    }


def system_rows(report: dict[str, Any]) -> list[tuple[str, str]]:
    """The report of `system_report` as rows of name and text, for a table."""
    unknown = "not told"
    free = report.get("memory_free_gb")
    memory = f"{report['memory_gb']} GB" + (f", {free} GB free" if free else "") if report.get("memory_gb") else unknown
    rows = [
        ("System", str(report.get("system") or unknown)),
        ("CPU", str(report.get("cpu") or unknown)),
        ("Cores", str(report.get("cores") or unknown)),
        ("Memory", memory),
    ]
    for number, gpu in enumerate(report.get("gpus") or []):
        parts = [f"{gpu['memory_gb']} GB"] if gpu.get("memory_gb") else []
        parts += [f"{gpu['memory_free_gb']} GB free"] if gpu.get("memory_free_gb") else []
        rows.append((f"GPU {number}", ", ".join([str(gpu.get("name") or unknown), *parts])))
    if not report.get("gpus"):
        rows.append(("GPU", "none"))
    rows.append(("CUDA of torch", str(report.get("cuda") or "none")))
    rows.append(("Python", str(report.get("python") or unknown)))
    return rows + [(name, str(version)) for name, version in (report.get("packages") or {}).items()]


def _cpu_model() -> str | None:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or None


def _cores() -> int | None:
    try:
        return len(os.sched_getaffinity(0))  # fewer than the machine has, in a container or a SLURM job
    except AttributeError:
        return os.cpu_count()


def _memory() -> tuple[int | None, int | None]:
    """Total and available main memory in bytes."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        facts = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.strip()}
        return facts.get("MemTotal"), facts.get("MemAvailable")
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), None
    except (AttributeError, ValueError, OSError):
        return _windows_memory()


def _windows_memory() -> tuple[int | None, int | None]:
    import ctypes

    kernel = getattr(getattr(ctypes, "windll", None), "kernel32", None)
    if kernel is None:
        return None, None
    # MEMORYSTATUSEX: length and load (32 bits each), then total and available main memory and five more.
    status = (ctypes.c_ulonglong * 8)()
    ctypes.cast(status, ctypes.POINTER(ctypes.c_uint32))[0] = ctypes.sizeof(status)
    if not kernel.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None, None
    return int(status[1]), int(status[2])


def _gpus() -> list[dict[str, Any]]:
    found = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        try:
            free, total = torch.cuda.mem_get_info(index)
            name = torch.cuda.get_device_name(index)
        except RuntimeError:  # a GPU that another process holds exclusively
            continue
        found.append({"name": name, "memory_gb": _gigabytes(total), "memory_free_gb": _gigabytes(free)})
    if not found and torch.backends.mps.is_available():
        found.append({"name": "Apple GPU (shares main memory)", "memory_gb": None, "memory_free_gb": None})
    return found


def _gigabytes(size: int | None) -> float | None:
    return None if size is None else round(size / 1e9, 1)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
