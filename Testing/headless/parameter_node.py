"""A small `parameterNodeWrapper`: typed parameters in a real vtkMRMLScriptedModuleNode, bound to widgets."""

# The names are those of the real wrapper.
# ruff: noqa: N802

from __future__ import annotations

from typing import Any

import slicer
import slicer.util
import vtk
from PySide6.QtWidgets import QCheckBox

from Testing.headless.standins import qMRMLNodeComboBox


def parameterNodeWrapper(declared: type) -> type:
    """The class decorator: each annotation becomes a property that reads and writes the node."""
    members = {name: (kind, declared.__dict__.get(name)) for name, kind in declared.__annotations__.items()}
    for name, (kind, default) in members.items():
        setattr(declared, name, _property(name, kind, default))
    for name, method in vars(_Wrapper).items():
        if not name.startswith("__") or name == "__init__":
            setattr(declared, name, method)
    setattr(declared, "allParameters", members)  # noqa: B010 (the class that is wrapped does not declare it)
    return declared


def _property(name: str, kind: type, default: Any) -> property:
    def read(self: Any) -> Any:
        if issubclass(kind, slicer.vtkMRMLNode):
            return self.parameterNode.GetNodeReference(name)
        text = self.parameterNode.GetParameter(name)
        if text == "":
            return kind() if default is None else default
        return text == "True" if kind is bool else kind(text)

    def write(self: Any, value: Any) -> None:
        if issubclass(kind, slicer.vtkMRMLNode):
            self.parameterNode.SetNodeReferenceID(name, value.GetID() if value is not None else None)
        elif not isinstance(value, kind):
            raise TypeError(f"{name} should be {kind.__name__}, not {value!r}")
        else:
            self.parameterNode.SetParameter(name, str(value))

    return property(read, write)


class _Wrapper:
    """The methods that every wrapped class has."""

    allParameters: dict[str, tuple[type, Any]]  # noqa: N815

    def __init__(self, parameterNode: Any) -> None:  # noqa: N803
        self.parameterNode = parameterNode
        self._connections: dict[int, Any] = {}
        self._writing = False

    def connectGui(self, gui: Any) -> int:
        """Bind the widgets that have a SlicerParameterName; returns a tag."""
        pairs = {w.property("SlicerParameterName"): w for w in vars(gui).values()}
        pairs = {name: widget for name, widget in pairs.items() if name}
        unknown = set(pairs) - set(self.allParameters)
        if unknown:
            raise ValueError(f"no parameters called {unknown}")
        slots = {name: self._slot(name, widget) for name, widget in pairs.items()}
        self._show(pairs)
        for name, widget in pairs.items():
            _signal(widget).connect(slots[name])
        tag = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._show(pairs))
        self._connections[tag] = (pairs, slots)
        return tag

    def disconnectGui(self, tag: int | None) -> None:
        """Undo `connectGui`; an unknown tag is ignored."""
        if tag is None or tag not in self._connections:
            return
        pairs, slots = self._connections.pop(tag)
        for name, widget in pairs.items():
            _signal(widget).disconnect(slots[name])
        self.RemoveObserver(tag)

    def AddObserver(self, event: Any, callback: Any, priority: float = 0.0) -> int:
        """Observe the node."""
        return int(self.parameterNode.AddObserver(event, callback, priority))

    def RemoveObserver(self, tag: int) -> None:
        """End an observation."""
        self.parameterNode.RemoveObserver(tag)

    def _slot(self, name: str, widget: Any) -> Any:
        def changed(*_: Any) -> None:
            if not self._writing:
                value = widget.isChecked() if isinstance(widget, QCheckBox) else widget.currentNode()
                setattr(self, name, value)

        return changed

    def _show(self, pairs: dict[str, Any]) -> None:
        if self._writing:
            return
        self._writing = True
        for name, widget in pairs.items():
            value = getattr(self, name)
            if isinstance(widget, QCheckBox):
                widget.setChecked(value)
            else:
                widget.setCurrentNode(value)
        self._writing = False


def _signal(widget: Any) -> Any:
    """What tells of a change; the real wrapper refuses other widgets just so."""
    if type(widget) is QCheckBox:
        return widget.stateChanged
    if type(widget) is qMRMLNodeComboBox:
        return widget.currentNodeChanged
    raise RuntimeError(f"the parameter node cannot be bound to a {type(widget).__name__}")
