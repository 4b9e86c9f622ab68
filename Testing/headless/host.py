"""The host: an application object, the module's base classes, and a scene, for the unchanged LiverSeg.py."""

# The names are those of the application.
# ruff: noqa: N802, N815

from __future__ import annotations

import ctypes
import importlib.util
import sys
import time
import unittest
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import slicer
import slicer.util
import vtk
from PySide6.QtCore import QCoreApplication, QEvent, QEventLoop, QSettings, QTimer, qInstallMessageHandler
from PySide6.QtWidgets import QApplication, QVBoxLayout, QWidget

from Testing.headless import qt_module, sample_data, standins
from Testing.headless.scene import make_scene

MODULE = Path(__file__).resolve().parents[2] / "LiverSeg" / "LiverSeg.py"

_KNOWN_MESSAGES = (
    "qMRMLWidget::mrmlSceneChanged(vtkMRMLScene*)",
    "(sender name:   'LiverSeg')",
    "(receiver name:",
    "The set-type property filters",
    "propagateSizeHints",
)

if sys.version_info < (3, 12):
    # PySide6 gives away a reference to None with every None that it returns. Since 3.12 nobody counts them;
    # before, the interpreter ends at the last one, which a few thousand calls reach.
    ctypes.c_ssize_t.from_address(id(None)).value += 1 << 40


class LayoutManager:
    """The views: none is drawn, but what is asked of them is counted."""

    def __init__(self) -> None:
        self.resets = 0

    def resetThreeDViews(self) -> None:
        """Turn the 3D views to what they show."""
        self.resets += 1

    def mrmlSliceLogics(self) -> Any:
        """Logics of the slice views that are drawn."""
        return vtk.vtkCollection()


class ModuleParent(QWidget):
    """The widget in which the application keeps a module's panel; it knows whether it is shown."""

    isEntered = False


class App:
    """What we ask of `slicer.app`."""

    applicationName = "Slicer"

    def __init__(self, application: QApplication) -> None:
        self._application = application
        self._layout = LayoutManager()
        self.connections: list[tuple[str, Any]] = []

    def layoutManager(self) -> Any:
        """The views."""
        return self._layout

    def setOverrideCursor(self, cursor: Any) -> None:
        """Another mouse pointer."""
        self._application.setOverrideCursor(cursor)

    def restoreOverrideCursor(self) -> None:
        """The pointer of before."""
        self._application.restoreOverrideCursor()

    def clipboard(self) -> Any:
        """Qt's clipboard."""
        return self._application.clipboard()

    def connect(self, signal: str, slot: Any) -> None:
        """Remember a connection, for example to startupCompleted()."""
        self.connections.append((signal, slot))

    def testingEnabled(self) -> bool:
        """No dialogs."""
        return True


class ScriptedLoadableModule:
    """Base of the module class."""

    def __init__(self, parent: Any) -> None:
        self.parent = parent


class ScriptedLoadableModuleWidget:
    """Base of the panel: a parent with a layout."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.parent = parent
        self.layout = parent.layout()

    def resourcePath(self, name: str) -> str:
        """Path in the module's Resources."""
        return str(MODULE.parent / "Resources" / name)

    def setup(self) -> None:
        """Nothing outside developer mode."""

    def onReload(self) -> None:
        """Run the module's file anew and rebuild the panel."""
        current_host().reload()


class ScriptedLoadableModuleLogic:
    """Base of the logic: finds the singleton parameter node."""

    def __init__(self) -> None:
        self.moduleName = type(self).__name__[: -len("Logic")]

    def getParameterNode(self) -> Any:
        """The scene's parameter node of this module, made when it is first asked for."""
        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
            node.UnRegister(None)
            node.SetSingletonTag(self.moduleName)
            node.SetAttribute("ModuleName", self.moduleName)
            node.SetName(self.moduleName)
            node = slicer.mrmlScene.AddNode(node)
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """Base of the self test."""

    def delayDisplay(self, message: str) -> None:
        """Show a message for a moment."""
        print(message)


