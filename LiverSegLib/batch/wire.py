"""What a run and its processes tell each other: lines of JSON, one an object."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TypeVar

from LiverSegLib.batch.records import Found
from LiverSegLib.errors import InputError, ProtocolError
from LiverSegLib.plain_data import from_plain, shortened
from LiverSegLib.request import SegmentationRequest

READY, UNUSABLE, DONE, FAILED = "ready", "unusable", "done", "failed"
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The first line to a process: what it does with every case.

    Args:
        out: folder of the batch.
        request: model, device, region, targets and settings.
        within: a package or label map of an organ, as on the command line.
        margin_mm: around that organ.
        overlay: whether the large picture of a case is drawn, too.
        dicom, report: whether DICOM inputs get a DICOM SEG and SR, and each case a page.
        threads: of the processor.
    """

    out: str
    request: SegmentationRequest = field(default_factory=SegmentationRequest)
    within: str | None = None
    margin_mm: float = 0.0
    overlay: bool = False
    dicom: bool = False
    report: bool = False
    threads: int = 1


@dataclass(frozen=True, kw_only=True)
class Job:
    """A case that is to be done."""

    name: str
    path: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a process says: that it is ready, that it cannot work at all, or what became of a case.

    Args:
        kind: "ready", "unusable", "done" or "failed".
        name: of the case.
        seconds: reading, segmenting and writing.
        sentence: why it failed.
        final: whether another try would end the same way.
        found: what came out.
    """

    kind: str
    name: str = ""
    seconds: float = 0.0
    sentence: str = ""
    final: bool = False
    found: Found | None = None


def line_of(message: Setup | Job | Answer) -> bytes:
    """The message as a line."""
    return json.dumps(asdict(message), allow_nan=False, separators=(",", ":")).encode("ascii") + b"\n"


def read_line(kind: type[T], line: bytes) -> T:
    """The message of a line.

    Raises:
        ProtocolError: it is none of this kind.
    """
    try:
        return from_plain(kind, json.loads(line), kind.__name__)
    except (ValueError, RecursionError, InputError) as error:
        raise ProtocolError(f"The line {shortened(line)} is no {kind.__name__} ({error}).") from error
