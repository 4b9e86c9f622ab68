"""What is asked of a segmentation: the same words for panel, console, command line, worker and engine.

A request is plain data and needs no torch: `asdict` makes JSON of it, `plain_data.from_plain` reads that.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from LiverSegLib.errors import InputError

Range = tuple[int, int]
VoxelBox = tuple[Range, Range, Range]
"""Half-open voxel index ranges ((i0, i1), (j0, j1), (k0, k1))."""
Point = tuple[float, float, float]
ALL = ("all",)
"""The targets of a request for every label of a model."""
_FAR_MM = 1e6
_RAS_AXES = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


@dataclass(frozen=True, kw_only=True)
class RasBox:
    """A box in space, along the patient's axes or turned.

    Args:
        center: RAS mm.
        size: lengths of its sides in mm.
        axes: the directions of its sides in RAS, unit vectors.

    Raises:
        InputError: a side has no length, or a number is not finite or lies far from any patient.
    """

    center: Point
    size: Point
    axes: tuple[Point, Point, Point] = _RAS_AXES

    def __post_init__(self) -> None:
        numbers = [*self.center, *self.size, *(x for axis in self.axes for x in axis)]
        # No number that is not finite is at most anything.
        if not all(abs(number) <= _FAR_MM for number in numbers) or min(self.size) <= 0:
            center = ", ".join(f"{x:g}" for x in self.center)
            size = " x ".join(f"{side:g}" for side in self.size)
            raise InputError(
                f"A region of interest of {size} mm around ({center}) is no box in a patient; give three sides above 0."
            )


Region = VoxelBox | RasBox


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a user may switch in the postprocessing and the sliding window.

    Args:
        largest_component: keep only the largest connected part of the liver.
        fill_holes: fill what the liver encloses.
        lesions_inside: drop lesions that do not touch their organ; specks of less than a lesion become its tissue.
        overlap: of the sliding windows of the model itself, from 0 to below 1; None takes the package's, as the helpers
            of a chain always do.

    Raises:
        InputError: the overlap is not allowed.
    """

    largest_component: bool = True
    fill_holes: bool = True
    lesions_inside: bool = True
    overlap: float | None = None

    def __post_init__(self) -> None:
        if self.overlap is not None and not 0 <= self.overlap < 1:
            raise InputError(f"The overlap {self.overlap:g} is not allowed; give a number from 0 to below 1.")


@dataclass(frozen=True, kw_only=True)
class SegmentationRequest:
    """One segmentation that is asked for.

    Args:
        model: name or path of a model package, None for the default.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        region: only this box is segmented, the rest stays background; None for the whole volume.
        targets: names of the labels to keep, for example ("liver",); `ALL` for all of the model, None for those that
            it segments unless others are asked for.
        settings: postprocessing switches.
        find_first: a model of the liver that looks at whole images by itself looks only where the liver is found first.
        memory_limit: bytes of main memory that the whole process may have, its programs included; None for what is
            free.

    Raises:
        InputError: the limit is none.
    """

    model: str | None = None
    device: str = "auto"
    region: Region | None = None
    targets: tuple[str, ...] | None = None
    settings: Settings = field(default_factory=Settings)
    find_first: bool = False
    memory_limit: int | None = None

    def __post_init__(self) -> None:
        if self.memory_limit is not None and self.memory_limit <= 0:
            raise InputError(f"A memory limit of {self.memory_limit} bytes leaves nothing; give more, or none.")


def model_name(model: str | Path | None) -> str | None:
    """The model as a request names it: a name, or an absolute path, as the worker may have another working folder."""
    if isinstance(model, Path) or (model is not None and {"/", os.sep} & set(model)):
        with contextlib.suppress(RuntimeError):  # ~ of a user who is not there: the worker says so
            model = Path(model).expanduser()
        return str(Path(model).absolute())
    return model
