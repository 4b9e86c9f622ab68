"""`python -m Training` as a program: one sentence on the screen, the traceback in the log."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BROKEN = "from Training import __main__ as program; program.app = lambda: 1 / 0; program.main()"


def run(cache: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LIVERSEG_CACHE": str(cache), "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, *words], env=environment, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (("-c", BROKEN), 2, "Error: Something went wrong (ZeroDivisionError: division by zero); details are in "),
        (
            ("-m", "Training", "prepare", "nothing", "-o", "out"),
            1,
            "Error: There is no recipe nothing; name a YAML file",
        ),
    ],
)
def test_an_error_is_a_sentence_and_its_story_is_in_the_log(
    tmp_path: Path, words: tuple[str, ...], status: int, sentence: str
) -> None:
    done = run(tmp_path, *words)
    assert done.returncode == status
    assert done.stderr.startswith(sentence)
    assert len(done.stderr.splitlines()) == 1
    log = tmp_path / "logs" / "liverseg.log"
    assert "Traceback" in log.read_text()
    assert log.stat().st_mode & 0o077 == 0
