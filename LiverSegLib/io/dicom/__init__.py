"""DICOM in: a folder with one series is one volume."""

from LiverSegLib.io.dicom.read import read_dicom

__all__ = ["read_dicom"]