class Host:
    """A running "application" with the LiverSeg module loaded.

    Args:
        settings_folder: where QSettings are kept.
    """

    def __init__(self, settings_folder: Path) -> None:
        global _host
        _host = self
        self.messages: list[str] = []
        self._settings_folder = settings_folder
        qInstallMessageHandler(self._on_message)
        application = QApplication.instance() or QApplication([])
        assert isinstance(application, QApplication), "another test made an application without windows"
        self.application = application
        QCoreApplication.setOrganizationName("LiverSegTests")
        QCoreApplication.setApplicationName("Slicer")
        QSettings.setDefaultFormat(QSettings.Format.IniFormat)
        QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, str(settings_folder))
        self.selected: list[str] = []
        self.editor = standins.SegmentEditor()
        self.answers: list[Any] = []
        self.questions: list[str] = []
        self._install()
        self.scene = make_scene()
        self._add_modules()
        self.module = self._run_module()
        self.description = SimpleNamespace(path=str(MODULE))
        self.module.LiverSeg(self.description)
        self.parent = ModuleParent()
        self.widget = self._make_widget()

    def _on_message(self, _kind: Any, _context: Any, text: str) -> None:
        """Keep Qt's complaints, except those on C++ types that the stand-ins do not have."""
        if not any(known in text for known in _KNOWN_MESSAGES):
            self.messages.append(text)

    def _install(self) -> None:
        qt_module.install()
        slicer.app = App(self.application)
        bases = ModuleType("slicer.ScriptedLoadableModule")
        for base in (
            ScriptedLoadableModule,
            ScriptedLoadableModuleWidget,
            ScriptedLoadableModuleLogic,
            ScriptedLoadableModuleTest,
        ):
            setattr(bases, base.__name__, base)
        sys.modules["slicer.ScriptedLoadableModule"] = bases
        i18n = ModuleType("slicer.i18n")
        setattr(i18n, "tr", lambda text: text)  # noqa: B010 (a module made on the spot declares nothing)
        sys.modules["slicer.i18n"] = i18n
        from Testing.headless import parameter_node

        sys.modules["slicer.parameterNodeWrapper"] = parameter_node
        sys.modules["SampleData"] = sample_data
        slicer.util.childWidgetVariables = _named_children
        slicer.util.selectModule = self.select
        slicer.util.messageBox = self._ask
        slicer.util.getModuleLogic = lambda name: self.widget.logic  # noqa: ARG005
        slicer.util.getModuleWidget = lambda name: self.widget  # noqa: ARG005

    def _ask(self, text: str, **how: Any) -> Any:
        """A question to the user; the next of `answers` is the answer."""
        self.questions.append(text)
        answer = self.answers.pop(0)
        assert answer & how["standardButtons"], "there is no such button"
        return answer

    def _add_modules(self) -> None:
        representation = SimpleNamespace(self=lambda: SimpleNamespace(editor=self.editor))
        slicer.modules.segmenteditor = SimpleNamespace(widgetRepresentation=lambda: representation)
        slicer.modules.sampleDataSources = {}
        self.scene.SetCacheManager(self._cache_manager())
        for layout in ("Red", "Green", "Yellow"):
            node = slicer.vtkMRMLSliceCompositeNode()
            node.SetLayoutName(layout)
            node.SetSingletonTag(layout)
            self.scene.AddNode(node)

    def _cache_manager(self) -> Any:
        manager = slicer.vtkCacheManager()
        folder = self._settings_folder / "cache"
        folder.mkdir(exist_ok=True)
        manager.SetRemoteCacheDirectory(str(folder))
        return manager

    def _run_module(self) -> Any:
        """Execute the file as the application does, with the module's folder on the path."""
        folder = str(MODULE.parent)
        if folder not in sys.path:
            sys.path.append(folder)
        spec = importlib.util.spec_from_file_location("LiverSeg", MODULE)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["LiverSeg"] = module
        spec.loader.exec_module(module)
        return module

    def _make_widget(self) -> Any:
        if self.parent.layout() is None:
            QVBoxLayout(self.parent).setContentsMargins(2, 2, 2, 2)
        widget = self.module.LiverSegWidget(self.parent)
        widget.setup()
        return widget

    def select(self, name: str) -> None:
        """Switch to a module: the panel is entered or left, unless it was so already."""
        self.selected.append(name)
        enters = name == "LiverSeg"
        if enters != self.parent.isEntered:
            self.parent.isEntered = enters
            (self.widget.enter if enters else self.widget.exit)()

    def reload(self) -> None:
        """What Reload in developer mode does; a panel that is shown is not entered again."""
        self.module = self._run_module()
        self.widget.cleanup()
        layout: Any = self.parent.layout()
        while layout.count():
            old = layout.takeAt(0).widget()
            old.setMRMLScene(None)
            old.deleteLater()
        self.widget = self._make_widget()

    def close(self) -> None:
        """Quit."""
        self.widget.cleanup()
        self.scene.Clear(1)
        self.parent.deleteLater()
        self.application.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        self.spin(0.02)

    def spin(self, seconds: float) -> None:
        """Let the event loop run for a time."""
        self.spin_until(lambda: False, seconds)

    def spin_until(self, condition: Any, seconds: float = 60.0) -> bool:
        """Let the event loop run until the condition holds; False if it never did."""
        end = time.monotonic() + seconds
        loop, timer = QEventLoop(), QTimer()
        timer.timeout.connect(lambda: loop.quit() if condition() or time.monotonic() > end else None)
        timer.start(2)
        if not condition():
            loop.exec()
        timer.stop()
        return bool(condition())


_host: Host | None = None


def current_host() -> Host:
    """The host that runs."""
    assert _host is not None
    return _host


def _named_children(widget: QWidget) -> Any:
    """`slicer.util.childWidgetVariables`, which needs PythonQt's attribute `name`."""
    children = SimpleNamespace()
    for child in widget.findChildren(QWidget):
        if child.objectName() and not child.objectName().startswith("qt_"):
            setattr(children, child.objectName(), child)
    return children


__all__ = ["Host", "current_host", "standins"]
