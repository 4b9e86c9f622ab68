"""The voxels behind a NIfTI, MetaImage or NRRD header: raw, compressed or as text, and as many as declared.

Headers that promise more voxels than their file can hold are refused before memory is asked for.
"""

from __future__ import annotations

import math
import os
import warnings
import zlib
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from LiverSegLib.errors import InputError
from LiverSegLib.io.inflate import inflated
from LiverSegLib.volume import check_array

# A text of numbers takes many times its size while it is read.
_MOST_TEXT = 1 << 28
_CHUNK = 1 << 16
# Deflate (gzip, zlib) never shrinks data by more than this factor.
DEFLATE_RATIO = 1032


@dataclass(frozen=True, kw_only=True)
class StoredVoxels:
    """How a header says that its voxels are stored.

    Args:
        path: the header's file, for messages.
        shape: number of voxels along each axis; the first runs fastest.
        channels: how many images of this shape lie one after the other.
        dtype: type with its byte order.
        encoding: "raw", "zlib", "gzip" or "text".
        skip: bytes of something else before the voxels, unpacked ones where they are compressed; -1 where raw voxels
            are the last bytes of the file.
        packed: bytes of compressed data, None where the header does not tell.
        slack: bytes of something else that may follow the voxels.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    encoding: str
    skip: int = 0
    channels: int = 1
    packed: int | None = None
    slack: int = 0

    @property
    def count(self) -> int:
        """Voxels of all channels."""
        return math.prod(self.shape) * self.channels


def read_stored(file: BufferedReader, stored: StoredVoxels) -> npt.NDArray[Any]:
    """Read the voxels that lie from here to the end of `file`.

    Args:
        file: open where the voxels start.
        stored: what they should be.

    Returns:
        The voxels in Fortran order and in the machine's byte order; those of several channels have a last axis for it.

    Raises:
        InputError: they are not one scalar 3D image, too few, too many, damaged, or do not match their checksum.
    """
    count = stored.count
    if count == 0:
        raise InputError(f"{stored.path} is empty ({'x'.join(map(str, stored.shape))}); export it again.")
    declared = count * stored.dtype.itemsize
    left = os.fstat(file.fileno()).st_size - file.tell()
    if stored.encoding == "raw":
        _skip_to_raw(file, stored, declared, left)
    elif stored.encoding == "text":
        check_declared_size(stored.path, 2 * count - 1, left)
    else:
        check_declared_size(stored.path, declared, max(left * DEFLATE_RATIO - stored.skip, 0))
        if stored.packed not in (None, left):
            raise _not_as_declared(stored.path, f"{stored.packed} bytes of compressed voxels but {left} are there")
    # A stand-in of this shape without memory: the check happens before anything is read.
    check_array(np.broadcast_to(np.zeros((), stored.dtype), stored.shape), stored.path.name)
    voxels = _from_text(file, stored, left) if stored.encoding == "text" else _from_bytes(file, stored, count)
    whole = stored.shape if stored.channels == 1 else (*stored.shape, stored.channels)
    return native(voxels).reshape(whole, order="F")


def check_declared_size(path: Path, declared: int, possible: int) -> None:
    """Compare the bytes that a header declares with the most that its file can hold.

    Args:
        path: the file, for the message.
        declared: bytes of voxels according to the header.
        possible: bytes of voxels that fit into the file, after decompression where there is one.

    Raises:
        InputError: the header declares more.
    """
    if declared > possible:
        raise _not_as_declared(path, f"{declared} bytes of voxels but can hold at most {possible}")


def native(voxels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same values in the machine's byte order; the array given is used up."""
    if voxels.dtype.isnative:
        return voxels
    return voxels.byteswap(inplace=True).view(voxels.dtype.newbyteorder("="))


def _skip_to_raw(file: BufferedReader, stored: StoredVoxels, declared: int, left: int) -> None:
    possible = left if stored.skip == -1 else max(left - stored.skip, 0)
    check_declared_size(stored.path, declared, possible)
    if stored.skip == -1:
        file.seek(left - declared, os.SEEK_CUR)
        return
    if possible - declared > stored.slack:
        raise _too_many(stored.path, declared)
    file.seek(stored.skip, os.SEEK_CUR)


def _not_as_declared(path: Path, what: str) -> InputError:
    return InputError(f"{path} is truncated or has a damaged header: it declares {what}; copy or export it again.")


def _too_many(path: Path, declared: int) -> InputError:
    return InputError(
        f"{path} has a damaged header: it declares {declared} bytes of voxels, and more are there; export it again."
    )


def _from_bytes(file: BufferedReader, stored: StoredVoxels, count: int) -> npt.NDArray[Any]:
    voxels = np.empty(count, stored.dtype)
    if stored.encoding == "raw":
        if file.readinto(voxels.data) != voxels.nbytes:
            raise InputError(f"{stored.path} became shorter while it was read; copy it again.")
        return voxels
    stream = inflated(file, stored.encoding)
    try:
        for start in range(0, stored.skip, _CHUNK):
            stream.read(min(_CHUNK, stored.skip - start))
        filled = stream.readinto(voxels.data)
        # To the end, where the checksum is compared.
        rest = len(stream.read(stored.slack + 1))
    except (EOFError, ValueError, zlib.error) as error:
        raise InputError(
            f"{stored.path} is damaged: its compressed voxels cannot be unpacked or do not match their checksum "
            f"({error}); copy or export it again."
        ) from error
    check_declared_size(stored.path, voxels.nbytes, filled)
    if rest > stored.slack:
        raise _too_many(stored.path, voxels.nbytes)
    return voxels


def _from_text(file: BufferedReader, stored: StoredVoxels, left: int) -> npt.NDArray[Any]:
    """Voxels written as decimal numbers with white space between them."""
    if left > _MOST_TEXT:
        raise InputError(f"{stored.path} holds more than {_MOST_TEXT >> 20} MiB of text; save it with raw voxels.")
    broad = np.float64 if stored.dtype.kind == "f" else np.uint64 if stored.dtype == np.uint64 else np.int64
    try:
        with warnings.catch_warnings():
            # What is no number ends the reading with no more than a warning.
            warnings.simplefilter("error")
            numbers = np.fromstring(file.read(left), broad, sep=" ")
    except (ValueError, DeprecationWarning) as error:
        raise InputError(f"{stored.path} is damaged: its voxels are not plain numbers; export it again.") from error
    if numbers.size != stored.count:
        raise _not_as_declared(stored.path, f"{stored.count} voxels but holds {numbers.size}")
    with np.errstate(all="ignore"):
        voxels = numbers.astype(stored.dtype.newbyteorder("="))
    if stored.dtype.kind != "f" and not np.array_equal(voxels, numbers):
        raise InputError(f"{stored.path} is damaged: its voxels do not fit into {stored.dtype}; export it again.")
    return voxels
