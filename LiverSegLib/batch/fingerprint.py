"""By which a later run sees that an input, the model or a setting has changed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from LiverSegLib.batch.records import IMAGES
from LiverSegLib.errors import LiverSegError
from LiverSegLib.request import SegmentationRequest

_BLOCK = 2**20


def key_of(path: Path, work: str) -> str:
    """Digest of an input and of what is done to it.

    An input is what its folder tells: the size and the time of change of its file; of a DICOM series the names, sizes
    and times of all files of its folder. Where it lies does not matter, so a tree may move.

    Args:
        path: the input.
        work: digest of model and settings, from `work_key`.
    """
    parts = [work]
    try:
        if path.is_dir():
            with os.scandir(path) as entries:
                parts += sorted(_stamp(entry.name, entry.stat()) for entry in entries if entry.is_file())
        elif not path.name.lower().endswith(IMAGES):  # a file of a DICOM series
            with os.scandir(path.parent) as entries:
                parts += [path.name, *sorted(_stamp(one.name, one.stat()) for one in entries if one.is_file())]
        else:
            parts.append(_stamp("", path.stat()))
    except OSError as error:
        parts.append(f"not there ({error.errno})")
    return _digest(parts)


def _stamp(name: str, status: os.stat_result) -> str:
    return f"{name}|{status.st_size}|{status.st_mtime_ns}"


def work_key(request: SegmentationRequest, packages: Iterable[Path], more: Iterable[str]) -> str:
    """Digest of model and settings; device and memory do not count, they change nothing but the last digits.

    Args:
        request: as in every segmentation.
        packages: the folders of all models that take part; their files are read.
        more: what else the results depend on.
    """
    asked = asdict(request) | {"device": "", "model": ""}
    del asked["memory_limit"]
    if not request.find_first:  # as before there was such a choice
        del asked["find_first"]
    digests = [json.dumps(asked, sort_keys=True), *more]
    for folder in packages:
        files = sorted(path for path in folder.rglob("*") if path.is_file() and "docs" not in path.parts)
        digests += [f"{path.relative_to(folder).as_posix()} {_file_digest(path)}" for path in files]
    return _digest(digests)


def _file_digest(path: Path) -> str:
    found = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                found.update(block)
    except OSError as error:
        raise LiverSegError(f"{path} of the model cannot be read ({error.strerror}); install it again.") from error
    return found.hexdigest()


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:32]
