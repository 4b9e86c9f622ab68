"""A DICOM series in: one folder, one series, one volume."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from LiverSegLib.errors import InputError
from LiverSegLib.io.dicom.frames import frames_of
from LiverSegLib.io.dicom.geometry import order_frames
from LiverSegLib.io.dicom.pixels import read_pixels
from LiverSegLib.io.dicom.series import find_series
from LiverSegLib.volume import Volume

# Both kinds of plain radiograph, computed and digital, are one to a model.
_MODALITIES = {"CT": "CT", "MR": "MR", "DX": "DX", "CR": "DX"}


def read_dicom(path: Path) -> Volume:
    """Read the one image series in a folder, or the series that a file belongs to.

    Slices are ordered by their position in space alone. Missing, doubled or displaced slices are refused,
    since every volume in mL would be wrong; a gantry tilt is kept as shear in the affine.

    Args:
        path: a folder (its direct subfolders are searched too) or one DICOM file.

    Returns:
        The volume, array [i, j, k] with i along the rows of the slices: int16 where the rescaled values are
        exact in it, else float32. Padding values and MONOCHROME1 (which only inverts the display) stay as is,
        except that X-rays (DX, CR) always come with bone bright, as one slice.

    Raises:
        InputError: no image series, several of them, an incomplete or damaged one, or pydicom is missing.
    """
    try:
        import pydicom  # noqa: F401 (asked here once, so that the reason is told well)
    except ImportError as error:
        raise InputError(
            f"{path} is DICOM, and reading it needs pydicom; install it with: pip install 'liverseg[dicom]'."
        ) from error
    files = find_series(path)
    # Resolved, because "." has no name.
    name = path.resolve().name
    frames, affine = order_frames([frame for file in files for frame in frames_of(file)], name)
    stack = read_pixels(frames)
    if files[0].is_xray and files[0].text("PhotometricInterpretation") == "MONOCHROME1":
        # Stored as on film, bone black; every other format shows it white.
        stack = (stack.max() + stack.min() - stack.astype(np.float32)).astype(stack.dtype)
    return Volume(stack.transpose(2, 1, 0), affine, name=name, modality=_MODALITIES.get(files[0].text("Modality")))
