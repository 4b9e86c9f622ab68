"""Telling the files that LiverSeg wrote from all others, which it never replaces."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path

from LiverSegLib.io.seg_nrrd import COMMENT

# NIfTI-1 and NIfTI-2 keep the name of what is shown at these places, 16 bytes long.
_INTENT_NAME = (328, 508)
_NIFTI_HEADER = 540
# The first columns of the measurements, and of the summary of many inputs, in every version.
_TABLES = (b"kind,name,number,voxels,volume_ml,", b"name,input,status,seconds,")
_SOFTWARE = b"Software\0LiverSeg"
# At the start of a DICOM file, and in the head of a page.
_PREAMBLE = b"LiverSeg\0"
_GENERATOR = b'<meta name="generator" content="LiverSeg'


def is_ours(path: Path) -> bool:
    """Whether the file at `path` may be replaced: LiverSeg wrote it, or it is empty.

    A segmentation that was corrected and saved by Slicer, or a label map that was drawn by hand, has another mark.
    """
    try:
        if path.stat().st_size == 0:
            return True
        with path.open("rb") as file:
            start = file.read(4096)
        return _is_marked(path, start)
    except (OSError, EOFError, zlib.error):
        return False


def _is_marked(path: Path, start: bytes) -> bool:
    name = path.name.lower()
    if name.endswith(".seg.nrrd"):
        return COMMENT.encode() in start
    if name.endswith((".nii", ".nii.gz")):
        if start[:2] == b"\x1f\x8b":
            with gzip.open(path) as stream:
                start = stream.read(_NIFTI_HEADER)
        return any(start[at : at + 16].rstrip(b"\0") == b"LiverSeg" for at in _INTENT_NAME)
    if name.endswith(".csv"):
        return start.startswith(_TABLES)
    if name.endswith(".json"):
        return b'"software": "LiverSeg' in start
    if name.endswith(".dcm"):
        return start.startswith(_PREAMBLE)
    if name.endswith(".html"):
        return _GENERATOR in start
    return _SOFTWARE in start


def source_of(path: Path) -> str | None:
    """Which input the measurements at `path` (JSON) are of, as `source_id` names it; None where they do not tell."""
    try:
        found = json.loads(path.read_text(encoding="utf-8")).get("source_id")
    except (OSError, ValueError, AttributeError, RecursionError):
        return None
    return found if isinstance(found, str) else None
