"""A result as a DICOM segmentation of the series that it was made of.

Binary, one segment a label, with codes, colors and tracking. An organ's segment holds its lesions and pieces too, as
its volume does, and stands before them: where segments overlap the higher number is the label map. Slices without any
segment are left out of the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from LiverSegLib import __version__
from LiverSegLib.errors import InputError
from LiverSegLib.io.dicom.source import Source
from LiverSegLib.labels import Label, organs_first, terms_of, values_of
from LiverSegLib.volume import Result

MAKER = "LiverSeg"
NOTICE = "Research use only, not for clinical use"
MARK = b"LiverSeg"
"""The first bytes of every DICOM file of ours, in the preamble that the standard leaves to whoever writes a file."""
_LONG_STRING = 64


@dataclass(frozen=True, kw_only=True)
class Algorithm:
    """What made a segmentation, in the words of its file.

    Args:
        name: of the model.
        version: of the model, "" where it has none.
        by_hand: names of the labels that a person drew or changed, or that came from elsewhere.
    """

    name: str
    version: str = ""
    by_hand: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One segment of the file.

    Args:
        number: of the segment, from 1.
        label: what it is.
        values: of the label map, of which it is made.
        uid: by which measurements name it.
    """

    number: int
    label: Label
    values: tuple[int, ...]
    uid: str


def segments_of(result: Result) -> tuple[Segment, ...]:
    """The segments of a result, organs before what lies in them; also those without voxels, so that numbers stay."""
    from highdicom import UID

    return tuple(
        Segment(number=number, label=label, values=values_of(label.name, result.labels), uid=str(UID()))
        for number, label in enumerate(organs_first(result.labels), start=1)
    )


def build_seg(source: Source, result: Result, segments: Sequence[Segment], algorithm: Algorithm) -> Any:
    """A result as highdicom's `Segmentation`.

    Args:
        source: the images that it was made of.
        result: what the segmenter gave.
        segments: of the result, see `segments_of`.
        algorithm: what made it.

    Raises:
        InputError: the result is of other images, or highdicom refuses their headers.
    """
    import highdicom as hd

    source.check_belongs(result)
    headers, pixels = _pixels(source, result, segments)
    try:
        seg = hd.seg.Segmentation(
            source_images=headers,
            pixel_array=pixels,
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=[_description(segment, result, algorithm) for segment in segments],
            series_instance_uid=hd.UID(),
            series_number=series_number(source, 1000),
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer=MAKER,
            manufacturer_model_name=MAKER,
            software_versions=__version__,
            device_serial_number="none",
            omit_empty_frames=bool(pixels.any()),
            content_label="SEGMENTATION",
            content_description=NOTICE,
            series_description=f"Segmentation by {MAKER}",
            specific_character_set="ISO_IR 192",
        )
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise InputError(f"{source.path} cannot be referred to by a DICOM segmentation ({error}).") from error
    if not source.is_placed:  # what stands for a place in a picture; it may be empty
        seg.PatientOrientation = source.headers[0].get("PatientOrientation")
    seg.preamble = MARK.ljust(128, b"\0")
    return seg


def series_number(source: Source, more: int) -> int:
    """A number for a series of ours, behind the scanner's own."""
    found = source.headers[0].get("SeriesNumber")
    return int(found or 0) % 1_000_000 + more


def long_string(text: str) -> str:
    """Text as DICOM's LO holds it: no backslash, which parts values, and at most 64 letters."""
    return "".join(letter if letter.isprintable() and letter != "\\" else " " for letter in text)[:_LONG_STRING].strip()


def _pixels(source: Source, result: Result, segments: Sequence[Segment]) -> tuple[list[Any], npt.NDArray[np.uint8]]:
    """The images with any segment, and their masks.

    Returns:
        Headers, and uint8 [frame, row, column] with segment numbers, or where segments overlap zeros and ones [frame,
        row, column, segment].
    """
    frames, headers = source.frames(result.labelmap), source.headers
    if source.stored is None:
        # One image has to be there, also where nothing was found.
        held = np.flatnonzero(frames.any(axis=(1, 2))) if frames.any() else np.array([0])
        frames, headers = frames[held], [headers[n] for n in held]
    tables = np.zeros((len(segments), 256), np.uint8)
    for table, segment in zip(tables, segments, strict=True):
        table[list(segment.values)] = 1
    if tables.sum(axis=0).max() <= 1:
        numbers = (tables * np.arange(1, len(segments) + 1, dtype=np.uint8)[:, None]).sum(axis=0, dtype=np.uint8)
        return headers, numbers[frames]
    masks = np.empty((*frames.shape, len(segments)), np.uint8)
    for number, table in enumerate(tables):
        masks[..., number] = table[frames]
    return headers, masks


def _description(segment: Segment, result: Result, algorithm: Algorithm) -> Any:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    terms, label, kinds = terms_of(segment.label), segment.label, hd.seg.SegmentAlgorithmTypeValues
    # What a person changed in a lesion or a piece is changed in its organ, too, whose segment holds it.
    names = {other.name for other in result.labels if other.value in segment.values}
    described = hd.seg.SegmentDescription(
        segment_number=segment.number,
        segment_label=long_string(label.display_name or label.name),
        segmented_property_category=concept(terms.category),
        segmented_property_type=concept(terms.kind),
        algorithm_type=kinds.SEMIAUTOMATIC if names & set(algorithm.by_hand) else kinds.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=long_string(algorithm.name) or MAKER,
            family=codes.DCM.ArtificialIntelligence,
            version=long_string(algorithm.version) or "not stated",
            source=f"{MAKER} {__version__}",
        ),
        tracking_uid=segment.uid,
        tracking_id=long_string(label.name),
        anatomic_regions=None if terms.region is None else [concept(terms.region)],
        display_color=hd.color.CIELabColor.from_rgb(*label.color),
    )
    if result.quality is not None and result.quality.text and label.name == result.quality.organ:
        described.SegmentDescription = result.quality.text
    return described


def concept(term: tuple[str, str]) -> Any:
    """A code of SNOMED CT and its meaning as highdicom has them."""
    from highdicom.sr import CodedConcept

    code, meaning = term
    return CodedConcept(value=code, scheme_designator="SCT", meaning=meaning)
