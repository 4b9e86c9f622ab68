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
# The only file of the library that may speak to Slicer.
BRIDGES = {"LiverSegLib/slicer_bridge.py"}
# The only file of the library that may speak to a network.
DOWNLOADERS = {"LiverSegLib/models/download.py"}


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
    assert who_imports({"torch"}, "LiverSegLib") >= {"LiverSegLib/engine/one_model.py"}


def test_only_the_slicer_module_knows_qt() -> None:
    assert who_imports(QT, "LiverSegLib", "Training") == set()


def test_the_library_knows_neither_training_nor_the_module() -> None:
    assert who_imports({"Training", "LiverSeg"}, "LiverSegLib") == set()


def test_only_the_bridge_knows_slicer() -> None:
    assert who_imports(SLICER, "LiverSegLib") == BRIDGES


def test_training_knows_neither_slicer_nor_the_module() -> None:
    assert who_imports(SLICER | {"LiverSeg"}, "Training") == set()


def test_the_module_does_not_know_training() -> None:
    assert who_imports({"Training", "lightning", "pytorch_lightning"}, "LiverSeg") == set()


def test_only_the_download_knows_the_network() -> None:
    found = {
        path.relative_to(ROOT).as_posix()
        for path in sources("LiverSegLib", "LiverSeg")
        for name in imports(path)
        if name.partition(".")[0] in NETWORK and name != "urllib.parse"
    }
    assert found == DOWNLOADERS


