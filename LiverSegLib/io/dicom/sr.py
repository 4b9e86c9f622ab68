"""Measurements as a DICOM structured report (TID 1500) beside the segmentation that they are of.

Each segment is a volumetric group that has the segment's tracking UID. Each lesion by itself is a group of
its own (TID 1501), because no segment holds it alone; its diameter is a line between two points in the patient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from LiverSegLib import __version__
from LiverSegLib.errors import InputError
from LiverSegLib.io.dicom.seg_writer import MAKER, MARK, Algorithm, Segment, concept, long_string, series_number
from LiverSegLib.io.dicom.source import Source
from LiverSegLib.labels import terms_of
from LiverSegLib.measure import Lesion, SegmentMeasurement
from LiverSegLib.volume import Result

# Of the standard: PS3.16 CID 7469 and the Image Biomarker Standardisation Initiative; what neither has is ours.
_VOLUME = ("118565006", "SCT", "Volume")
_DIAMETER = ("L0JK", "IBSI", "Maximum 3D diameter")
_ATTENUATION = ("112031", "DCM", "Attenuation Coefficient")
_SIGNAL = ("110852", "DCM", "MR signal intensity")
_MEAN, _DEVIATION = ("373098007", "SCT", "Mean"), ("386136009", "SCT", "Standard Deviation")
_BURDEN = ("burden", "99LIVERSEG", "Volume in percent of the organ with its lesions")
_SHARE = ("share", "99LIVERSEG", "Volume in percent of the organ without its lesions")
_DICE = ("dice", "99LIVERSEG", "Expected Dice coefficient")
_DICE_LOW = ("dice-low", "99LIVERSEG", "Expected Dice coefficient, lower end of nine in ten")
_DICE_HIGH = ("dice-high", "99LIVERSEG", "Expected Dice coefficient, upper end of nine in ten")
_ML, _MM, _PERCENT = ("ml", "UCUM", "ml"), ("mm", "UCUM", "mm"), ("%", "UCUM", "%")
_HU, _NO_UNIT = ("[hnsf'U]", "UCUM", "Hounsfield unit"), ("1", "UCUM", "no units")
_PROCEDURES = {
    "CT": ("25045-6", "LN", "CT Unspecified Body Region"),
    "MR": ("25056-3", "LN", "MR Unspecified Body Region"),
}
_ANY_PROCEDURE = ("363679005", "SCT", "Imaging procedure")
# What a decimal string of DICOM holds.
_DIGITS = 10
_Code = tuple[str, str, str]


def build_sr(source: Source, result: Result, segments: Sequence[Segment], seg: Any, algorithm: Algorithm) -> Any:
    """The measurements of a result as highdicom's `Comprehensive3DSR`.

    Args:
        source, result, segments, algorithm: as for `build_seg`.
        seg: what that gave.

    Raises:
        InputError: highdicom refuses the headers of the images.
    """
    import highdicom as hd

    found = {measured.name: measured for measured in result.measurements.segments}
    made = _algorithm(algorithm)
    try:
        groups = [_segment_group(segment, found[segment.label.name], result, seg, made) for segment in segments]
        if source.is_placed:
            groups += list(_lesion_groups(source, result, segments, made))
        report = hd.sr.MeasurementReport(
            observation_context=hd.sr.ObservationContext(observer_device_context=_observer()),
            procedure_reported=_concept(_PROCEDURES.get(str(source.headers[0].Modality), _ANY_PROCEDURE)),
            imaging_measurements=groups,
        )
        document = hd.sr.Comprehensive3DSR(
            evidence=[seg, *source.headers],
            content=report[0],
            series_number=series_number(source, 1001),
            series_instance_uid=hd.UID(),
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer=MAKER,
            manufacturer_model_name=MAKER,
            software_versions=__version__,
            device_serial_number="none",
            is_complete=True,
            is_final=False,
            is_verified=False,
            series_description=f"Measurements by {MAKER}",
            specific_character_set="ISO_IR 192",
        )
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise InputError(f"{source.path} cannot be referred to by a DICOM report ({error}).") from error
    document.preamble = MARK.ljust(128, b"\0")
    return document


def _observer() -> Any:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    device = hd.sr.DeviceObserverIdentifyingAttributes(uid=hd.UID(), name=MAKER, model_name=f"{MAKER} {__version__}")
    return hd.sr.ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=device)


def _algorithm(algorithm: Algorithm) -> Any:
    import highdicom as hd

    return hd.sr.AlgorithmIdentification(
        name=long_string(algorithm.name) or MAKER,
        version=long_string(algorithm.version) or "not stated",
        parameters=[f"software {MAKER} {__version__}"],
    )


def _segment_group(segment: Segment, measured: SegmentMeasurement, result: Result, seg: Any, made: Any) -> Any:
    """What was measured of a segment, as a whole."""
    import highdicom as hd

    numbers = [_number(_VOLUME, measured.volume_ml, _ML), *_gray(measured, result.measurements.intensity_unit)]
    shares = ((_BURDEN, measured.burden_percent), (_SHARE, measured.organ_percent))
    numbers += [_number(name, share, _PERCENT) for name, share in shares if share is not None]
    quality = result.quality
    if quality is not None and quality.organ == segment.label.name:
        expected = ((_DICE, quality.expected_dice), (_DICE_LOW, quality.low), (_DICE_HIGH, quality.high))
        numbers += [_number(name, dice, _NO_UNIT) for name, dice in expected if dice is not None]
    return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=segment.uid, identifier=long_string(segment.label.name)),
        referenced_segment=hd.sr.ReferencedSegment(
            sop_class_uid=seg.SOPClassUID,
            sop_instance_uid=seg.SOPInstanceUID,
            segment_number=segment.number,
            source_series=hd.sr.SourceSeriesForSegmentation(seg.ReferencedSeriesSequence[0].SeriesInstanceUID),
        ),
        measurements=numbers,
        algorithm_id=made,
        **_what(segment),
    )


def _lesion_groups(source: Source, result: Result, segments: Sequence[Segment], made: Any) -> Iterator[Any]:
    """What was measured of each lesion."""
    import highdicom as hd

    of_name = {segment.label.name: segment for segment in segments}
    place = str(source.headers[0].FrameOfReferenceUID)
    for number, lesion in result.measurements.numbered_lesions():
        yield hd.sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=hd.sr.TrackingIdentifier(
                uid=hd.UID(), identifier=f"{long_string(lesion.name)} {number}"
            ),
            measurements=[
                _number(_VOLUME, lesion.volume_ml, _ML),
                _number(_DIAMETER, lesion.longest_diameter_mm, _MM, _line(lesion, place)),
                *_gray(lesion, result.measurements.intensity_unit),
            ],
            algorithm_id=made,
            **_what(of_name[lesion.name]),
        )


def _line(lesion: Lesion, frame_of_reference: str) -> list[Any]:
    """The diameter as two points, LPS mm."""
    import highdicom as hd

    if lesion.ends_ras is None:
        return []
    points = np.array(lesion.ends_ras) * [-1.0, -1.0, 1.0]
    return [
        hd.sr.CoordinatesForMeasurement3D(
            graphic_type=hd.sr.GraphicTypeValues3D.POLYLINE,
            graphic_data=points,
            frame_of_reference_uid=frame_of_reference,
        )
    ]


def _what(segment: Segment) -> dict[str, Any]:
    """What a group is about, in codes."""
    import highdicom as hd

    terms = terms_of(segment.label)
    sites = None if terms.region is None else [hd.sr.FindingSite(anatomic_location=concept(terms.region))]
    return {"finding_category": concept(terms.category), "finding_type": concept(terms.kind), "finding_sites": sites}


def _gray(measured: SegmentMeasurement | Lesion, unit: str) -> list[Any]:
    """Mean and deviation of the image, in HU for CT and without a unit for MR."""
    name, units = (_ATTENUATION, _HU) if unit == "HU" else (_SIGNAL, _NO_UNIT)
    found = ((measured.mean_intensity, _MEAN), (measured.std_intensity, _DEVIATION))
    return [_number(name, value, units, derivation=how) for value, how in found if value is not None]


def _number(name: _Code, value: float, unit: _Code, line: Sequence[Any] = (), derivation: _Code | None = None) -> Any:
    import highdicom as hd

    return hd.sr.Measurement(
        name=_concept(name),
        value=float(f"{value:.{_DIGITS}g}"),
        unit=_concept(unit),
        derivation=None if derivation is None else _concept(derivation),
        referenced_coordinates=list(line) or None,
    )


def _concept(code: _Code) -> Any:
    from highdicom.sr import CodedConcept

    value, scheme, meaning = code
    return CodedConcept(value=value, scheme_designator=scheme, meaning=meaning)
