"""A real MRML scene with the real module logics, wired as the application wires them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import slicer
import slicer.util
import vtk

_LOGICS = {
    "segmentations": "vtkSlicerSegmentationsModuleLogic",
    "volumes": "vtkSlicerVolumesLogic",
    "subjecthierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "markups": "vtkSlicerMarkupsLogic",
    "tables": "vtkSlicerTablesLogic",
    "transforms": "vtkSlicerTransformLogic",
    "colors": "vtkMRMLColorLogic",
}


def make_scene() -> Any:
    """Put a new scene at `slicer.mrmlScene` and the logics at `slicer.modules`; returns the scene."""
    output = vtk.vtkOutputWindow()
    output.SetDisplayModeToAlwaysStdErr()
    vtk.vtkOutputWindow.SetInstance(output)
    scene = slicer.vtkMRMLScene()
    application_logic = slicer.vtkSlicerApplicationLogic()
    application_logic.SetMRMLScene(scene)
    application_logic.GetColorLogic().SetMRMLScene(scene)
    slicer.mrmlScene = scene
    modules = getattr(slicer, "modules", None) or SimpleNamespace()
    for name, class_name in _LOGICS.items():
        logic = getattr(slicer, class_name)()
        logic.SetMRMLScene(scene)
        if hasattr(logic, "SetMRMLApplicationLogic"):
            logic.SetMRMLApplicationLogic(application_logic)
        application_logic.SetModuleLogic(name.capitalize(), logic)
        setattr(modules, name, SimpleNamespace(name=name, logic=lambda logic=logic: logic))
    # Without a scene it does not look for the application's lists of terms, only reads and writes entries.
    terminologies = slicer.vtkSlicerTerminologiesModuleLogic()
    modules.terminologies = SimpleNamespace(name="terminologies", logic=lambda: terminologies)
    modules.application_logic = application_logic
    slicer.modules = modules
    scene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, _add_to_hierarchy)
    scene.AddObserver(slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, _remove_from_hierarchy)
    return scene


@vtk.calldata_type(vtk.VTK_OBJECT)  # type: ignore[untyped-decorator]
def _add_to_hierarchy(scene: Any, _event: str, node: Any) -> None:
    """An item for each data node: the application's subject hierarchy plugins do this."""
    if scene.IsBatchProcessing():
        return
    if node.IsA("vtkMRMLDisplayableNode") or node.IsA("vtkMRMLTableNode"):
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
        if not hierarchy.GetItemByDataNode(node):
            hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)


@vtk.calldata_type(vtk.VTK_OBJECT)  # type: ignore[untyped-decorator]
def _remove_from_hierarchy(scene: Any, _event: str, node: Any) -> None:
    """No item without its node; the plugins do this too."""
    if scene is None:  # a scene on its way out
        return
    hierarchy = scene.GetFirstNodeByClass("vtkMRMLSubjectHierarchyNode")
    item = hierarchy.GetItemByDataNode(node) if hierarchy is not None and not scene.IsBatchProcessing() else 0
    if item:
        hierarchy.RemoveItem(item, False, False)
