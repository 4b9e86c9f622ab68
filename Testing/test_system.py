"""What the machine is, asked in one place."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from LiverSegLib import system
from LiverSegLib.system import available_bytes, find_devices, find_gpus, main_memory, package_version

ROOT = Path(__file__).resolve().parents[1]
CODE = "from LiverSegLib.system import priority_hint; print(priority_hint())"


@pytest.mark.skipif(not hasattr(os, "getpriority"), reason="priorities of POSIX")
def test_only_the_lowest_priority_is_told_of() -> None:
    said = []
    for lower in (0, 19):
        code = f"import os; os.nice({lower}); {CODE}"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
        said.append(done.stdout.strip())
    assert said[0] == ""
    assert "SLICER_BACKGROUND_THREAD_PRIORITY=0" in said[1]


def test_the_free_memory_is_known_on_linux() -> None:
    if not Path("/proc/meminfo").exists():
        pytest.skip("this system does not tell")
    free, memory = available_bytes(), main_memory()
    assert free is not None
    assert 0 < free < 1 << 50
    assert memory.available is not None
    assert memory.total is not None
    assert 0 < memory.available <= memory.total


def test_a_container_leaves_what_its_limit_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "_CGROUP", tmp_path)
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("400000\n")
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    assert available_bytes() == 600_000
    assert system.allowed_cpus() == 1
    (tmp_path / "memory.max").write_text("max\n")
    assert available_bytes() != 600_000


def test_the_cpu_comes_last_with_its_name_and_memory() -> None:
    *gpus, cpu = find_devices()
    assert tuple(gpus) == find_gpus()
    assert (cpu.name, cpu.total_bytes) == ("cpu", main_memory().total)
    assert cpu.title


def test_packages_that_are_not_there_have_no_version() -> None:
    assert package_version("numpy")
    assert package_version("liverseg-no-such-package") is None
