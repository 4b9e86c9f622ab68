"""The checkers of the pull request pass: style and types over the whole repository."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("command", ["ruff check", "ruff format --check", "mypy"])
def test_the_checker_finds_nothing(command: str) -> None:
    tool, *arguments = command.split()
    pytest.importorskip(tool, reason=f"{tool} is not installed")
    # mypy takes its packages, ruff its rules from pyproject.toml.
    where = [] if tool == "mypy" else ["."]
    done = subprocess.run(
        [sys.executable, "-m", tool, *arguments, *where],
        cwd=ROOT, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-6000:]}{done.stderr[-2000:]}"
