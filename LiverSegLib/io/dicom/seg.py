"""DICOM SEG in: the numbers of segments over the slices that the file holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from LiverSegLib.errors import InputError
from LiverSegLib.io.dicom.headers import check_pydicom
from LiverSegLib.io.space import LPS_TO_RAS
from LiverSegLib.volume import Volume

# Segmentations of pixels, as bits and as label maps.
_STORAGE = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")


def is_seg(path: Path) -> bool:
    """Whether a DICOM file is a segmentation, by its first few bytes.

    Raises:
        InputError: it is damaged, no DICOM file, or packed as a whole, which could unpack to any size.
    """
    check_pydicom(path)
    from pydicom.filereader import read_file_meta_info

    try:
        meta = read_file_meta_info(path)
        is_deflated = bool(meta.TransferSyntaxUID.is_deflated)
    # A damaged file can raise nearly anything.
    except Exception as error:
        raise InputError(f"{path} is damaged or no DICOM file; copy or export it again.") from error
    if is_deflated:
        raise InputError(f"{path} is a deflated DICOM file; export it uncompressed.")
    return str(meta.get("MediaStorageSOPClassUID", "")) in _STORAGE


def read_seg(path: Path) -> Volume:
    """Read a DICOM SEG: segment numbers [i, j, k]; where segments overlap the higher number wins.

    Args:
        path: a file that `is_seg`.

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
