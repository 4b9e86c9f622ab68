"""What was found out about the data: facts of each case, and findings that a person should read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
import numpy.typing as npt

from LiverSegLib.engine.axes import axis_order
from Training.data.readers import Entry, RawCase
from Training.data.readers.case import counts
from Training.errors import DataError

Level = Literal["error", "warning"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing about the data.

    Args:
        level: "error" stops preparation, "warning" is for a person to look at.
        case: `<source>_<case>`, or the source, or "" for all.
        file: path below the data folder, or "".
        message: one sentence.
    """

    level: Level
    case: str
    file: str
    message: str

    @property
    def sentence(self) -> str:
        """The message after its place, unless it names that itself."""
        where = self.file or self.case
        return self.message if where in self.message else f"{where}: {self.message}"


def error(message: str, case: str = "", file: str = "") -> Finding:
    """A finding that stops preparation."""
    return Finding(level="error", case=case, file=file, message=message)


def warning(message: str, case: str = "", file: str = "") -> Finding:
    """A finding that a person should look at."""
    return Finding(level="warning", case=case, file=file, message=message)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is remembered of a raw case once it is converted.

    Args:
        case, patient, source: as in `Case`.
        file: path of its image below the data folder, or "".
        shape: voxels along i, j, k.
        spacing: mm along i, j, k; None where the file does not tell.
        axes: directions of i, j, k, for example "LPS".
        voxels: how many voxels of the image have each label, the background's first.
        ml: volume of each label but the background in mL; empty without spacing.
        digest: SHA-256 of the voxel values, in one axis order whatever way the file has them.
        grid: size on the model's grid.
    """

    case: str
    patient: str
    source: str
    file: str
    shape: tuple[int, ...]
    spacing: tuple[float, ...] | None
    axes: str
    voxels: list[int]
    ml: list[float]
    digest: str
    grid: tuple[int, ...]


def relative(path: Path | None, data: Path) -> str:
    """The path below the data folder, for messages."""
    if path is None:
        return ""
    return path.relative_to(data).as_posix() if path.is_relative_to(data) else str(path)


def facts_of(raw: RawCase, entry: Entry, file: str, classes: int, grid: tuple[int, ...]) -> Facts:
    """Remember a case."""
    volume = raw.volume
    voxels = counts(raw.label, classes)
    return Facts(
        case=entry.id,
        patient=entry.patient,
        source=entry.source,
        file=file,
        shape=volume.array.shape,
        spacing=tuple(round(s, 4) for s in volume.spacing) if raw.spacing_told else None,
        axes="".join(str(code) for code in nib.aff2axcodes(volume.affine)),
        voxels=voxels,
        ml=[round(n * volume.voxel_ml, 3) for n in voxels[1:]] if raw.spacing_told else [],
        digest="".join(digest(axis_order(volume.affine, "RAS").apply(array)) for array in volume.channels),
        grid=grid,
    )


def digest(array: npt.NDArray[np.generic]) -> str:
    """SHA-256 of shape and values, whatever type and order they are stored in."""
    sha = hashlib.sha256(repr(array.shape).encode())
    for k in range(array.shape[2]):
        sha.update(np.ascontiguousarray(array[:, :, k], dtype=np.float32).tobytes())
    return sha.hexdigest()


def finding_of(error: DataError, case: str, data: Path, level: Level = "error") -> Finding:
    """An error as a finding, named by its file."""
    return Finding(level=level, case=case, file=relative(error.file, data), message=str(error))
