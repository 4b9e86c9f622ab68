"""The part of a DICOM image's header that we read; the file may be damaged, or made to do harm."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from LiverSegLib.errors import InputError
from LiverSegLib.io.regular_file import open_regular

# Only these are ever parsed: it is fast, and nothing about the patient enters memory or a message.
_TAGS = [
    *("SOPClassUID", "Modality", "ImageType", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "ImagerPixelSpacing"),
    *("SliceThickness", "SpacingBetweenSlices", "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
    *("SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns", "BitsAllocated"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
]


@dataclass(frozen=True, kw_only=True)
class ImageFile:
    """One DICOM image file: where it is and the part of its header that we read.

    Args:
        path: the file.
        header: pydicom's dataset without the pixels.
        encoding: DICOM's name of how the pixels are stored.
        is_compressed: whether they need a decoder.
    """

    path: Path
    header: Any
    encoding: str
    is_compressed: bool

    def text(self, keyword: str) -> str:
        """A header field as one short printable line, "" where it is absent."""
        value = self.header.get(keyword)
        return "".join(c for c in str("" if value is None else value).strip() if c.isprintable())[:64]

    def numbers(self, keyword: str, count: int, source: Any = None) -> tuple[float, ...] | None:
        """`count` numbers of a header field (of `source` instead of the top level), None where absent.

        Raises:
            InputError: the field holds something else.
        """
        try:
            value = (self.header if source is None else source).get(keyword)
            if value is None or value == "":
                return None
            numbers = tuple(float(x) for x in (value if count > 1 else [value]))
            if not np.isfinite(numbers).all():
                raise ValueError(f"{numbers} are not finite")
        except (TypeError, ValueError) as error:
            raise InputError(f"{self.path} has a damaged {keyword}; export the series again.") from error
        if len(numbers) != count:
            told = f"{len(numbers)} instead of {count} numbers as {keyword}"
            raise InputError(f"{self.path} has {told}; export it again.")
        return numbers

    def integer(self, keyword: str, default: int) -> int:
        """A whole number of the header, `default` where it is absent.

        Raises:
            InputError: the field holds something else.
        """
        found = self.numbers(keyword, 1)
        return default if found is None else int(found[0])

    @property
    def frame_count(self) -> int:
        """Images in the file, 1 unless it is a multi-frame one."""
        return max(1, self.integer("NumberOfFrames", 1))

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns, 0 where the header does not tell."""
        return self.integer("Rows", 0), self.integer("Columns", 0)

    @property
    def is_xray(self) -> bool:
        """Whether it is a plain radiograph, which has no place in space."""
        return self.text("Modality") in ("DX", "CR")

    @property
    def is_localizer(self) -> bool:
        """Whether it is a scout image, which many scanners store in the series itself."""
        return "LOCALIZER" in str(self.header.get("ImageType", "")).upper()

    @property
    def is_derived(self) -> bool:
        """Whether it was computed from other images: reformatted, subtracted or projected."""
        words = str(self.header.get("ImageType", "")).upper()
        return "DERIVED" in words or "SECONDARY" in words


def has_dicom_mark(path: Path) -> bool:
    """Whether the file says of itself that it is DICOM; the name tells little."""
    with open_regular(path) as file:
        return file.read(132)[128:] == b"DICM"


def check_pydicom(path: Path) -> None:
    """Refuse `path` in a sentence where DICOM cannot be read at all."""
    try:
        import pydicom  # noqa: F401 (asked here once, so that the reason is told well)
    except ImportError as error:
        raise InputError(
            f"{path} is DICOM, and reading it needs pydicom; install it with: pip install 'liverseg[dicom]'."
        ) from error


def read_header(path: Path) -> ImageFile | None:
    """The header of a DICOM image file, or None for anything else (reports, DICOMDIR, other formats).

    Raises:
        InputError: it calls itself a DICOM image but is damaged or in an encoding that we refuse.
    """
    from pydicom.filereader import read_file_meta_info

    if not has_dicom_mark(path):
        return None
    try:
        meta = read_file_meta_info(path)
        storage_class = meta.get("MediaStorageSOPClassUID")
        if storage_class is not None and "Image Storage" not in storage_class.name:
            return None
        syntax = meta.TransferSyntaxUID
        is_compressed = bool(syntax.is_compressed)
        # A deflated file would be inflated as a whole, to any size: it is refused below.
        header = {} if syntax.is_deflated else _parse(path)
    # Parsing a damaged file can raise nearly anything, a RecursionError in nested sequences among them.
    except Exception as error:
        raise InputError(f"{path} is a damaged DICOM file; copy or export the series again.") from error
    if syntax.is_deflated:
        raise InputError(f"{path} is a deflated DICOM file; export the series uncompressed.")
    if storage_class is None and "Image Storage" not in getattr(header.get("SOPClassUID"), "name", ""):
        return None
    # The series UID may be empty: some anonymizers clear it.
    file = ImageFile(path=path, header=header, encoding=syntax.name, is_compressed=is_compressed)
    if min(file.size) < 1:
        raise InputError(f"{path} is a truncated DICOM image; copy or export the series again.")
    return file


def _parse(path: Path) -> Any:
    import pydicom

    header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
    # pydicom converts values when they are asked for: ask here, where damage is expected.
    for element in header.iterall():
        if element.keyword.endswith("Sequence") and element.VR != "SQ":
            raise ValueError(f"{element.keyword} is no sequence")
    return header
