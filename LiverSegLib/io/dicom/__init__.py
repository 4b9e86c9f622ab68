"""DICOM in: a folder with one series is one volume, and so is a slice by itself, or a segmentation."""

from LiverSegLib.io.dicom.headers import has_dicom_mark
from LiverSegLib.io.dicom.read import read_dicom, read_dicom_slice, read_stored_slice
from LiverSegLib.io.dicom.seg import is_seg, read_seg

__all__ = ["has_dicom_mark", "is_seg", "read_dicom", "read_dicom_slice", "read_seg", "read_stored_slice"]
