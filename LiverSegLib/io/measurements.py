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
from LiverSegLib.volume import Label, Result

# Raise it when a key changes its meaning or goes away.
SCHEMA_VERSION = 1
_COLUMNS = (
    "kind",
    "name",
    "number",
    "voxels",
    "volume_ml",
    "longest_diameter_mm",
    "center_r_mm",
    "center_a_mm",
    "center_s_mm",
    "mean_intensity",
    "std_intensity",
)


def write_measurements_csv(path: Path | str, measurements: Measurements, *, opener: Opener = atomic_file) -> None:
    """Write one row per segment and one per lesion.

    Columns: `kind` ("segment" or "lesion"), `name`, `number` (1 is the largest lesion), `voxels`,
    `volume_ml`, `longest_diameter_mm`, the lesion's centre in RAS mm, and mean and standard deviation of the
    image in it (HU for CT); what a row lacks stays empty. A name that a spreadsheet would take for a formula has an
    apostrophe before it.

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
    writer.writerows(_rows(measurements))
    with opener(Path(path)) as file:
        file.write(text.getvalue().encode())


def _rows(measurements: Measurements) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {
            "kind": "segment",
            "name": csv_text(s.name),
            "voxels": s.voxels,
            "volume_ml": round(s.volume_ml, 4),
            **_grey(s),
        }
        for s in measurements.segments
    ]
    for number, lesion in measurements.numbered_lesions():
        right, anterior, superior = (round(x, 2) for x in lesion.center_ras)
        rows.append(
            {
                "kind": "lesion",
                "name": csv_text(lesion.name),
                "number": number,
                "volume_ml": round(lesion.volume_ml, 4),
                "longest_diameter_mm": round(lesion.longest_diameter_mm, 2),
                "center_r_mm": right,
                "center_a_mm": anterior,
                "center_s_mm": superior,
                **_grey(lesion),
            }
        )
    return rows


def _grey(part: SegmentMeasurement | Lesion) -> dict[str, float]:
    """The columns of grey values; none where the image was not measured."""
    if part.mean_intensity is None or part.std_intensity is None:
        return {}
    return {"mean_intensity": round(part.mean_intensity, 2), "std_intensity": round(part.std_intensity, 2)}


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
        "labels": [_label(label) for label in result.labels],
        "segments": [asdict(segment) for segment in measurements.segments],
        "lesions": [asdict(lesion) for lesion in measurements.lesions],
        "tumor_burden_percent": measurements.tumor_burden_percent,
        "intensity_unit": measurements.intensity_unit,
    }
    # NaN is not JSON; better no file than one that other programs cannot read.
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    with opener(Path(path)) as file:
        # The name of an input that is no text, in a warning, becomes an escape that JSON has too.
        file.write(text.encode("utf-8", "backslashreplace") + b"\n")


def _label(label: Label) -> dict[str, Any]:
    return {**asdict(label), "segment_id": label.segment_id}
