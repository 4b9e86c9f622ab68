"""What machine a model is trained on: processor, memory, GPUs, versions."""

from __future__ import annotations

import platform
from typing import Any

import torch

from LiverSegLib.system import allowed_cpus, cpu_name, find_gpus, main_memory, package_version

_UNKNOWN = "not told"
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
        **_gigabytes(memory.total, memory.available),
        "gpus": [{"name": gpu.title, **_gigabytes(gpu.total_bytes, gpu.free_bytes)} for gpu in find_gpus()],
        "cuda": torch.version.cuda,
        "packages": {name: version for name in _PACKAGES if (version := package_version(name))},
    }


def system_rows(report: dict[str, Any]) -> list[tuple[str, str]]:
    """The report of `system_report` as rows of name and text, for a table."""
    facts = {key: str(value) for key, value in report.items() if value}
    gpus = report.get("gpus") or []
    rows = [(title, facts.get(title.lower(), _UNKNOWN)) for title in ("System", "CPU", "Cores")]
    rows.append(("Memory", ", ".join(_memory(report)) or _UNKNOWN))
    for number, gpu in enumerate(gpus):
        rows.append((f"GPU {number}", ", ".join([str(gpu.get("name") or _UNKNOWN), *_memory(gpu)])))
    if not gpus:
        rows.append(("GPU", "none"))
    rows += [("CUDA of torch", facts.get("cuda", "none")), ("Python", facts.get("python", _UNKNOWN))]
    return rows + [(name, str(version)) for name, version in (report.get("packages") or {}).items()]


def _memory(facts: dict[str, Any]) -> list[str]:
    """["80.0 GB", "79.5 GB free"], as far as they are known."""
    units = {"memory_gb": "GB", "memory_free_gb": "GB free"}
    return [f"{facts[key]} {unit}" for key, unit in units.items() if facts.get(key)]


def _gigabytes(total: int | None, free: int | None) -> dict[str, float | None]:
    sizes = {"memory_gb": total, "memory_free_gb": free}
    return {key: None if size is None else round(size / 1e9, 1) for key, size in sizes.items()}
