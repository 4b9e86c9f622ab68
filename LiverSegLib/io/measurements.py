"""Measurements as a table for people and as JSON for programs."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from LiverSegLib import __version__
from LiverSegLib.io.atomic import Opener, atomic_file
from LiverSegLib.measure import Lesion, Measurements, SegmentMeasurement
from LiverSegLib.printable import csv_text
from LiverSegLib.volume import Result

# Raise it when a key changes its meaning or goes away.
SCHEMA_VERSION = 1
_CENTER = ("center_r_mm", "center_a_mm", "center_s_mm")
_INTENSITY = ("mean_intensity", "std_intensity")
_COLUMNS = (
    "kind",
    "name",
    "number",
    "voxels",
    "volume_ml",
    "longest_diameter_mm",
    *_CENTER,
    *_INTENSITY,
    "organ_percent",
)


def write_measurements_csv(path: Path | str, measurements: Measurements, *, opener: Opener = atomic_file) -> None:
    """Write one row per segment, one per organ that is no segment but that its pieces make up, and one per lesion.

    Columns: `kind` ("segment", "organ" or "lesion"), `name`, `number` (1 is the largest lesion), `voxels`,
    `volume_ml`, `longest_diameter_mm`, the lesion's center in RAS mm, mean and standard deviation of the
    image in it (HU for CT), and `organ_percent`, the share of a piece in its organ; what a row lacks stays empty. A
    name that a spreadsheet would take for a formula has an apostrophe before it.

    Args:
        path: the file; an existing one is replaced only by a complete one.
        measurements: what was measured.
        opener: opens the file; given where it must appear together with others.

    Raises:
        OutputError: the file cannot be written; whatever stood there before is unchanged.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    parts = [("segment", segment) for segment in measurements.segments]
    for kind, part in (*parts, *(("organ", organ) for organ in measurements.organs)):
        share = {} if part.organ_percent is None else {"organ_percent": round(part.organ_percent, 2)}
        writer.writerow({**_row(kind, part), "voxels": part.voxels, **share})
    for number, lesion in measurements.numbered_lesions():
        center = dict(zip(_CENTER, (round(x, 2) for x in lesion.center_ras), strict=True))
        diameter = round(lesion.longest_diameter_mm, 2)
        writer.writerow({**_row("lesion", lesion), "number": number, "longest_diameter_mm": diameter, **center})
    with opener(Path(path)) as file:
        file.write(text.getvalue().encode())


def _row(kind: str, part: SegmentMeasurement | Lesion) -> dict[str, Any]:
    """The columns that every row has; no intensities where the image was not measured."""
    row = {"kind": kind, "name": csv_text(part.name), "volume_ml": round(part.volume_ml, 4)}
    if part.mean_intensity is not None and part.std_intensity is not None:
        row |= dict(zip(_INTENSITY, (round(part.mean_intensity, 2), round(part.std_intensity, 2)), strict=True))
    return row


def write_measurements_json(
    path: Path | str, result: Result, *, source_id: str | None = None, opener: Opener = atomic_file
) -> None:
    """Write the measurements together with what they came from: model, device, timings, warnings, labels.

    Args:
        path: the file; an existing one is replaced only by a complete one.
        result: what the segmenter gave.
        source_id: by which a later run knows that these are the results of the same input.
        opener: opens the file; given where it must appear together with others.

    Raises:
        OutputError: the file cannot be written; whatever stood there before is unchanged.
    """
    measurements = result.measurements
    content = {
        "schema_version": SCHEMA_VERSION,
        "software": f"LiverSeg {__version__}",
        **({} if source_id is None else {"source_id": source_id}),
        "model": result.model,
        "device": result.device,
        "timings_s": result.timings,
        "warnings": list(result.warnings),
        "labels": [{**asdict(label), "segment_id": label.segment_id} for label in result.labels],
        "segments": [asdict(segment) for segment in measurements.segments],
        "organs": [asdict(organ) for organ in measurements.organs],
        "lesions": [asdict(lesion) for lesion in measurements.lesions],
        "tumor_burden_percent": measurements.tumor_burden_percent,
        "intensity_unit": measurements.intensity_unit,
        "quality": None if result.quality is None else asdict(result.quality),
    }
    # NaN is not JSON; better no file than one that other programs cannot read.
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    with opener(Path(path)) as file:
        # The name of an input that is no text, in a warning, becomes an escape that JSON has too.
        file.write(text.encode("utf-8", "backslashreplace") + b"\n")
