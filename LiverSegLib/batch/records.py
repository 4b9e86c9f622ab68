"""What is written down of each case, as lines of JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from LiverSegLib.errors import InputError
from LiverSegLib.plain_data import from_plain

IMAGES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
"""Endings of files that are one image each."""
STARTED, DONE, FAILED, STOPPED = "started", "done", "failed", "stopped"


@dataclass(frozen=True, kw_only=True)
class BatchCase:
    """One input: `name` is unique in the batch and names its folder; `path` is what `read_volume` takes."""

    name: str
    path: Path


@dataclass(frozen=True, kw_only=True)
class Found:
    """What was found in one case, as far as the table and the page tell it.

    Args:
        model: name and version.
        device: where the network ran.
        volumes_ml: by the names of segments and whole organs.
        lesions: how many there are; None where the model looks for none.
        longest_mm: longest diameter of a lesion; None without one.
        burden_percent: of the lesions in their organ; None where it is not known.
        expected_dice, low: of `Result.quality`; None where nothing is expected.
        agreement: Dice of two looks; None where there was one.
        warnings: sentences, as in `Result`.
        files: the files that were written, relative to the folder of the batch, with their sizes in bytes.
        peak_bytes: the most main memory that the process had so far; None where the system does not tell.
    """

    model: str
    device: str
    volumes_ml: dict[str, float]
    lesions: int | None = None
    longest_mm: float | None = None
    burden_percent: float | None = None
    expected_dice: float | None = None
    low: float | None = None
    agreement: float | None = None
    warnings: tuple[str, ...] = ()
    files: dict[str, int] = field(default_factory=dict)
    peak_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Record:
    """One line of the journal.

    Args:
        name: of the case.
        input: its path.
        key: digest of input, model and settings: another one is another piece of work.
        event: "started", "done", "failed" or "stopped" (by the user, which counts as no try).
        time: seconds since 1970.
        seconds: from start to end; 0 at the start.
        sentence: why it failed.
        final: whether a failure is not to be tried again.
        found: what came out.
    """

    name: str
    input: str
    key: str
    event: str
    time: float
    seconds: float = 0.0
    sentence: str = ""
    final: bool = False
    found: Found | None = None

    def line(self) -> bytes:
        """One line of JSON with its newline."""
        # A file name that is no text comes as a lone surrogate, which ASCII writes as an escape and reads back.
        return json.dumps(asdict(self), allow_nan=False, separators=(",", ":")).encode("ascii") + b"\n"

    @classmethod
    def read(cls, line: bytes) -> Record | None:
        """The record of a line; None where a killed process has left half of one."""
        try:
            return from_plain(cls, json.loads(line), "A line of the journal")
        except (ValueError, RecursionError, InputError):
            return None
