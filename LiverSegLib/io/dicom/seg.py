"""DICOM SEG in: the numbers of segments over the slices that the file holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from LiverSegLib.errors import InputError
from LiverSegLib.io.space import LPS_TO_RAS
from LiverSegLib.volume import Volume

_STORAGE = "1.2.840.10008.5.1.4.1.1.66.4"


def is_seg(path: Path) -> bool:
    """Whether a DICOM file is a segmentation.

    Raises:
        InputError: it is damaged, or no DICOM file.
    """
    import pydicom

    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID", "Modality"])
    # A damaged file can raise nearly anything.
    except Exception as error:
        raise InputError(f"{path} is damaged or no DICOM file; copy or export it again.") from error
    return str(header.get("SOPClassUID", "")) == _STORAGE or str(header.get("Modality", "")) == "SEG"


def read_seg(path: Path) -> Volume:
    """Read a DICOM SEG: segment numbers [i, j, k]; where segments overlap the higher number wins.

    Raises:
        InputError: it is damaged, or highdicom is missing.
    """
    try:
        from highdicom.seg import segread
    except ImportError as error:
        raise InputError(f"{path} is a DICOM SEG; to read it: pip install 'liverseg[dicom]'.") from error
    try:
        volume = segread(path).get_volume(combine_segments=True, skip_overlap_checks=True)
        array, affine = np.asarray(volume.array), np.asarray(volume.affine, float)
    except Exception as error:
        raise InputError(f"{path} is no DICOM SEG that can be read ({error}).") from error
    return Volume(array, LPS_TO_RAS @ affine, path.name)
