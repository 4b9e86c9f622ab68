"""Arrays that go from client to worker and back as `.npy` files of a private folder.

The voxels are those of a patient: only this user can read the folder, and it is removed when the client closes it,
when its program ends, or, after a crash, when the next client makes its own.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import tempfile
import weakref
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from LiverSegLib.errors import InputError, OutputError, ProtocolError
from LiverSegLib.io.leftovers import hold, remove_leftovers, temporary_name
from LiverSegLib.io.npy import read_npy_header
from LiverSegLib.io.regular_file import open_regular
from LiverSegLib.volume import Result, Volume
from LiverSegLib.worker.messages import Done, Matrix, Segment


class ArrayFolder:
    """A folder that only this user can read, removed when it is closed or the program ends.

    Args:
        parent: where to make it; None for the system's temporary folder.

    Raises:
        OutputError: it cannot be made.
    """

    def __init__(self, parent: Path | None = None) -> None:
        base = (Path(tempfile.gettempdir()) if parent is None else parent).resolve()
        remove_leftovers(base)
        try:
            self.path, held = _make(base)
        except OSError as error:
            raise OutputError(f"No temporary folder can be made in {base}: {error.strerror}; free space.") from error
        self._count = 0
        self._removed = weakref.finalize(self, _remove, self.path, held)

    def put(self, array: npt.NDArray[Any]) -> str:
        """Write an array [i, j, k] to a new file and give the file's name.

        Raises:
            OutputError: the disk is full or the folder is gone.
        """
        self._count += 1
        name = f"volume-{self._count}.npy"
        try:
            write_array(self.path / name, array)
        except OutputError:
            self.discard(name)
            raise
        return name

    def discard(self, name: str) -> None:
        """Delete a file; one that Windows still holds open goes with the folder."""
        with contextlib.suppress(OSError):
            (self.path / name).unlink()

    def close(self) -> None:
        """Remove the folder with everything in it; may be repeated."""
        self._removed()


def _make(base: Path) -> tuple[Path, int]:
    """A new folder, and the descriptor that keeps others from cleaning it up."""
    while True:
        path = base / temporary_name()
        path.mkdir(mode=0o700)
        held = hold(path)
        if held is not None:
            return path, held


def _remove(path: Path, held: int) -> None:
    os.close(held)
    shutil.rmtree(path, ignore_errors=True)


def write_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Write a `.npy` file straight from a view, slab by slab, in the memory order that the array has.

    `numpy.save` copies a view whose axes are not in order; a Slicer volume is such a view, and large.

    Raises:
        OutputError: the disk is full or the folder is gone.
    """
    fortran = not array.flags.c_contiguous
    header = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": fortran, "shape": array.shape}
    outer_first = array.transpose() if fortran else array
    try:
        with path.open("xb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for slab in outer_first:
                file.write(np.ascontiguousarray(slab).data.cast("B"))
    except OSError as error:
        raise OutputError(f"The voxels cannot be written to {path.parent}: {error.strerror}; free space.") from error


def read_array(path: Path, mapped: Literal["r", "c"] | None = None) -> npt.NDArray[Any]:
    """The array in a file that `write_array` wrote.

    Args:
        path: the file, no link.
        mapped: read on demand instead of all at once; "r" read-only, "c" with changes that stay in memory.

    Raises:
        ProtocolError: it is no plain array of the size that it declares.
    """
    try:
        with open_regular(path, follow_links=False) as file:
            dtype, fortran, shape = read_npy_header(file)
            start = file.tell()
            order: Literal["C", "F"] = "F" if fortran else "C"
            if os.fstat(file.fileno()).st_size != start + math.prod(shape) * dtype.itemsize:
                raise ValueError("it is not as long as its header says")
            if mapped is None or not math.prod(shape):
                values = np.fromfile(file, dtype, math.prod(shape))
                return values.reshape(shape, order=order)
            # The open file itself, not whatever its path may lead to by now.
            return np.memmap(cast(Any, file), dtype, mapped, start, shape, order).view(np.ndarray)
    except (OSError, ValueError, InputError) as error:
        raise ProtocolError(f"The array file {path.name} cannot be read ({error}); run it again.") from error


def matrix_of(affine: npt.NDArray[np.float64]) -> Matrix:
    """A 4x4 array as nested tuples; every digit is kept."""
    a, b, c, d = ((float(r[0]), float(r[1]), float(r[2]), float(r[3])) for r in affine)
    return a, b, c, d


def volume_from(message: Segment, folder: Path) -> Volume:
    """The volume of a request with its channels, their voxels mapped from the files.

    Raises:
        ProtocolError: a file is not an array.
        InputError: an array is not a scalar volume, or the channels differ in shape.
    """
    first, *further = (read_array(folder / file, "r") for file in (message.volume, *message.further))
    return Volume(first, np.array(message.affine), message.name, message.modality, further=tuple(further))


def done_from(result: Result, request_id: int, folder: Path, *, warm: bool) -> Done:
    """Write the label map into the folder and describe the result.

    Raises:
        OutputError: the disk is full.
    """
    name = f"result-{request_id}.npy"
    write_array(folder / name, result.labelmap)
    instead = {"labelmap": name, "affine": matrix_of(result.affine)}
    return Done(request_id, **{**vars(result), **instead}, warm=warm)


def result_from(message: Done, folder: Path) -> Result:
    """The result that a message describes; the file of its label map may be deleted afterwards.

    Raises:
        ProtocolError: the file is not a uint8 volume.
    """
    # Mapped, a large label map costs no time here; but Windows does not delete a file that is mapped.
    labelmap = read_array(folder / message.labelmap, None if os.name == "nt" else "c")
    if labelmap.dtype != np.uint8 or labelmap.ndim != 3:
        raise ProtocolError(f"The worker gave {labelmap.dtype} in {labelmap.ndim}D instead of a label map.")
    found = {field.name: getattr(message, field.name) for field in fields(Result)}
    return Result(**{**found, "labelmap": labelmap, "affine": np.array(message.affine)})
