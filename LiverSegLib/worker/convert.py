"""`Result` and `Volume` to messages and back, without loss."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from LiverSegLib.volume import Result, Volume
from LiverSegLib.worker.errors import ProtocolError
from LiverSegLib.worker.folder import path_in, read_array, write_array
from LiverSegLib.worker.messages import Done, Matrix, Segment


def matrix_of(affine: npt.NDArray[np.float64]) -> Matrix:
    """A 4x4 array as nested tuples; every digit is kept."""
    a, b, c, d = ((float(r[0]), float(r[1]), float(r[2]), float(r[3])) for r in affine)
    return a, b, c, d


def volume_from(message: Segment, folder: Path) -> Volume:
    """The volume of a request, its voxels mapped from the file.

    Raises:
        ProtocolError: the file is not an array of the folder.
        InputError: the array is not a scalar volume.
    """
    array = read_array(folder, message.volume, "r")
    return Volume(array, np.array(message.affine), message.name, message.modality)


def message_from(result: Result, request_id: int, folder: Path, warm: bool = False) -> Done:
    """Write the label map into the folder and describe the result.

    Raises:
        OSError: the disk is full.
    """
    name = f"result-{request_id}.npy"
    write_array(path_in(folder, name), result.labelmap)
    return Done(
        id=request_id,
        labelmap=name,
        affine=matrix_of(result.affine),
        labels=result.labels,
        measurements=result.measurements,
        timings=dict(result.timings),
        warnings=result.warnings,
        device=result.device,
        model=result.model,
        warm=warm,
    )


def result_from(message: Done, folder: Path) -> Result:
    """The result that a message describes; the file of its label map may be deleted afterwards.

    Raises:
        ProtocolError: the file is not a uint8 volume of the folder.
    """
    # Mapped, a large label map costs no time here; but Windows does not delete a file that is mapped.
    labelmap = read_array(folder, message.labelmap, None if os.name == "nt" else "c")
    if labelmap.dtype != np.uint8 or labelmap.ndim != 3:
        raise ProtocolError(f"The worker gave {labelmap.dtype} in {labelmap.ndim}D instead of a label map.")
    return Result(
        labelmap=labelmap,
        affine=np.array(message.affine),
        labels=message.labels,
        measurements=message.measurements,
        timings=message.timings,
        warnings=message.warnings,
        device=message.device,
        model=message.model,
    )
