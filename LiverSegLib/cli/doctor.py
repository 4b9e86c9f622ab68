"""What this machine offers: versions, devices, memory, arithmetic, model cache."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from pathlib import Path

import LiverSegLib
from LiverSegLib.worker.priority import priority_hint

_PACKAGES = (
    "torch",
    "monai",
    "numpy",
    "scipy",
    "nibabel",
    "pillow",
    "SimpleITK",
    "pydicom",
    "matplotlib",
    "trame-slicer",
    "slicer-core",
    "lightning",
)


def report() -> list[tuple[str, str, str]]:
    """Rows of (topic, finding, advice); advice is empty where all is well."""
    return [*_versions(), *_processor(), *_accelerators(), *_storage()]


def _versions() -> list[tuple[str, str, str]]:
    rows = [("LiverSeg", LiverSegLib.__version__, ""), ("Python", platform.python_version(), "")]
    for name in _PACKAGES:
        try:
            rows.append((name, importlib.metadata.version(name), ""))
        except importlib.metadata.PackageNotFoundError:
            needed = name in ("torch", "monai", "numpy", "scipy")
            rows.append((name, "not installed", "needed: pip install " + name if needed else ""))
    return rows


def _processor() -> list[tuple[str, str, str]]:
    import torch

    from LiverSegLib.engine.devices import has_bf16_matrix_unit

    facts = torch.cpu.get_capabilities()
    rows = [("CPU", f"{facts.get('cpu_name', platform.processor())}, {torch.get_num_threads()} threads", "")]
    amx = has_bf16_matrix_unit()
    rows.append(("CPU arithmetic", "AMX: bfloat16 where a trial proves it faster" if amx else "float32 (no AMX)", ""))
    if hint := priority_hint():
        rows.append(("Priority", "lowest", hint))
    total, free = _memory()
    if total:
        advice = "close other programs: large CTs need about 2 GB" if free < 2e9 else ""
        rows.append(("Memory", f"{free / 1e9:.1f} GB free of {total / 1e9:.1f} GB", advice))
    return rows


def _memory() -> tuple[float, float]:
    """Total and available main memory in bytes, zeros where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        facts = {line.split(":")[0]: float(line.split()[1]) * 1024 for line in lines}
        return facts["MemTotal"], facts["MemAvailable"]
    except (OSError, KeyError, ValueError, IndexError):
        pass
    try:
        total = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return 0.0, 0.0
    return total, total


def _accelerators() -> list[tuple[str, str, str]]:
    import torch

    if torch.cuda.is_available():
        rows = []
        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            half = "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
            name = torch.cuda.get_device_name(index)
            rows.append((f"cuda:{index}", f"{name}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free, {half}", ""))
        return rows
    if torch.backends.mps.is_available():
        return [("mps", "Apple GPU, used by default", "")]
    built = torch.version.cuda
    advice = "the NVIDIA driver does not answer" if built and shutil.which("nvidia-smi") else ""
    return [("GPU", f"none found (torch built for {'CUDA ' + built if built else 'CPU only'})", advice)]


def _storage() -> list[tuple[str, str, str]]:
    from LiverSegLib.models.archive import cache_folder
    from LiverSegLib.models.store import DEFAULT, built_in_names

    folder = cache_folder()
    packages = sorted(p.name for p in (folder / "packages").glob("*-*")) if folder.is_dir() else []
    found = ", ".join(packages) or "empty"
    names = built_in_names()
    advice = "" if DEFAULT in names else "the default model is missing; install LiverSeg again"
    return [("Built-in models", ", ".join(names) or "none", advice), ("Model cache", f"{folder}: {found}", "")]
