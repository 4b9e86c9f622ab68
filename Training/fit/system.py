"""What machine a model is trained on: processor, memory, GPUs, versions."""

from __future__ import annotations

import platform
from typing import Any

import torch

from LiverSegLib.system import allowed_cpus, cpu_name, find_gpus, main_memory, package_version

_PACKAGES = ("torch", "monai", "lightning", "numpy", "scipy", "SimpleITK", "nibabel")


def system_report() -> dict[str, Any]:
    """Facts about this machine that explain a run's speed and results; None where the system does not tell.

    Returns:
        Plain data for JSON: system, python, cpu, cores (that this process may use), memory_gb, memory_free_gb, gpus
        (a list of name, memory_gb and memory_free_gb), cuda and packages (name to version).
    """
    memory = main_memory()
    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        "cpu": cpu_name(),
        "cores": allowed_cpus(),
        "memory_gb": _gigabytes(memory.total),
        "memory_free_gb": _gigabytes(memory.available),
        "gpus": [
            {"name": gpu.title, "memory_gb": _gigabytes(gpu.total_bytes), "memory_free_gb": _gigabytes(gpu.free_bytes)}
            for gpu in find_gpus()
        ],
        "cuda": torch.version.cuda,
        "packages": {name: version for name in _PACKAGES if (version := package_version(name))},
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


def _gigabytes(size: int | None) -> float | None:
    return None if size is None else round(size / 1e9, 1)
