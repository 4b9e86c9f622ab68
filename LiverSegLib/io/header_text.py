"""The text headers of MetaImage and NRRD: their lines, and what their fields hold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from LiverSegLib.errors import InputError
from LiverSegLib.io.regular_file import shown

# Slicer's segmentations describe a hundred segments in 100 kB.
_MOST_BYTES = 4 << 20
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_REAL = re.compile(r"[+-]?([0-9]{1,40}\.?[0-9]{0,40}|\.[0-9]{1,40})([eE][+-]?[0-9]{1,4})?")


class HeaderText:
    """A text header, read up to a size that no honest header reaches.

    Args:
        file: open at the header's start; left behind the last line that was asked for.
        path: its name, for messages.

    Attributes:
        fields: the values, by names as the format's reader puts them in.
    """

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.path = path
        self.fields: dict[str, str] = {}
        self.line_number = 0
        self._file = file
        self._left = _MOST_BYTES

    def next_line(self) -> str | None:
        """The next line without its end, None after the last.

        Raises:
            InputError: the header is too long, or no text.
        """
        line = self._file.readline(self._left + 1)
        if len(line) > self._left:
            raise self.doubtful(f"it is longer than {_MOST_BYTES >> 20} MiB")
        if not line:
            return None
        self._left -= len(line)
        self.line_number += 1
        # Names in other encodings occur in comments; a file name must come out as it went in.
        text = line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8", "surrogateescape")
        if _CONTROL.search(text):
            raise self.doubtful(f"line {self.line_number} holds control characters")
        return text

    def doubtful(self, what: str) -> InputError:
        """The error for a header that is understood no further than `what` tells."""
        return InputError(
            f"{self.path} has a damaged or unusual header: {what}; save it again, for example with 3D Slicer as "
            ".nii.gz."
        )

    def no_header(self) -> InputError:
        """The error for a file that is something else."""
        return InputError(f"{self.path} is damaged or no {self.path.suffix.lower()} file; copy or export it again.")

    def several_files(self, name: str, ending: str) -> InputError:
        """The error for voxels in more files than one."""
        return InputError(
            f"{self.path} keeps its voxels in several files ({shown(name)}); save it again as one {ending} file."
        )

    def no_scalars(self) -> InputError:
        """The error for an image of more than one number a voxel."""
        return InputError(
            f"{self.path.name} is a color or vector image; segment a scalar volume such as the original CT."
        )

    def no_spacing(self, key: str) -> InputError:
        """The error for a voxel spacing of zero or less."""
        told = shown(self.fields[key])
        return InputError(f"{self.path} has a voxel spacing of zero or less ({told}); repair its header.")

    def wrong(self, key: str, what: str) -> InputError:
        """The error for a field whose value is not as `what` tells."""
        return self.doubtful(f"its {key} ({shown(self.fields.get(key, 'not told'))}) {what}")

    def require(self, *keys: str) -> None:
        """Refuse a header without one of these fields."""
        for key in keys:
            if key not in self.fields:
                raise self.doubtful(f"it lacks the field {key}")

    def wholes(self, key: str, low: int, high: int) -> tuple[int, ...]:
        """The whole numbers that a field holds, at least one and at most 16, each from `low` to `high`."""
        texts = self.fields[key].split(maxsplit=16)
        numbers = tuple(int(text) for text in texts if _WHOLE.fullmatch(text))
        if len(numbers) != len(texts) or not 1 <= len(numbers) <= 16 or min(numbers) < low or max(numbers) > high:
            raise self.wrong(key, f"is not made of whole numbers from {low} to {high}")
        return numbers

    def whole(self, key: str, low: int, high: int) -> int:
        """The one whole number that a field holds, 0 where the field is absent."""
        if key not in self.fields:
            return 0
        numbers = self.wholes(key, low, high)
        if len(numbers) > 1:
            raise self.wrong(key, "is not one number")
        return numbers[0]

    def reals(self, key: str, count: int, default: str = "") -> tuple[float, ...]:
        """The `count` finite numbers that a field holds, those of `default` where it is absent."""
        return self.reals_in(self.fields.get(key, default), key, count)

    def reals_in(self, text: str, key: str, count: int) -> tuple[float, ...]:
        """The `count` finite numbers in a part of a field."""
        texts = text.split(maxsplit=count)
        numbers = tuple(float(text) for text in texts if _REAL.fullmatch(text))
        # 1e9999 is well formed and infinite.
        if len(numbers) != len(texts) or len(numbers) != count or not all(abs(n) < float("inf") for n in numbers):
            raise self.doubtful(f"its {key} ({shown(text)}) is not made of {count} numbers")
        return numbers

    def one_of(self, key: str, known: Mapping[str, str]) -> str:
        """What the value of a field means; capital letters do not matter."""
        self.require(key)
        value = self.fields[key].lower()
        if value not in known:
            raise self.wrong(key, f"is not supported; known are {', '.join(known)}")
        return known[value]
