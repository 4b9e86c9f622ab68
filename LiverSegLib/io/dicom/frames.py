"""Single images and multi-frame files as one kind of thing: frames with a place in space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from LiverSegLib.errors import InputError
from LiverSegLib.io.dicom.headers import ImageFile

# Where attributes stand in the functional groups of a multi-frame file: each frame's own, then those shared by all.
_GROUPS = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "SpacingBetweenSlices": "PixelMeasuresSequence",
    "SliceThickness": "PixelMeasuresSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
}


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One image plane.

    Args:
        file: where it is stored.
        index: its number within the file, from 0.
        position: center of its first pixel, LPS mm.
        orientation: unit vectors along a row and along a column, LPS: 6 numbers.
        spacing: distance between rows and between columns, mm (DICOM's order).
        thickness: distance to the next slice as far as the header tells, mm; only for series of one slice.
        slope: rescaled value = slope * stored value + intercept.
        intercept: see `slope`.
        has_spacing: False where the file does not tell how large its pixels are, and 1 mm stands for it.
    """

    file: ImageFile
    index: int
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]
    thickness: float
    slope: float
    intercept: float
    has_spacing: bool = True


def frames_of(file: ImageFile, *, is_alone: bool = False) -> list[Frame]:
    """The frames of a file, in stored order.

    Args:
        file: a DICOM image.
        is_alone: it is a picture by itself, which need not tell its place; without one its columns run to the left
            and its rows to the back, with pixels of 1 mm.

    Raises:
        InputError: a color image, or its place in space or its values are not told in a way that we know.
    """
    if file.integer("SamplesPerPixel", 1) != 1 or file.text("PhotometricInterpretation") == "PALETTE COLOR":
        raise InputError(f"{file.path} is a color image; pass the folder of the original CT or MR series.")
    if "ModalityLUTSequence" in file.header:
        raise InputError(
            f"{file.path} stores its values through a look-up table; export it with rescale slope instead."
        )
    per_frame = file.header.get("PerFrameFunctionalGroupsSequence")
    if per_frame:
        if len(per_frame) != file.frame_count:
            raise InputError(f"{file.path} describes {len(per_frame)} of {file.frame_count} frames; export it again.")
        shared = file.header.get("SharedFunctionalGroupsSequence") or [{}]
        return [_frame(file, index, [groups, shared[0]], _GROUPS, is_alone) for index, groups in enumerate(per_frame)]
    if file.frame_count > 1:
        raise InputError(
            f"{file.path} has {file.frame_count} frames without their positions; "
            "export it as enhanced multi-frame or as single slices."
        )
    return [_frame(file, 0, [file.header], {}, is_alone)]


def _frame(file: ImageFile, index: int, sources: list[Any], sequences: dict[str, str], is_alone: bool) -> Frame:
    """A frame; the first of `sources` that tells an attribute counts, and `sequences` name where it stands there."""

    def numbers(keyword: str, count: int) -> tuple[float, ...] | None:
        for source in sources:
            items = source.get(sequences[keyword]) if keyword in sequences else [source]
            found = file.numbers(keyword, count, items[0]) if items else None
            if found is not None:
                return found
        return None

    position = numbers("ImagePositionPatient", 3)
    orientation = numbers("ImageOrientationPatient", 6)
    spacing = numbers("PixelSpacing", 2)
    if file.is_xray or is_alone:
        spacing = spacing or numbers("ImagerPixelSpacing", 2)
    has_spacing = spacing is not None
    if file.is_xray:  # a picture, whatever place its header tells
        position = orientation = None
    if file.is_xray or is_alone:  # columns to the left, rows to the back, as any other picture here
        position, orientation = position or (0.0, 0.0, 0.0), orientation or (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
        spacing = spacing or (1.0, 1.0)
    if position is None or orientation is None or spacing is None:
        raise InputError(
            f"{file.path} does not tell where its slice lies or how large its pixels are; "
            "pass the original CT or MR series rather than a screenshot or a report."
        )
    distance = numbers("SpacingBetweenSlices", 1) or numbers("SliceThickness", 1) or (1.0,)
    return Frame(
        file=file,
        index=index,
        position=position,
        orientation=orientation,
        spacing=spacing,
        thickness=distance[0] if distance[0] > 0 else 1.0,
        slope=(numbers("RescaleSlope", 1) or (1.0,))[0],
        intercept=(numbers("RescaleIntercept", 1) or (0.0,))[0],
        has_spacing=has_spacing,
    )
