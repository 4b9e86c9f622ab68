"""The lowest priority, which 3D Slicer on Linux gives itself, is told of."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CODE = "from LiverSegLib.worker.priority import priority_hint; print(priority_hint())"


@pytest.mark.skipif(not hasattr(os, "getpriority"), reason="priorities of POSIX")
def test_only_the_lowest_priority_is_told_of() -> None:
    said = []
    for lower in (0, 19):
        code = f"import os; os.nice({lower}); {CODE}"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
        said.append(done.stdout.strip())
    assert said[0] == ""
    assert "SLICER_BACKGROUND_THREAD_PRIORITY=0" in said[1]
