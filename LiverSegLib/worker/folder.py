"""The private folder through which arrays go from client to worker and back, as `.npy` files."""

from __future__ import annotations

import math
import os
import shutil
import stat
import tempfile
import weakref
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import numpy as np
import numpy.typing as npt

from LiverSegLib.errors import InputError, OutputError
from LiverSegLib.io.regular_file import open_regular
from LiverSegLib.worker.errors import ProtocolError
from LiverSegLib.worker.leftovers import hold, remove_leftovers
from LiverSegLib.worker.values import check_file

PREFIX = "liverseg-worker-"


class ArrayFolder:
    """A folder that only this user can read, removed when it is closed or the program ends.

    Args:
        parent: where to make it; None for the system's temporary folder.

    Raises:
        OutputError: it cannot be made.
    """

    def __init__(self, parent: Path | None = None) -> None:
        base = Path(tempfile.gettempdir()) if parent is None else parent
        remove_leftovers(base, PREFIX)
        try:
            self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base)).resolve()  # mode 0700
            held = hold(self.path)
        except OSError as error:
            raise OutputError(f"No temporary folder can be made in {base}: {error.strerror}; free space.") from error
        self._count = 0
        self._removed = weakref.finalize(self, _remove, self.path, held)

    def put(self, array: npt.NDArray[Any], stem: str = "volume") -> str:
        """Write an array [i, j, k] to a new file and give the file's name.

        Raises:
            OutputError: the disk is full or the folder is gone.
        """
        self._count += 1
        name = f"{stem}-{self._count}.npy"
        try:
            write_array(self.path / name, array)
        except OSError as error:
            self.discard(name)
            raise OutputError(f"The volume cannot be written to {self.path}: {error.strerror}; free space.") from error
        return name

    def discard(self, name: str) -> None:
        """Delete a file; one that Windows still holds open goes with the folder."""
        try:
            (self.path / name).unlink(missing_ok=True)
        except OSError:
            return

    def close(self) -> None:
        """Remove the folder with everything in it; may be repeated."""
        self._removed()


def _remove(path: Path, held: int) -> None:
    os.close(held)
    shutil.rmtree(path, ignore_errors=True)


def write_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Write a `.npy` file straight from a view, slab by slab, in the memory order that the array has.

    `numpy.save` copies a view whose axes are not in order; a Slicer volume is such a view, and large.
    """
    fortran = not array.flags.c_contiguous
    header = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": fortran, "shape": array.shape}
    outer_first = array.transpose() if fortran else array
    with path.open("xb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for slab in outer_first:
            file.write(np.ascontiguousarray(slab).data.cast("B"))


def read_array(folder: Path, name: str, mapped: Literal["r", "c"] | None = None) -> npt.NDArray[Any]:
    """The array in a file of the folder.

    Args:
        folder: the private folder.
        name: bare file name.
        mapped: read on demand instead of all at once; "r" read-only, "c" with changes that stay in memory.

    Raises:
        ProtocolError: the name leads elsewhere, or the file is no plain array of the size that it declares.
    """
    path = path_in(folder, name)
    try:
        with open_regular(path) as file:
            shape, fortran, dtype = _array_header(file)
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
        raise ProtocolError(f"The array file {name} cannot be read ({error}); run it again.") from error


def _array_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and type of a `.npy` file that `write_array` wrote.

    Raises:
        ValueError: it was not.
    """
    try:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("it is of another version")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    except Exception as error:  # numpy parses the header as Python, which fails in many ways
        raise ValueError("it has no header of an array") from error
    # Objects would be unpickled, and a structure is no voxel.
    if dtype.kind not in "biufc" or any(n < 0 for n in shape) or len(shape) > 8:
        raise ValueError(f"it holds {str(dtype)[:40]} values")
    return shape, fortran, dtype


def path_in(folder: Path, name: str) -> Path:
    """The path of a file of the folder, which may not exist yet.

    Raises:
        ProtocolError: it is not a bare `.npy` name, or it is a link.
    """
    check_file(name)
    path = folder / name
    if path.is_symlink():
        raise ProtocolError(f"The file {name} is a link; it is not followed.")
    return path


def check_private(folder: Path) -> None:
    """Refuse a folder that others could have prepared.

    Raises:
        ProtocolError: it is missing, a link, or (except on Windows) not ours alone.
    """
    try:
        found = folder.lstat()
    except (OSError, ValueError) as error:
        raise ProtocolError(f"The folder {folder} for arrays is not there.") from error
    private = os.name == "nt" or (found.st_uid == os.getuid() and not found.st_mode & 0o077)
    if not folder.is_absolute() or not stat.S_ISDIR(found.st_mode) or not private:
        raise ProtocolError(f"{folder} is not a private folder; arrays are not read from there.")
