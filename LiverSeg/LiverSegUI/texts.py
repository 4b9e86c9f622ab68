"""Progress and measurements in words."""

from __future__ import annotations

from slicer.i18n import tr as _

from LiverSegLib.engine.progress import Progress
from LiverSegLib.io import display_name
from LiverSegLib.measure import Measurements

# Where each stage lies on the bar, in percent: the network takes nearly all the time.
_STAGES = {
    "start": (0, 3),
    "load": (3, 6),
    "prepare": (6, 8),
    "resample": (8, 10),
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
        "resample": _("Resampling"),
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


def resultRows(measurements: Measurements) -> list[tuple[str, str]]:
    """Rows (what, value with unit) of the results table."""
    rows = []
    for segment in measurements.segments:
        rows.append((display_name(segment.name), f"{segment.volume_ml:.1f} mL"))
    if any(segment.name == "tumor" for segment in measurements.segments):
        rows.append((_("Lesions"), str(len(measurements.lesions))))
        largest = max((lesion.longest_diameter_mm for lesion in measurements.lesions), default=None)
        rows.append((_("Largest diameter"), "–" if largest is None else f"{largest:.1f} mm"))
    if measurements.tumor_burden_percent is not None:
        rows.append((_("Tumor burden"), f"{measurements.tumor_burden_percent:.2f} %"))
    return rows


def memoryText(free: int | None, total: int | None) -> str:
    """For example ", 5.2 of 8.0 GB free"."""
    if free is None:
        return ""
    if total is None:
        return ", " + _("{free} GB free").format(free=f"{free / 1e9:.1f}")
    return ", " + _("{free} of {total} GB free").format(free=f"{free / 1e9:.1f}", total=f"{total / 1e9:.1f}")
