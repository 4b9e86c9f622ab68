"""What an application has done by a process of its own with a case of its scene: plain data, voxels in files beside it.

A task is one file of JSON in a private folder (`ArrayFolder`) that also has the arrays. `LiverSegLib.worker.clerk` does
what it says.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from LiverSegLib.errors import OutputError, ProtocolError
from LiverSegLib.labels import Label
from LiverSegLib.plain_data import from_plain
from LiverSegLib.quality import Quality
from LiverSegLib.volume import Volume
from LiverSegLib.worker.arrays import ArrayFolder, matrix_of
from LiverSegLib.worker.messages import Matrix

_FILE = "task.json"
Labelmap = npt.NDArray[np.uint8]
Point = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Scan:
    """A volume and what is drawn on it.

    Args:
        name, modality, affine: of the volume, as in `Volume`.
        volume, labelmap: names of the files with the arrays [i, j, k].
        labels: what the values of the label map mean.
    """

    name: str
    modality: str | None
    affine: Matrix
    volume: str
    labelmap: str
    labels: tuple[Label, ...]


@dataclass(frozen=True, kw_only=True)
class Making:
    """What is known of how a label map was made.

    Args:
        model: title and version, "" where it is not known.
        package: name or path of its package, "" likewise.
        device, timings, warnings, quality: as in `Result`.
        by_hand: names of the labels that a person drew or changed, or that came from elsewhere.
    """

    model: str = ""
    package: str = ""
    device: str = ""
    timings: dict[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    quality: Quality | None = None
    by_hand: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ReportTask:
    """Write the page of a case.

    Args:
        scan, making: the case.
        out: path of the .html file.
    """

    scan: Scan
    making: Making
    out: str


@dataclass(frozen=True, kw_only=True)
class DicomTask:
    """Write a DICOM segmentation and a DICOM report of a case that was loaded from DICOM.

    Args:
        scan, making: the case.
        images: paths of the DICOM files that the volume was loaded from.
        seg, report: paths of the two files, in one folder.
    """

    scan: Scan
    making: Making
    images: tuple[str, ...]
    seg: str
    report: str


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """How points of the baseline lie in the follow-up, both in RAS mm of their volumes.

    Args:
        matrix: 4x4; None where `moved` tells it.
        moved: name of the file with the places [x, y, z, 3] of a grid's points in the follow-up, "" for none.
        origin, step: of that grid, on the baseline.
    """

    matrix: Matrix | None = None
    moved: str = ""
    origin: Point = (0.0, 0.0, 0.0)
    step: float = 1.0


@dataclass(frozen=True, kw_only=True)
class CompareTask:
    """Compare two scans of one patient and write the comparison.

    Args:
        baseline, followup: the scans.
        out: path of an empty folder for the table, the page and its pictures.
        deformable: bend the liver, too, when the scans are registered.
        alignment: how the scans lie to each other; None: the livers are registered.
    """

    baseline: Scan
    followup: Scan
    out: str
    deformable: bool = False
    alignment: Alignment | None = None


Task = ReportTask | DicomTask | CompareTask
_TASKS: dict[str, type[Task]] = {kind.__name__: kind for kind in (ReportTask, DicomTask, CompareTask)}


def put_scan(folder: ArrayFolder, volume: Volume, labelmap: Labelmap, labels: tuple[Label, ...]) -> Scan:
    """Write the voxels of a case into a folder and describe it.

    Raises:
        OutputError: the disk is full.
    """
    return Scan(
        name=volume.name,
        modality=volume.modality,
        affine=matrix_of(volume.affine),
        volume=folder.put(volume.array),
        labelmap=folder.put(labelmap),
        labels=labels,
    )


def put_task(folder: ArrayFolder, task: Task) -> Path:
    """Write a task into the folder that has its arrays, and give the file.

    Raises:
        OutputError: the disk is full.
    """
    path = folder.path / _FILE
    content = json.dumps({"type": type(task).__name__, **asdict(task)}, allow_nan=False)
    try:
        path.write_text(content, encoding="ascii")
    except OSError as error:
        raise OutputError(f"The task cannot be written to {folder.path}: {error.strerror}; free space.") from error
    return path


def read_task(path: Path) -> Task:
    """The task in a file.

    Raises:
        ProtocolError: it cannot be read, or is of no known kind.
        InputError: a field is missing or of the wrong type.
    """
    try:
        data: Any = json.loads(path.read_text(encoding="ascii"))
        kind = _TASKS[data.pop("type")]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProtocolError(f"The task {path.name} cannot be read ({error}); try it again.") from error
    return from_plain(kind, data, kind.__name__)
