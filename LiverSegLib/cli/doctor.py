"""What this machine offers: versions, devices, memory, arithmetic, model cache."""

from __future__ import annotations

import platform
import shutil

import LiverSegLib
from LiverSegLib.system import cpu_name, find_gpus, main_memory, package_version, priority_hint

_PACKAGES = ("torch", "monai", "numpy", "scipy", "nibabel", "pillow", "SimpleITK", "pydicom", "matplotlib", "lightning")


def report() -> list[tuple[str, str, str]]:
    """Rows of (topic, finding, advice); advice is empty where all is well."""
    return [*_versions(), *_processor(), *_accelerators(), *_storage()]


def _versions() -> list[tuple[str, str, str]]:
    rows = [("LiverSeg", LiverSegLib.__version__, ""), ("Python", platform.python_version(), "")]
    for name in _PACKAGES:
        found = package_version(name)
        needed = found is None and name in ("torch", "monai", "numpy", "scipy")
        rows.append((name, found or "not installed", f"needed: pip install {name}" if needed else ""))
    return rows


def _processor() -> list[tuple[str, str, str]]:
    import torch

    from LiverSegLib.engine.devices import has_bf16_matrix_unit

    facts = torch.cpu.get_capabilities()
    rows = [("CPU", f"{facts.get('cpu_name') or cpu_name()}, {torch.get_num_threads()} threads", "")]
    amx = has_bf16_matrix_unit()
    rows.append(("CPU arithmetic", "AMX: bfloat16" if amx else "float32 (no AMX)", ""))
    if hint := priority_hint():
        rows.append(("Priority", "lowest", hint))
    memory = main_memory()
    scarce = memory.available is not None and memory.available < 2e9
    if memory.total:
        advice = "close other programs: large CTs need about 2 GB" if scarce else ""
        rows.append(("Memory", _free_of(memory.available, memory.total), advice))
    return rows


def _accelerators() -> list[tuple[str, str, str]]:
    import torch

    rows = []
    for gpu in find_gpus():
        if gpu.name == "mps":
            rows.append(("mps", f"{gpu.title}, used by default", ""))
            continue
        half = "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
        rows.append((gpu.name, f"{gpu.title}, {_free_of(gpu.free_bytes, gpu.total_bytes)}, {half}", ""))
    built = torch.version.cuda
    advice = "the NVIDIA driver does not answer" if built and shutil.which("nvidia-smi") else ""
    return rows or [("GPU", f"none found (torch built for {'CUDA ' + built if built else 'CPU only'})", advice)]


def _free_of(free: int | None, total: int | None) -> str:
    whole = f"{(total or 0) / 1e9:.1f} GB"
    return whole if free is None else f"{free / 1e9:.1f} GB free of {whole}"


def _storage() -> list[tuple[str, str, str]]:
    from LiverSegLib.models.archive import cache_folder
    from LiverSegLib.models.models_folder import installed_names, models_folder
    from LiverSegLib.models.store import DEFAULT, built_in_names

    folder = cache_folder()
    packages = sorted(p.name for p in (folder / "packages").glob("*-*")) if folder.is_dir() else []
    found = ", ".join(packages) or "empty"
    names = built_in_names()
    advice = "" if DEFAULT in names else "the default model is missing; install LiverSeg again"
    return [
        ("Built-in models", ", ".join(names) or "none", advice),
        ("Installed models", f"{models_folder()}: {', '.join(installed_names()) or 'none'}", ""),
        ("Model cache", f"{folder}: {found}", ""),
    ]
