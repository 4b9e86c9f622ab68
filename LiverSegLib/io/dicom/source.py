"""What a DICOM segmentation or report refers to: the headers of its source, whole, in the order of the volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from LiverSegLib.errors import InputError
from LiverSegLib.io.dicom.choice import find_series
from LiverSegLib.io.dicom.frames import Frame, frames_of
from LiverSegLib.io.dicom.geometry import order_frames
from LiverSegLib.io.dicom.headers import ImageFile, check_pydicom, read_header
from LiverSegLib.volume import Result

# A derived object copies these; the standard lets them be empty, but not missing.
_MAY_BE_EMPTY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"),
    *("AccessionNumber", "ReferringPhysicianName", "PositionReferenceIndicator"),
)
_NEEDED = ("SOPClassUID", "SOPInstanceUID", "Modality")
_GROUPS = ("StudyInstanceUID", "SeriesInstanceUID")
# What anonymizers clear at times stands in the file's own header, too.
_IN_META = {"SOPClassUID": "MediaStorageSOPClassUID", "SOPInstanceUID": "MediaStorageSOPInstanceUID"}
_SEXES = ("M", "F", "O", "")


@dataclass(frozen=True, kw_only=True)
class Source:
    """The images of one volume.

    Args:
        path: where they were read from, for messages.
        headers: pydicom's datasets without pixels, in the order of the volume's slices; one of many frames stands
            alone.
        stored: for each frame of that one file its slice in the volume; None where each file is one slice.
        affine: of the volume that they make, voxel index -> RAS mm.
        note: what the user should know of what refers to them, or "".
    """

    path: Path
    headers: list[Any]
    stored: list[int] | None
    affine: npt.NDArray[np.float64]
    note: str = ""

    @property
    def is_placed(self) -> bool:
        """Whether the images lie in a frame of reference; an X-ray does not."""
        return bool(self.headers[0].get("FrameOfReferenceUID"))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the volume [i, j, k]."""
        count = len(self.headers) if self.stored is None else len(self.stored)
        return int(self.headers[0].Columns), int(self.headers[0].Rows), count

    def frames(self, labelmap: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A label map [i, j, k] of the volume as [frame, row, column] in the order of `headers`."""
        slices = labelmap.transpose(2, 1, 0)
        return slices if self.stored is None else slices[self.stored]

    def check_belongs(self, result: Result) -> None:
        """Refuse a result that was made of other images.

        Raises:
            InputError: the grids differ.
        """
        if self.shape != result.labelmap.shape or not np.allclose(self.affine, result.affine, rtol=0, atol=1e-4):
            raise InputError(f"{self.path} is not the series that was segmented; segment it again.")


def read_source(path: Path, series: str | None = None) -> Source:
    """The headers of the series that `read_dicom` reads from the same arguments.

    Raises:
        InputError: it is no DICOM, is read from several files of many frames, or lacks what a reference to it needs.
    """
    check_pydicom(path)
    return _source(find_series(path, series), path)


def source_of_files(paths: Sequence[Path]) -> Source:
    """The headers of the images in these files, at least one, in any order: those that a program loaded together.

    Raises:
        InputError: as `read_source`; or a file is gone, or holds no image.
    """
    check_pydicom(paths[0])
    files = []
    for path in paths:
        try:
            file = read_header(path)
        except OSError as error:
            raise InputError(f"{path} cannot be read any more ({error.strerror}); load the series again.") from error
        if file is None:
            raise InputError(f"{path} is no DICOM image any more; load the series again.")
        files.append(file)
    return _source(files, paths[0].parent)


def _source(files: list[ImageFile], path: Path) -> Source:
    frames, affine = order_frames([frame for file in files for frame in frames_of(file)], path.resolve().name)
    if len(files) > 1 and len(frames) > len(files):
        raise InputError(
            f"{path} is stored as {len(files)} files of many frames, to which one DICOM segmentation cannot refer; "
            "export it as one file or as single slices."
        )
    is_multiframe = "PerFrameFunctionalGroupsSequence" in files[0].header
    headers = [_whole_header(frame.file.path) for frame in (frames[:1] if is_multiframe else frames)]
    for header, frame in zip(headers, frames, strict=False):
        _check(header, frame)
        _tell_thickness(header, affine)
    stored = [int(n) for n in np.argsort([frame.index for frame in frames])] if is_multiframe else None
    return Source(path=path, headers=headers, stored=stored, affine=affine, note=_grouped(path, headers))


def _grouped(path: Path, headers: list[Any]) -> str:
    """Give images of no study or series one, always the same for the same images; gives what to tell of that."""
    from pydicom.uid import generate_uid

    images = sorted(str(header.SOPInstanceUID) for header in headers)
    # Series of one study mostly share the frame of reference.
    made_of = {"StudyInstanceUID": [str(headers[0].get("FrameOfReferenceUID") or images)], "SeriesInstanceUID": images}
    missing = [keyword for keyword in _GROUPS if not headers[0].get(keyword)]
    for keyword in missing:
        uid = generate_uid(entropy_srcs=[keyword, *made_of[keyword]])
        for header in headers:
            setattr(header, keyword, uid)
    if not missing:
        return ""
    return (
        f"{path} has no {' and no '.join(missing)}, as after some anonymizers; the DICOM files written of it got their "
        "own, so an archive will not put them beside these images."
    )


def _whole_header(path: Path) -> Any:
    import pydicom

    try:
        header = pydicom.dcmread(path, stop_before_pixels=True)
        for keyword in _MAY_BE_EMPTY:
            if keyword not in header:
                setattr(header, keyword, None)
        for keyword, twin in _IN_META.items():
            if not header.get(keyword):
                setattr(header, keyword, header.file_meta[twin].value)
        if str(header.PatientSex or "") not in _SEXES:
            header.PatientSex = ""
    # A damaged header can raise nearly anything.
    except Exception as error:
        raise InputError(f"{path} has a damaged header; copy or export the series again.") from error
    return header


def _check(header: Any, frame: Frame) -> None:
    """Refuse what nothing can refer to, as some anonymizers leave it."""
    needed = _NEEDED if frame.file.is_xray else (*_NEEDED, "FrameOfReferenceUID")
    missing = next((keyword for keyword in needed if not header.get(keyword)), None)
    if missing is not None:
        raise InputError(
            f"{frame.file.path} has no {missing}, as after some anonymizers, so nothing in DICOM can refer to it; "
            "take the original files, or do without DICOM output."
        )


def _tell_thickness(header: Any, affine: npt.NDArray[np.float64]) -> None:
    """Have the header say how thick a slice is, which a segmentation must say too: as far as to the next one."""
    groups = header.get("SharedFunctionalGroupsSequence") or [{}]
    measures = groups[0].get("PixelMeasuresSequence")
    place = measures[0] if measures else header
    if not place.get("SliceThickness"):
        column, row, step = affine[:3, :3].T
        across = np.cross(column, row)
        place.SliceThickness = round(float(abs(step @ across) / np.linalg.norm(across)), 6)
