"""The fuzzers' own harness, and a small run of each fuzzer: no case ends in anything but a result or a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from Testing.fuzz import harness, images

TARGET = """
import ctypes, os, time
import numpy as np
from LiverSegLib.errors import InputError

def case(seed, number, folder):
    print("noise on stdout")
    (folder / "input").write_bytes(bytes([seed, number]))
    if number == 1:
        raise InputError("input is damaged; copy it again.")
    if number == 2:
        ctypes.string_at(0)
    if number == 3:
        time.sleep(600)
    if number == 4:
        np.ones(60 << 20, np.uint8)
    if number == 5:
        np.ones(20 << 30, np.uint8)
    if number == 6:
        raise ZeroDivisionError("division by zero")
    if number == 7:
        raise InputError("two\\nlines.")
    if number == 8:
        os._exit(3)
    return "read"
"""


def test_the_harness_outlives_and_names_every_way_to_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "failing_target.py").write_text(TARGET)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    report = harness.run("failing_target", 1, 10, limits=harness.Limits(grown=32 << 20, seconds=5))

    assert report.cases == 10
    assert dict(report.outcomes) == {"read": 2, "refused": 1}
    found = {escape.number: escape for escape in report.escapes}
    assert [found[n].kind for n in (6, 7, 8)] == ["ZeroDivisionError", "AssertionError", "exit status 3"]
    assert found[5].kind.endswith("MemoryError")
    assert found[2].kind.startswith("signal")
    assert "string_at" in found[2].detail
    assert found[3].kind == "hang of more than 5 s"
    assert found[4].kind == "memory"
    assert found[4].detail.startswith(("59 MiB", "60 MiB"))  # pages that were there before count, too
    assert "--seed 1 --first 6 --count 1" in str(report)


def test_damaged_and_hostile_images_end_in_a_volume_or_a_sentence() -> None:
    report = images.run(seed=20, count=600)
    assert report.escapes == [], str(report)
    assert report.cases == 600
    assert min(report.outcomes["read"], report.outcomes["refused"]) > 60
