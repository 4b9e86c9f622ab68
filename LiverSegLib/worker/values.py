"""Parts of messages, and what is allowed in them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from LiverSegLib.errors import InputError
from LiverSegLib.worker.errors import ProtocolError

Row = tuple[float, float, float, float]
Matrix = tuple[Row, Row, Row, Row]
Range = tuple[int, int]
Roi = tuple[Range, Range, Range]
"""Half-open voxel index ranges ((i0, i1), (j0, j1), (k0, k1))."""

_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}\.npy")


def check_id(number: int) -> None:
    """Refuse a request number that no client gives out."""
    if not 1 <= number < 2**53:
        raise ProtocolError(f"The request id {number} is not allowed; ids count from 1.")


def check_file(name: str) -> None:
    """Refuse a file name that could lead out of the private folder."""
    if not _FILE.fullmatch(name):
        raise ProtocolError(f"The file name {name[:100]!r} is not allowed; voxels are in .npy files of the folder.")


@dataclass(frozen=True)
class SegmentSettings:
    """The engine's `Settings`, as plain data that needs no torch; same fields, same defaults."""

    largest_component: bool = True
    fill_holes: bool = True
    lesions_inside: bool = True
    overlap: float | None = None

    def __post_init__(self) -> None:
        if self.overlap is not None and not 0 <= self.overlap < 1:
            raise InputError(f"The overlap {self.overlap:g} is not allowed; give a number from 0 to below 1.")
