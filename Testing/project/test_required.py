"""A run that must have an extra fails without it; it does not skip."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from Testing import required

ROOT = Path(__file__).resolve().parents[2]
# These are no extra of ours: a test looks at them only where another package or program brings them.
NOBODY_MUST_HAVE = {"einops"}


def collect(tmp_path: Path, parts: str) -> subprocess.CompletedProcess[str]:
    """Collect one file of tests with LIVERSEG_REQUIRE set, on a machine on which pydicom cannot be imported."""
    (tmp_path / "pydicom.py").write_text("raise ImportError('made for a test')\n")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--collect-only",
        "-q",
        "-p",
        "no:cacheprovider",
        "Testing/project/test_cmake.py",
    ]
    environment = {**os.environ, "PYTHONPATH": path, required.VARIABLE: parts}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_a_run_without_a_required_extra_fails_and_says_which(tmp_path: Path) -> None:
    done = collect(tmp_path, "quality, dicom")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "dicom (pydicom: made for a test)" in done.stderr


def test_a_run_that_does_not_ask_goes_on(tmp_path: Path) -> None:
    done = collect(tmp_path, "quality")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_name_that_is_no_extra_is_refused() -> None:
    with pytest.raises(pytest.UsageError, match="asks for slicr; there are bundle, cluster, dicom,"):
        required.check("slicr")


def test_every_module_that_tests_may_skip_for_can_be_required() -> None:
    known = {module.partition(".")[0] for modules in required.PARTS.values() for module in modules}
    skipped = {
        call.args[0].value.partition(".")[0]
        for path in (ROOT / "Testing").rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.importorskip"
        if isinstance(call.args[0], ast.Constant) and isinstance(call.args[0].value, str)
    }
    assert skipped - known - NOBODY_MUST_HAVE <= {"nibabel", "safetensors"}  # these are always installed
