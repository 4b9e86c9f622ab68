""".npy arrays in, by a reader of our own: numpy's evaluates the header as Python source.

Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html.
"""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from LiverSegLib.errors import InputError
from LiverSegLib.io.regular_file import open_regular
from LiverSegLib.io.stored_voxels import native

# Version -> bytes of the number that tells the header's length.
_LENGTH_BYTES = {1: 2, 2: 4, 3: 4}
_MOST_HEADER = 1 << 16
_DTYPE = re.compile(r"""['"]descr['"]: *['"]([<>|=]?(?:b1|[iu][1248]|f[248]|c8|c16))['"]""")
_ORDER = re.compile(r"""['"]fortran_order['"]: *(True|False)""")
_SHAPE = re.compile(r"""['"]shape['"]: *\(([0-9, ]*)\)""")
_MOST_AXES = 32


def read_npy(path: Path) -> npt.NDArray[Any]:
    """Read an array of plain numbers.

    Returns:
        The array in the machine's byte order.

    Raises:
        InputError: damaged, truncated, or an array of anything else.
    """
    with open_regular(path) as file:
        try:
            dtype, is_fortran, shape = read_npy_header(file)
            left = os.fstat(file.fileno()).st_size - file.tell()
            if math.prod(shape) * dtype.itemsize > left:
                raise ValueError("fewer values than declared")
            values = np.empty(math.prod(shape), dtype)
            if file.readinto(values.data) != values.nbytes:
                raise ValueError("fewer values than there were a moment ago")
        except ValueError as error:
            raise InputError(f"{path} is damaged or no plain .npy array; save it again with numpy.save.") from error
    return native(values).reshape(shape, order="F" if is_fortran else "C")


def read_npy_header(file: BinaryIO) -> tuple[np.dtype[Any], bool, tuple[int, ...]]:
    """Type, whether the first axis runs fastest, and shape.

    Raises:
        ValueError: no header of plain numbers.
    """
    start = file.read(8)
    if start[:6] != b"\x93NUMPY" or len(start) < 8 or start[6] not in _LENGTH_BYTES:
        raise ValueError("no .npy file")
    length = int.from_bytes(file.read(_LENGTH_BYTES[start[6]]), "little")
    if length > _MOST_HEADER:
        raise ValueError("an overlong header")
    text = file.read(length).decode("latin-1")
    dtype, order, shape = (pattern.findall(text) for pattern in (_DTYPE, _ORDER, _SHAPE))
    if not len(text) == length or not len(dtype) == len(order) == len(shape) == 1:
        raise ValueError("an unusual header")
    sizes = [size.strip() for size in shape[0].split(",") if size.strip()]
    if len(sizes) > _MOST_AXES or any(not size.isdigit() or len(size) > 15 for size in sizes):
        raise ValueError("an unusual shape")
    return np.dtype(dtype[0]), order[0] == "True", tuple(int(size) for size in sizes)
