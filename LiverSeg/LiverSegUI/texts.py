"""Progress and measurements in words."""

from __future__ import annotations

from collections.abc import Sequence

from slicer.i18n import tr as _

from LiverSegLib.engine.progress import Progress
from LiverSegLib.labels import Label, display_name
from LiverSegLib.measure import Lesion, Measurements, SegmentMeasurement

# Where each stage lies on the bar, in percent: the network takes nearly all the time.
_STAGES = {
    "start": (0, 3),
    "load": (3, 6),
    "prepare": (6, 10),
    "network": (10, 90),
    "restore": (90, 95),
    "postprocess": (95, 98),
    "measure": (98, 100),
}


def percent(progress: Progress | None) -> int:
    """How far a job is, 0 to 100."""
    if progress is None:
        return 0
    first, last = _STAGES.get(progress.stage, (0, 100))
    part = min(1.0, progress.done / progress.total) if progress.total > 0 else 0.0
    return int(first + (last - first) * part)


def stageText(progress: Progress | None) -> str:
    """What a job does and how long its stage will take."""
    if progress is None:
        return _("Starting")
    names = {
        "start": _("Loading PyTorch"),
        "load": _("Loading the model"),
        "prepare": _("Preparing the volume"),
        "network": _("Segmenting"),
        "restore": _("Restoring the grid"),
        "postprocess": _("Cleaning up"),
        "measure": _("Measuring"),
    }
    text = names.get(progress.stage, progress.stage)
    if progress.unit != "steps":
        units = {"slices": _("slices"), "windows": _("windows")}
        count = _("{done} of {total} {unit}")
        unit = units.get(progress.unit, progress.unit)
        text += ": " + count.format(done=progress.done, total=progress.total, unit=unit)
    if progress.seconds_left is not None:
        text += ", " + _("about {seconds} s left").format(seconds=max(1, round(progress.seconds_left)))
    return text


def resultRows(measurements: Measurements, labels: Sequence[Label]) -> list[tuple[str, ...]]:
    """Rows (structure, volume in mL, mean and deviation, longest diameter in mm) of the results table."""
    names = {label.name: label.display_name for label in labels}
    rows = [(names[part.name], f"{part.volume_ml:.1f}", _grey(part), "") for part in measurements.segments]
    for number, lesion in measurements.numbered_lesions():
        name = f"{names[lesion.name]} {number}"
        rows.append((name, f"{lesion.volume_ml:.1f}", _grey(lesion), f"{lesion.longest_diameter_mm:.1f}"))
    return rows


def tableRows(texts: list[dict[str, str]]) -> tuple[list[tuple[str, ...]], str]:
    """The same rows from a table of the scene, and the unit of the grey values."""
    titles = list(texts[0]) if texts else []
    mean = next((title for title in titles if title.split(" [")[0] == "Mean"), "")
    deviation = mean.replace("Mean", "Standard deviation")
    rows = []
    for text in texts:
        grey = f"{_whole(text[mean])} ± {_whole(text[deviation])}" if text.get(mean) else ""
        rows.append((text["Structure"], text["Volume [mL]"], grey, text.get("Longest diameter [mm]", "")))
    return rows, mean.removeprefix("Mean [").removesuffix("]") if "[" in mean else ""


def lesionText(measurements: Measurements, labels: Sequence[Label]) -> str:
    """Number of lesions, largest diameter and burden; "" where lesions were not looked for."""
    if not any(label.is_lesion for label in labels):
        return ""
    count = len(measurements.lesions)
    if not count:
        return _("no lesions were found.")
    largest = max(lesion.longest_diameter_mm for lesion in measurements.lesions)
    text = _("1 lesion") if count == 1 else _("{count} lesions").format(count=count)
    text += ", " + _("longest diameter {largest} mm").format(largest=f"{largest:.1f}")
    organs = {label.name: display_name(label.part_of).lower() for label in labels if label.part_of}
    for part in measurements.segments:
        if part.burden_percent is not None:
            burden = f"{part.burden_percent:.2f}"
            text += ", " + _("{burden} % of the {organ}").format(burden=burden, organ=organs[part.name])
    return text + "."


def _grey(part: SegmentMeasurement | Lesion) -> str:
    if part.mean_intensity is None or part.std_intensity is None:
        return ""
    return f"{part.mean_intensity:.0f} ± {part.std_intensity:.0f}"


def _whole(number: str) -> str:
    return f"{float(number):.0f}"


def memoryText(free: int | None, total: int | None) -> str:
    """For example ", 5.2 of 8.0 GB free"."""
    if free is None:
        return ""
    if total is None:
        return ", " + _("{free} GB free").format(free=f"{free / 1e9:.1f}")
    return ", " + _("{free} of {total} GB free").format(free=f"{free / 1e9:.1f}", total=f"{total / 1e9:.1f}")
