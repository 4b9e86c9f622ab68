"""Which optional parts a run of the tests must have: without them tests are skipped, and a green run says little.

The environment variable LIVERSEG_REQUIRE names them, for example `slicer,dicom,quality`. A run in which one of them
cannot be imported ends at once and says which. Without the variable such tests are skipped, as on a machine that has
only what a contributor needs.
"""

from __future__ import annotations

import contextlib
import importlib
import os

import pytest

VARIABLE = "LIVERSEG_REQUIRE"
PARTS = {
    "bundle": ("ignite", "fire"),
    "cluster": ("submitit", "distributed"),
    "dicom": ("pydicom", "highdicom"),
    "notebooks": ("nbformat", "nbclient", "ipykernel"),
    "gzip": ("isal.isal_zlib",),
    "loggers": ("mlflow",),
    "openvino": ("openvino",),
    "pictures": ("matplotlib",),
    "quality": ("ruff", "mypy"),
    "slicer": ("slicer.util", "trame_slicer", "PySide6.QtWidgets"),
    "training": ("lightning.pytorch", "pydantic", "yaml", "tensorboard", "torchmetrics", "markdown_it"),
    "wandb": ("wandb",),
}
"""For each part the modules that the tests ask for with `pytest.importorskip`, or import in the code under test."""


def check(required: str) -> None:
    """Import all modules of the required parts.

    Args:
        required: names of `PARTS` with commas between them; "" for none.

    Raises:
        pytest.UsageError: a name that is no part, or a module that cannot be imported; names each with its reason.
    """
    names = [name.strip() for name in required.split(",") if name.strip()]
    unknown = sorted(set(names) - set(PARTS))
    if unknown:
        raise pytest.UsageError(f"{VARIABLE} asks for {', '.join(unknown)}; there are {', '.join(sorted(PARTS))}.")
    missing = [f"{name} ({problem})" for name in names for problem in map(_problem, PARTS[name]) if problem]
    if missing:
        raise pytest.UsageError(f"{VARIABLE} asks for what is not installed here: {'; '.join(missing)}.")


def _problem(module: str) -> str:
    """Why a module cannot be imported; "" if it can."""
    try:
        importlib.import_module(module)
    except ImportError as error:
        return f"{module}: {error}"
    return ""


def pytest_sessionstart() -> None:
    """Look before the first test is collected."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    # pydantic imports its parts when they are first used, which fails once PySide6 looks into every import.
    with contextlib.suppress(ImportError):
        importlib.import_module("pydantic.fields")
    check(os.environ.get(VARIABLE, ""))
