"""Holds the module, its `.ui` file and the stand-ins to the names that the real application's classes have.

`slicer_api.json` is what a running 3D Slicer 5.12.3 offers to Python, cut down to the classes that we use. In
PythonQt a Qt property is an attribute and not a method, so calling one fails there although PySide6 allows it.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
API: dict[str, Any] = json.loads((ROOT / "Testing" / "slicer_api.json").read_text(encoding="utf-8"))
CLASSES: dict[str, Any] = API["classes"]
UI = ElementTree.parse(ROOT / "LiverSeg" / "Resources" / "UI" / "LiverSeg.ui").getroot()
ROW = ElementTree.parse(ROOT / "LiverSeg" / "Resources" / "UI" / "FurtherImage.ui").getroot()
"""Loaded once for each further image of a case; `FurtherView` gives it the scene."""
FILES = [ROOT / "LiverSeg" / "LiverSeg.py", *sorted((ROOT / "LiverSeg" / "LiverSegUI").glob("*.py"))]
WIDGETS = {widget.get("name"): widget.get("class") for widget in UI.iter("widget")}
# Not QObjects, so that the list has no entry for them; their names here are those of Qt's documentation.
PLAIN = {
    "QTableWidgetItem": {"setFlags", "setCheckState", "checkState", "setText", "text", "setToolTip"},
    "QHeaderView": {"Stretch", "ResizeToContents"},
    "QAbstractItemView": {"SelectRows", "SingleSelection", "NoEditTriggers"},
    "QListWidgetItem": {"setFlags", "setCheckState", "checkState", "text"},
    "QVBoxLayout": {"addWidget", "addLayout"},
    "QHBoxLayout": {"addWidget", "addStretch"},
    "QEventLoop": {"exec", "quit"},
    "Qt": set(),
    "QUrl": {"fromLocalFile"},
    "QDesktopServices": {"openUrl"},
    # A widget, but not on the list; these are public or slots of it and of QWidget.
    "QDialog": {"setWindowTitle", "resize"},
}

# Downloads have it (qSlicerApplication.h); the application that was asked was built without extensions.
WITH_EXTENSIONS = {"openExtensionsManagerDialog"}


def api_of(class_name: str) -> tuple[set[str], set[str]]:
    """Names and properties of a class, those of QWidget included."""
    entry = next(CLASSES[key] for key in CLASSES if key.split(".")[-1] == class_name)
    base = CLASSES.get(entry.get("derives", ""), {})
    names = {*entry["names"], *base.get("names", ())}
    return names, {*entry.get("properties", ()), *base.get("properties", ())}


def signals_of(class_name: str) -> set[str]:
    return {s.split("(")[0] for s in next(CLASSES[k] for k in CLASSES if k.endswith("." + class_name))["signals"]}


class Uses(ast.NodeVisitor):
    """Collects (class, name, whether it is called, line) of what a file does with Qt objects."""

    def __init__(self, tree: ast.AST) -> None:
        self.found: list[tuple[str, str, bool, int]] = []
        self.modules: list[tuple[str, str, int]] = []
        self._types: dict[str, str] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign):
                targets, values = node.targets, [node.value] * len(node.targets)
                if isinstance(node.targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple):
                    targets, values = node.targets[0].elts, node.value.elts
                for target, value in zip(targets, values, strict=True):
                    kind = self._class_of(value)
                    if kind:
                        self._types[ast.unparse(target)] = kind
        self.visit(tree)

    def _class_of(self, node: ast.expr) -> str | None:
        """The Qt class of an expression, as far as it can be told."""
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("qt."):
            return ast.unparse(node.func)[3:]
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("slicer.q"):
            return ast.unparse(node.func).split(".")[-1]
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("batchTable.item"):
            return "QTableWidgetItem"
        text = ast.unparse(node)
        if text in self._types:
            return self._types[text]
        name = text.split(".")[-1]
        return WIDGETS.get(name) if "ui." in text.removesuffix(name) else None

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Attribute):
            self._note(node.func, True)
            self.visit(node.func.value)
        for child in [*node.args, *(k.value for k in node.keywords)]:
            self.visit(child)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self._note(node, False)
        self.generic_visit(node)

    def _note(self, node: ast.Attribute, called: bool) -> None:
        kind = self._class_of(node.value)
        if kind:
            self.found.append((kind, node.attr, called, node.lineno))
        value = ast.unparse(node.value)
        if value in ("slicer.util", "slicer.app", "qt"):
            self.modules.append((value, node.attr, node.lineno))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_code_uses_only_names_that_exist(path: Path) -> None:
    uses = Uses(ast.parse(path.read_text(encoding="utf-8")))
    for kind, name, called, line in uses.found:
        if kind in PLAIN:
            assert name in PLAIN[kind], f"{path.name}:{line}: {kind} has no {name}"
            continue
        names, properties = api_of(kind)
        assert name in names, f"{path.name}:{line}: {kind} has no {name}"
        if called:
            assert name not in properties, f"{path.name}:{line}: {kind}.{name} is a property, not a method"
        else:
            allowed = signals_of(kind) | {n for n in names if n not in properties}
            assert name in allowed, f"{path.name}:{line}: reading the property {kind}.{name} fails in PySide6"
    for module, name, line in uses.modules:
        known = {*PLAIN, *(key[3:] for key in CLASSES)} if module == "qt" else {*API[module], *WITH_EXTENSIONS}
        assert name in known, f"{path.name}:{line}: {module} has no {name}"


def test_the_check_finds_something() -> None:
    code = "timer = qt.QTimer()\ntimer.foo()\nself.ui.segmentButton.text()\nslicer.util.bar()\n"
    uses = Uses(ast.parse(code + "self.b = slicer.qMRMLSegmentationShow3DButton()\nself.b.baz()"))
    assert ("qMRMLSegmentationShow3DButton", "baz", True, 6) in uses.found
    assert ("QTimer", "foo", True, 2) in uses.found
    assert ("QPushButton", "text", True, 3) in uses.found
    assert ("slicer.util", "bar", 4) in uses.modules
    assert "text" in api_of("QPushButton")[1]


def test_ui_has_only_known_classes_and_properties() -> None:
    for widget in [*UI.iter("widget"), *ROW.iter("widget")]:
        _names, properties = api_of(widget.get("class", ""))
        for item in widget.findall("property"):
            # The buddy of a label is the form's doing, not a property.
            if item.get("stdset") != "0" and item.get("name") != "buddy":
                assert item.get("name") in properties, f"{widget.get('name')}: {item.get('name')}"


def test_every_control_has_a_tool_tip() -> None:
    silent = ("qMRMLWidget", "QLabel")
    for widget in [*UI.iter("widget"), *ROW.iter("widget")]:
        tips = [item for item in widget.findall("property") if item.get("name") == "toolTip"]
        assert tips or widget.get("class") in silent, f"{widget.get('name')} has no tool tip"


def test_ui_gives_the_scene_to_every_node_selector() -> None:
    selectors = {name for name, kind in WIDGETS.items() if kind == "qMRMLNodeComboBox"}
    connected = set()
    for item in UI.iter("connection"):
        parts = {child.tag: child.text for child in item}
        assert parts["signal"] in CLASSES["slicer.qMRMLWidget"]["signals"]
        assert str(parts["slot"]).split("(")[0] in CLASSES["slicer.qMRMLNodeComboBox"]["names"]
        connected.add(parts["receiver"])
    assert connected == selectors


def test_ui_names_only_parameters_that_exist() -> None:
    tree = ast.parse((ROOT / "LiverSeg" / "LiverSegUI" / "parameters.py").read_text(encoding="utf-8"))
    wrapper = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name.endswith("ParameterNode"))
    declared = {ast.unparse(n.target) for n in wrapper.body if isinstance(n, ast.AnnAssign)}
    for item in UI.iter("property"):
        if item.get("name") == "SlicerParameterName":
            assert item.findtext("string") in declared


def test_stand_ins_have_no_name_that_the_real_classes_lack() -> None:
    pytest.importorskip("slicer.util", exc_type=ImportError)
    pytest.importorskip("PySide6.QtWidgets", exc_type=ImportError)
    from Testing.headless import host, standins

    overrides = {"event", "paintEvent", "staticMetaObject"}
    for widget in standins.WIDGETS:
        names, _properties = api_of(widget.__name__)
        mine = {name for name in vars(widget) if not name.startswith("_")} - overrides
        assert mine <= names, f"{widget.__name__}: {mine - names}"
    for base in (host.ScriptedLoadableModuleWidget, host.ScriptedLoadableModuleLogic, host.ScriptedLoadableModuleTest):
        names, _properties = api_of(base.__name__)
        assert {name for name in vars(base) if not name.startswith("_")} <= names
    assert {name for name in vars(host.App) if not name.startswith("_")} <= set(API["slicer.app"])


def test_no_third_party_import_at_file_scope() -> None:
    import sys

    allowed = {*sys.stdlib_module_names, "numpy", "qt", "ctk", "vtk", "slicer", "LiverSegLib", "LiverSegUI"}
    for path in FILES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            parts = node.body if isinstance(node, ast.Try) else [node]
            for part in parts:
                names = [a.name for a in part.names] if isinstance(part, ast.Import) else []
                names += [part.module or ""] if isinstance(part, ast.ImportFrom) else []
                for name in names:
                    assert name.split(".")[0] in allowed, f"{path.name} imports {name}"


def test_torch_stays_out_of_slicers_process() -> None:
    """Importing it takes up to half a minute, in which the application would stand still."""
    import subprocess
    import sys

    code = (
        "import sys; import LiverSegLib.worker.session, LiverSegLib.worker.launch, LiverSegLib.io, "
        "LiverSegLib.measure, LiverSegLib.volume, LiverSegLib.sample; "
        "print([m for m in ('torch', 'monai', 'scipy', 'nibabel') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
