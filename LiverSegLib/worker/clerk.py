"""Does the tasks of an application in a process of its own: the page of a case, its DICOM files, a follow-up.

What takes long to import is imported only when a task needs it, and nothing that 3D Slicer does not have, or has
been asked to install.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from LiverSegLib.errors import ModelError, SegmentationCancelled
from LiverSegLib.io.atomic import atomic_files
from LiverSegLib.labels import Label, labels_for
from LiverSegLib.measure import measure
from LiverSegLib.models import ModelDescription, find_package, read_description
from LiverSegLib.volume import Result, Volume
from LiverSegLib.worker.arrays import read_array
from LiverSegLib.worker.tasks import Alignment, CompareTask, DicomTask, Labelmap, Making, ReportTask, Scan, read_task

if TYPE_CHECKING:
    from LiverSegLib.followup.register import Registration


@dataclass(frozen=True, kw_only=True)
class Step:
    """Where a task stands.

    Args:
        step: what is done now: "read", "measure", "compare", "draw" or "write".
        done, total: steps.
    """

    step: str
    done: int
    total: int


class Steps:
    """Tells the steps of a task one after the other, and ends it between two of them where that is wanted.

    Args:
        names: of the steps, in their order.
        tell: called with each `Step`.
        should_stop: asked before each.
    """

    def __init__(self, names: tuple[str, ...], tell: Callable[[Step], None], should_stop: Callable[[], bool]) -> None:
        self._names, self._tell, self._should_stop = names, tell, should_stop

    def begin(self, name: str) -> None:
        """A step begins.

        Raises:
            SegmentationCancelled: the task is not wanted any more.
        """
        if self._should_stop():
            raise SegmentationCancelled("Stopped; nothing was written.")
        self._tell(Step(step=name, done=self._names.index(name), total=len(self._names)))


def do_task(path: Path, tell: Callable[[Step], None], should_stop: Callable[[], bool]) -> str:
    """Do what the file of a task says.

    Args:
        path: the file, in the folder of its arrays.
        tell: called with each `Step`.
        should_stop: asked between two steps.

    Returns:
        A sentence that the user should read beside that all went well, or "".

    Raises:
        LiverSegError: it cannot be done; nothing was written.
    """
    task, folder = read_task(path), path.parent
    if isinstance(task, DicomTask):
        return _dicom(task, folder, Steps(("read", "measure", "write"), tell, should_stop))
    if isinstance(task, CompareTask):
        _compare(task, folder, Steps(("read", "compare", "draw"), tell, should_stop))
    else:
        _report(task, folder, Steps(("read", "measure", "draw"), tell, should_stop))
    return ""


def _report(task: ReportTask, folder: Path, steps: Steps) -> None:
    from LiverSegLib.report import write_case_report

    steps.begin("read")
    with atomic_files(Path(task.out).parent):
        pass  # whether it can be written is told before the pictures are drawn
    model = _description(task.making)
    volume, labelmap = _voxels(task.scan, folder)
    steps.begin("measure")
    result = _result(volume, labelmap, task.scan, task.making, model)
    steps.begin("draw")
    write_case_report(volume, result, Path(task.out), model=model, by_hand=task.making.by_hand)


def _dicom(task: DicomTask, folder: Path, steps: Steps) -> str:
    """On the grid of the images, as the files say which voxels of each image are what."""
    from LiverSegLib.io.dicom.regrid import regrid
    from LiverSegLib.io.dicom.source import source_of_files
    from LiverSegLib.io.dicom.write import write_dicom

    steps.begin("read")
    model, source = _description(task.making), source_of_files([Path(image) for image in task.images])
    volume, labelmap = _voxels(task.scan, folder)
    way = regrid(labelmap.shape, volume.affine, source.shape, source.affine, volume.name)
    volume = replace(volume, array=way.apply(volume.array), affine=source.affine)
    steps.begin("measure")
    turned = np.asarray(way.apply(labelmap), np.uint8)
    result = _result(volume, turned, task.scan, task.making, model)
    steps.begin("write")
    seg, report = Path(task.seg), Path(task.report)
    version = "" if model is None else model.version
    with atomic_files(seg.parent) as opener:
        write_dicom(seg, report, result, source, version=version, by_hand=task.making.by_hand, opener=opener)
    return source.note


def _compare(task: CompareTask, folder: Path, steps: Steps) -> None:
    from LiverSegLib.followup import TimePoint, compare
    from LiverSegLib.followup.write import write_comparison

    steps.begin("read")
    scans = (task.baseline, task.followup)
    lesions = dict.fromkeys(label.name for scan in scans for label in scan.labels if label.is_lesion)
    points = []
    for scan in scans:
        volume, labelmap = _voxels(scan, folder)
        labels = _with_names(scan.labels, tuple(lesions))
        points.append(TimePoint(labelmap=labelmap, affine=volume.affine, labels=labels, name=scan.name, volume=volume))
    steps.begin("compare")
    transform = None if task.alignment is None else _transform(task.alignment, folder)
    found = compare(*points, transform=transform, deformable=task.deformable)
    steps.begin("draw")
    write_comparison(Path(task.out), found, *points)


def _with_names(labels: tuple[Label, ...], names: tuple[str, ...]) -> tuple[Label, ...]:
    """The labels, and others that were looked for in vain: a scan without lesions has no segment of them."""
    found = {label.value: label.name for label in labels}
    free = (value for value in range(1, 256) if value not in found)
    new = [name for name in names if name not in found.values()]
    return labels_for({**found, **dict(zip(free, new, strict=False))})


def _transform(alignment: Alignment, folder: Path) -> npt.NDArray[np.float64] | Registration:
    """How the baseline lies in the follow-up."""
    from LiverSegLib.followup.given import bent_registration
    from LiverSegLib.followup.register import Grid

    if alignment.matrix is not None:
        return np.array(alignment.matrix)
    moved = read_array(folder / alignment.moved)
    i, j, k = moved.shape[:3]
    return bent_registration(Grid(np.array(alignment.origin), (i, j, k), alignment.step), moved)


def _voxels(scan: Scan, folder: Path) -> tuple[Volume, Labelmap]:
    """The volume and the label map of a scan, mapped from their files."""
    array = read_array(folder / scan.volume, "r")
    return Volume(array, np.array(scan.affine), scan.name, scan.modality), read_array(folder / scan.labelmap, "r")


def _description(making: Making) -> ModelDescription | None:
    """What the model says of itself; None where it is not known or was removed since."""
    if making.package:
        with suppress(ModelError):
            return read_description(find_package(making.package))
    return None


def _result(volume: Volume, labelmap: Labelmap, scan: Scan, making: Making, model: ModelDescription | None) -> Result:
    """A case as the segmenter would have given it, measured as it stands."""
    modality = volume.modality or ("" if model is None else model.modality)
    return Result(
        labelmap=labelmap,
        affine=volume.affine,
        labels=scan.labels,
        measurements=measure(labelmap, volume.affine, scan.labels, volume.array, "HU" if modality == "CT" else ""),
        timings=making.timings,
        warnings=making.warnings,
        device=making.device,
        model=making.model,
        quality=making.quality,
    )
