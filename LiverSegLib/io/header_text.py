"""The text headers of MetaImage and NRRD: their lines, and the numbers in them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO

from LiverSegLib.errors import InputError
from LiverSegLib.io.regular_file import shown

# Slicer's segmentations describe a hundred segments in 100 kB.
_MOST_BYTES = 4 << 20
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_REAL = re.compile(r"[+-]?([0-9]{1,40}\.?[0-9]{0,40}|\.[0-9]{1,40})([eE][+-]?[0-9]{1,4})?")


def doubtful(path: Path, what: str) -> InputError:
    """The error for a header that is understood no further than `what` tells."""
    return InputError(
        f"{path} has a damaged or unusual header: {what}; save it again, for example with 3D Slicer as .nii.gz."
    )


class HeaderLines:
    """Lines of a text header, up to a size that no honest header reaches.

    Args:
        file: open at the header's start; left behind the last line that was asked for.
        path: its name, for messages.
    """

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self._path = path
        self._left = _MOST_BYTES
        self.number = 0

    def next(self) -> str | None:
        """The next line without its end, None after the last.

        Raises:
            InputError: the header is too long, or no text.
        """
        line = self._file.readline(self._left + 1)
        if len(line) > self._left:
            raise doubtful(self._path, f"it is longer than {_MOST_BYTES >> 20} MiB")
        if not line:
            return None
        self._left -= len(line)
        self.number += 1
        # Names in other encodings occur in comments; a file name must come out as it went in.
        text = line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8", "surrogateescape")
        if _CONTROL.search(text):
            raise doubtful(self._path, f"line {self.number} holds control characters")
        return text


def wholes(path: Path, key: str, value: str, low: int, high: int) -> tuple[int, ...]:
    """The whole numbers that a field holds, at least one and at most 16, each from `low` to `high`."""
    texts = value.split(maxsplit=16)
    numbers = tuple(int(text) for text in texts if _WHOLE.fullmatch(text))
    if len(numbers) != len(texts) or not 1 <= len(numbers) <= 16 or min(numbers) < low or max(numbers) > high:
        raise doubtful(path, f"its {key} ({shown(value)}) is not made of whole numbers from {low} to {high}")
    return numbers


def whole(path: Path, key: str, value: str, low: int, high: int) -> int:
    """The one whole number that a field holds."""
    numbers = wholes(path, key, value, low, high)
    if len(numbers) > 1:
        raise doubtful(path, f"its {key} ({shown(value)}) is not one number")
    return numbers[0]


def reals(path: Path, key: str, value: str, count: int) -> tuple[float, ...]:
    """The `count` finite numbers that a field holds."""
    texts = value.split(maxsplit=count)
    numbers = tuple(float(text) for text in texts if _REAL.fullmatch(text))
    # 1e9999 is well formed and infinite.
    if len(numbers) != len(texts) or len(numbers) != count or not all(abs(n) < float("inf") for n in numbers):
        raise doubtful(path, f"its {key} ({shown(value)}) is not made of {count} numbers")
    return numbers
