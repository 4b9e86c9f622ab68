"""How many processes a machine bears, and which processor or GPU each has."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping

from LiverSegLib.system import allowed_cpus, available_bytes

_CORES_EACH = 4
"""More threads hardly make one segmentation faster: reading, resampling and writing use one."""
_BYTES_EACH = 6 * 1024**3
"""What one segmentation of a whole CT needs, with room to spare."""
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def visible_gpus() -> list[str]:
    """The NVIDIA GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; torch is not imported."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name for name in (part.strip() for part in chosen.split(",")) if name and name != "-1"]
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    query = [tool, "--query-gpu=uuid", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip().startswith("GPU-")]


def default_workers(device: str, memory_limit: int | None = None) -> int:
    """One process per GPU; without one, one for four cores and six gigabytes of memory.

    Args:
        device: as in `SegmentationRequest`.
        memory_limit: bytes for all of them; a process more needs its six gigabytes of that, too.
    """
    gpus = visible_gpus() if device == "auto" else []
    if gpus:
        return len(gpus) if memory_limit is None else max(1, min(len(gpus), memory_limit // _BYTES_EACH))
    if device not in ("auto", "cpu"):
        return 1
    memory = min((n for n in (available_bytes(), memory_limit) if n is not None), default=None)
    fit = allowed_cpus() if memory is None else memory // _BYTES_EACH
    return max(1, min(allowed_cpus() // _CORES_EACH, fit))


def environments(workers: int, device: str) -> tuple[list[Mapping[str, str]], int]:
    """Variables of each process, and the threads that each may use.

    With "auto" the processes are dealt out to the GPUs in turn; "cuda:1" or "cpu" is the same for all.
    """
    threads = max(1, allowed_cpus() // workers)
    gpus = visible_gpus() if device == "auto" else []
    found = []
    for number in range(workers):
        variables = dict.fromkeys(_THREADS, str(threads))
        if gpus:
            variables["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
        found.append(variables)
    return list(found), threads
