"""Compressed DICOM slices through ITK's decoder, in a process of its own that may die of them.

ITK knows encodings that pydicom decodes only with plugins (lossless JPEG above all), but it parses the whole file
again, in code that a damaged one can crash.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import LiverSegLib

# A slice takes milliseconds, the first one the start of ITK as well.
_SECONDS_PER_SLICE = 120
_BOOTSTRAP = (
    "import sys; sys.path[:] = [{root}] + [p for p in sys.path if p]; "
    "from LiverSegLib.io.dicom.gdcm import serve; sys.path.append(sys.path.pop(0)); serve()"
)


class GdcmDecoder:
    """Decodes one slice after the other; the process starts with the first and ends with `close`."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None

    def decode(self, path: Path, size: tuple[int, int]) -> npt.NDArray[Any]:
        """Rescaled pixels [row, column] of a file with one frame of `size`.

        Raises:
            ValueError: ITK cannot read it, finds another size, hangs, or dies of it.
        """
        child = self._child = self._child or _start()
        assert child.stdin is not None
        assert child.stdout is not None
        watch = threading.Timer(_SECONDS_PER_SLICE, child.kill)
        watch.start()
        try:
            child.stdin.write(os.fsencode(path).hex().encode() + b"\n")
            child.stdin.flush()
            answer = json.loads(child.stdout.readline() or b"null")
            if answer is None or math.prod(answer["shape"]) != math.prod(size):
                raise ValueError("no decoded slice of the size in the header")
            pixels = np.empty(size, np.dtype(answer["dtype"]))
            if child.stdout.readinto(pixels.data) != pixels.nbytes:  # type: ignore[attr-defined]
                raise ValueError("a decoded slice that is cut off")
            return pixels
        except (OSError, ValueError) as error:
            self.close()  # it may be dead, or in the middle of an answer
            raise ValueError(str(error)) from error
        finally:
            watch.cancel()

    def close(self) -> None:
        """End the process, if there is one; the next slice starts another."""
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None


def _start() -> subprocess.Popen[bytes]:
    root = Path(LiverSegLib.__file__).resolve().parents[1]
    # ascii(): launchers and Windows code pages damage other characters on a command line.
    command = [sys.executable, "-c", _BOOTSTRAP.format(root=ascii(str(root)))]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def serve() -> None:
    """The child's half: a path a line in, in hexadecimal; shape, type and pixels out, or null where ITK refuses it."""
    import SimpleITK as sitk  # noqa: N813  (the name that everybody knows)

    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not mix with the answers
    for line in sys.stdin.buffer:
        path = os.fsdecode(bytes.fromhex(line.decode()))
        try:
            pixels = sitk.GetArrayFromImage(sitk.ReadImage(path, imageIO="GDCMImageIO"))
        except RuntimeError:
            answers.write(b"null\n")
        else:
            answers.write(json.dumps({"shape": pixels.shape, "dtype": pixels.dtype.str}).encode() + b"\n")
            answers.write(np.ascontiguousarray(pixels).tobytes())
        answers.flush()
