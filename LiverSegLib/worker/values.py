"""Parts of messages, and what is allowed in them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from LiverSegLib.request import Settings, VoxelBox
from LiverSegLib.worker.errors import ProtocolError

Row = tuple[float, float, float, float]
Matrix = tuple[Row, Row, Row, Row]
Roi = VoxelBox
SegmentSettings = Settings

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
class DeviceInfo:
    """One device: its name for requests ("cuda:0"), its title for people, its memory in bytes if known."""

    name: str
    title: str
    free_bytes: int | None
    total_bytes: int | None
