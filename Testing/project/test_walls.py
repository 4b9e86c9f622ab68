"""Who may know whom: the walls between the Slicer module, the library and the training package."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HOUSES = ("LiverSeg", "LiverSegLib", "Training")
QT = {"qt", "ctk", "PySide2", "PySide6", "PyQt5", "PyQt6", "PythonQt"}
SLICER = {"slicer", "vtk", "vtkmodules", "trame_slicer"}
NETWORK = {"requests", "urllib", "urllib3", "socket", "http", "httpx", "aiohttp", "ftplib", "ssl", "xmlrpc"}
# The only files of the library that may speak to Slicer.
BRIDGES = {"LiverSegLib/slicer_bridge.py", "LiverSegLib/pictures/slicer_views.py"}


def sources(*houses: str) -> list[Path]:
    return sorted(path for house in houses for path in (ROOT / house).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Top-level names of every import in a file, wherever it stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def who_imports(forbidden: set[str], *houses: str) -> set[str]:
    """Files of the houses that import any of the forbidden packages."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in sources(*houses)
        if {name.partition(".")[0] for name in imports(path)} & forbidden
    }


def test_the_checks_see_the_sources() -> None:
    assert len(sources("LiverSegLib")) > 20
    assert who_imports({"torch"}, "LiverSegLib") >= {"LiverSegLib/engine/segmenter.py"}


def test_only_the_slicer_module_knows_qt() -> None:
    assert who_imports(QT, "LiverSegLib", "Training") == set()


def test_the_library_knows_neither_training_nor_the_module() -> None:
    assert who_imports({"Training", "LiverSeg"}, "LiverSegLib") == set()


def test_only_the_bridges_know_slicer() -> None:
    assert who_imports(SLICER, "LiverSegLib") <= BRIDGES


def test_training_knows_neither_slicer_nor_the_module() -> None:
    assert who_imports(SLICER | {"LiverSeg"}, "Training") == set()


def test_the_module_does_not_know_training() -> None:
    assert who_imports({"Training", "lightning", "pytorch_lightning"}, "LiverSeg") == set()


def test_the_library_never_reaches_for_the_network() -> None:
    found = {
        f"{path.relative_to(ROOT).as_posix()}: {name}"
        for path in sources("LiverSegLib")
        for name in imports(path)
        if name.partition(".")[0] in NETWORK and name != "urllib.parse"
    }
    assert found == set()


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Every call in a file with the dotted name of what is called."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


DANGEROUS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "builtins.eval",
    "builtins.exec",
    "pickle.load",
    "pickle.loads",
    "pickle.Unpickler",
    "marshal.loads",
    "joblib.load",
    "yaml.load",
    "yaml.unsafe_load",
    "torch.jit.load",
    "os.system",
    "os.popen",
}


def is_dangerous(name: str, call: ast.Call) -> bool:
    keywords = {k.arg: ast.unparse(k.value) for k in call.keywords}
    if name == "torch.load":
        return keywords.get("weights_only") != "True"
    if name in ("np.load", "numpy.load"):
        return keywords.get("allow_pickle", "False") != "False"
    return name in DANGEROUS or keywords.get("shell") == "True"


def test_no_data_is_ever_executed() -> None:
    found = [
        f"{path.relative_to(ROOT).as_posix()}:{call.lineno} {name}"
        for path in sources(*HOUSES)
        for name, call in calls(path)
        if is_dangerous(name, call)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("line", "dangerous"),
    [
        ("torch.load(path)", True),
        ("torch.load(path, weights_only=True)", False),
        ("np.load(path, allow_pickle=True)", True),
        ("np.load(path)", False),
        ("eval(text)", True),
        ("network.eval()", False),
        ("run(line, shell=True)", True),
    ],
)
def test_what_counts_as_dangerous(tmp_path: Path, line: str, dangerous: bool) -> None:
    (tmp_path / "a.py").write_text(line)
    assert [is_dangerous(*call) for call in calls(tmp_path / "a.py")] == [dangerous]


def test_no_file_is_a_drawer_for_everything() -> None:
    drawers = ("utils.py", "util.py", "helpers.py", "misc.py", "common.py")
    assert [p for p in sources(*HOUSES, "Testing") if p.name in drawers] == []


HEAVY = ("torch", "monai", "safetensors", "nibabel", "SimpleITK", "pydicom", "scipy", "matplotlib")


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("LiverSegLib", HEAVY),
        ("LiverSegLib.volume", HEAVY),
        ("LiverSegLib.errors", HEAVY),
        ("LiverSegLib.measure", HEAVY),
        ("LiverSegLib.io", HEAVY),
        ("LiverSegLib.models", HEAVY),
        ("LiverSegLib.models.config", HEAVY),
        ("LiverSegLib.networks", HEAVY),
        ("LiverSegLib.engine.segmenter", ("monai", "nibabel", "SimpleITK", "pydicom", "matplotlib")),
    ],
)
def test_importing_stays_cheap(module: str, unwanted: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print(*[m for m in {unwanted} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
