"""The whole command with the real engine, killed at random; `python -m Testing.kill_test` does so with thousands."""

from __future__ import annotations

from pathlib import Path

import pytest

from Testing.kill_test.inputs import write_inputs
from Testing.kill_test.killing import run_and_kill
from Testing.kill_test.verdict import faults, innocent_failures


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the processes in /proc")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_nothing_is_lost_when_runs_and_processes_are_killed(tmp_path: Path, threshold_package: object) -> None:
    truths = write_inputs(tmp_path / "images", 60)
    package = threshold_package(labels=1)  # type: ignore[operator]
    out = tmp_path / "out"
    arguments = ["batch", str(tmp_path / "images"), "-o", str(out), "--model", str(package), "--device", "cpu"]
    arguments += ["--workers", "1"]
    kills = run_and_kill(arguments, out / "table.csv", tmp_path / "log.txt", every_s=4.0, most=3, seed=4)
    assert kills.workers + kills.runs > 0
    assert innocent_failures(out, truths) == 0
    assert faults(out, truths) == []
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "58 done" in page
    assert (tmp_path / "log.txt").read_text().count("Traceback") == 0