def test_only_the_store_fetches() -> None:
    """Nothing is fetched unless a user asks the store for it."""
    known = {**modules("LiverSegLib"), **modules("LiverSeg")}
    fetching = "LiverSegLib.models.download"
    users = {name for name, path in known.items() if fetching in imported_modules(path, known)}
    assert users == {"LiverSegLib.models.installed"}


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
        ("LiverSegLib.system", HEAVY),
        ("LiverSegLib.errors", HEAVY),
        ("LiverSegLib.measure", HEAVY),
        ("LiverSegLib.io", HEAVY),
        ("LiverSegLib.models", HEAVY),
        ("LiverSegLib.models.config", HEAVY),
        ("LiverSegLib.models.installed", HEAVY),
        ("LiverSegLib.networks", HEAVY),
        # What the module imports while Slicer starts.
        ("LiverSegLib.worker.errand", (*HEAVY, "PIL", "yaml")),
        ("LiverSegLib.followup.files", (*HEAVY, "PIL", "yaml")),
        ("LiverSegLib.engine.segmenter", ("monai", "nibabel", "SimpleITK", "pydicom", "matplotlib")),
    ],
)
def test_importing_stays_cheap(module: str, unwanted: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print(*[m for m in {unwanted} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


# The rooms of Training, and whom each may know. Commands put them together; nobody knows the commands.
TRAINING_ROOMS = {
    "errors": set(),
    "files": set(),
    "markdown": set(),
    "recipe": {"files"},
    "data": {"errors", "files", "markdown", "recipe"},
    "augment": {"recipe"},
    "evaluation": {"augment", "data", "errors", "files", "recipe"},
    "fit": {"augment", "data", "errors", "files", "recipe"},
    "planning": {"data", "errors", "files", "fit", "recipe"},
    "reports": {"data", "errors", "evaluation", "files", "fit", "markdown"},
    "packages": {"errors", "evaluation", "fit", "markdown", "recipe", "reports"},
    "corrections": {"data", "errors", "files", "fit", "markdown", "packages", "recipe"},
    "folds": {"data", "errors", "evaluation", "files", "fit", "packages", "recipe", "reports"},
    "commands": {
        "corrections",
        "data",
        "errors",
        "evaluation",
        "fit",
        "folds",
        "packages",
        "planning",
        "recipe",
        "reports",
    },
    "__main__": {"commands"},
}

# The rooms of the library from the lowest to the highest: each may know those that stand before it.
LIBRARY_ROOMS = (
    "__init__",
    "errors",
    "printable",
    "stopping",
    "plain_data",
    "plain_yaml",
    "boxes",
    "system",
    "freed_memory",
    "labels",
    "measure",
    "quality",
    "request",
    "volume",
    "io",
    "networks",
    "models",
    "log",
    "engine",
    "phantom",
    "sample",
    "pictures",
    "report",
    "followup",
    "slicer_bridge",
    "worker",
    "batch",
    "cli",
)
# What still looks upwards.
UPWARDS: set[tuple[str, str]] = set()


def imported_modules(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """The modules of `known` that a file imports, at its top or anywhere else."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield from [name for name in (full, node.module) if name in known][:1]


def modules(house: str) -> dict[str, Path]:
    """Every module of a house by its dotted name."""
    names = {path: path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for path in sources(house)}
    return {name.removesuffix(".__init__"): path for path, name in names.items()}


def room(name: str) -> str:
    """The room, or the single file, in which a module stands."""
    return [*name.split("."), "__init__"][1]


def looks(house: str) -> set[tuple[str, str]]:
    """Pairs of rooms of which the first imports from the second."""
    known = modules(house)
    found = {(room(name), room(other)) for name, path in known.items() for other in imported_modules(path, known)}
    return {(first, second) for first, second in found if first != second}


def test_the_rooms_of_training_know_whom_they_may() -> None:
    found = looks("Training")
    assert {name for pair in found for name in pair} <= TRAINING_ROOMS.keys()
    assert found - {(first, second) for first, others in TRAINING_ROOMS.items() for second in others} == set()


def test_the_rooms_of_training_depend_one_way() -> None:
    left = {name: set(others) for name, others in TRAINING_ROOMS.items()}
    while free := [name for name, others in left.items() if not others & left.keys()]:
        for name in free:
            del left[name]
    assert left == {}


def test_the_rooms_of_the_library_know_only_lower_ones() -> None:
    found = looks("LiverSegLib")
    assert {name for pair in found for name in pair} <= set(LIBRARY_ROOMS)
    upwards = {pair for pair in found if LIBRARY_ROOMS.index(pair[0]) < LIBRARY_ROOMS.index(pair[1])}
    assert upwards <= UPWARDS


@pytest.mark.parametrize("house", HOUSES)
def test_no_modules_import_each_other_in_a_circle(house: str) -> None:
    known = modules(house)
    left = {name: set(imported_modules(path, known)) - {name} for name, path in known.items()}
    while free := [name for name, others in left.items() if not others & left.keys()]:
        for name in free:
            del left[name]
    # Whoever imports a circle is left too; within it everybody is imported by somebody who is left.
    while outside := left.keys() - set().union(*left.values()):
        for name in outside:
            del left[name]
    assert left.keys() <= MODULE_CIRCLES


# What is still to be taken apart.
MODULE_CIRCLES: set[str] = set()

# Files inside a run and inside a prepared folder, and the only module that may name them.
FILE_NAMES = {
    "Training/fit/run_folder.py": {
        "recipe.yaml",
        "checkpoints",
        "logs",
        "best.ckpt",
        "last.ckpt",
        "history.csv",
        "history.png",
        "first_batch.png",
        "model.txt",
        "system.json",
    },
    "Training/data/folder.py": {
        "recipe.yaml",
        "index.json",
        "split.json",
        "report.md",
        "report.json",
        "_image.npy",
        "_label.npy",
    },
}


def constants(path: Path) -> set[str]:
    """The texts in a file, also the parts of f-strings, and what stands behind the last slash of each."""
    nodes = [n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Constant)]
    return {node.value.rpartition("/")[2] for node in nodes if isinstance(node.value, str)}


def test_only_one_module_knows_the_names_of_files_in_a_run_and_in_a_prepared_folder() -> None:
    for home, names in FILE_NAMES.items():
        assert names <= constants(ROOT / home)
    forbidden = set().union(*FILE_NAMES.values())
    found = {path.relative_to(ROOT).as_posix(): constants(path) & forbidden for path in sources("Training")}
    assert {path for path, names in found.items() if names} == set(FILE_NAMES)
