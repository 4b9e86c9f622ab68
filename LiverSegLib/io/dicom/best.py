"""The series of a study that a segmentation is most likely wanted of, by a rule that anybody can check.

Only CT and MR count that are no scout, axial, and one straight stack of slices. Of these, original images go before
derived ones (reformatted, subtracted, projected), then slices that lie 0.5 to 5 mm apart before thinner and thicker
ones, then more slices before fewer. Of two alike the lower series number counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from LiverSegLib.errors import InputError
from LiverSegLib.io.dicom.frames import Frame, frames_of
from LiverSegLib.io.dicom.geometry import order_frames
from LiverSegLib.io.dicom.series import Series, listed
from LiverSegLib.io.space import LPS_TO_RAS

_SENSIBLE_MM = (0.5, 5.0)
_MODALITIES = ("CT", "MR")
# A gantry tilts up to 30 degrees; sagittal and coronal slices stand at 90.
_AXIAL_COSINE = 0.8


@dataclass(frozen=True, kw_only=True)
class _Stack:
    """A series that can be read as an axial volume. `step_mm`: from slice to slice."""

    series: Series
    step_mm: float

    @property
    def is_derived(self) -> bool:
        return self.series.files[0].is_derived

    @property
    def is_sensible(self) -> bool:
        low, high = _SENSIBLE_MM
        return low <= self.step_mm <= high


def best_series(found: list[Series], path: Path) -> Series:
    """The one of several series that the rule of this module chooses.

    Args:
        found: without scouts.
        path: the folder, for the message.

    Raises:
        InputError: none of them is axial CT or MR that can be read.
    """
    stacks = [stack for series in found if (stack := _axial_stack(series)) is not None]
    if not stacks:
        raise InputError(
            f"{path} has no axial CT or MR series of several slices among {listed(found)}; "
            "choose one with --series NUMBER."
        )
    # max gives the first of those alike, and they come by number.
    return max(stacks, key=lambda stack: (not stack.is_derived, stack.is_sensible, stack.series.slices)).series


def _axial_stack(series: Series) -> _Stack | None:
    """The series as an axial stack, None where it is none or would be refused."""
    first = series.files[0]
    if first.text("Modality") not in _MODALITIES or series.slices < 2:
        return None
    try:
        frames: list[Frame] = [frame for file in series.files for frame in frames_of(file)]
        _, affine = order_frames(frames, "the series")
    except InputError:
        return None
    row, column = np.reshape(frames[0].orientation, (2, 3))
    normal = np.cross(row, column)
    if abs(normal[2]) < _AXIAL_COSINE:
        return None
    # What lies between two slices, which a tilt does not change.
    return _Stack(series=series, step_mm=float(abs(normal @ (LPS_TO_RAS @ affine)[:3, 2])))
