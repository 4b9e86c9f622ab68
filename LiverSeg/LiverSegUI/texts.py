"""Progress and measurements in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from slicer.i18n import tr as _

from LiverSegLib.engine.progress import Progress
from LiverSegLib.labels import Label, display_name
from LiverSegLib.measure import Measurements

# What each stage is called, and where it lies on the bar, in percent: the network takes nearly all the time.
_STAGES = {
    "start": (_("Loading PyTorch"), 0, 3),
    "load": (_("Loading the model"), 3, 6),
    "locate": (_("Looking for the organ"), 6, 14),
    "vote": (_("Asking another model"), 14, 22),
    "prepare": (_("Preparing the volume"), 22, 23),
    "network": (_("Segmenting"), 23, 90),
    "restore": (_("Restoring the grid"), 90, 95),
    "postprocess": (_("Cleaning up"), 95, 97),
    "divide": (_("Dividing the organ"), 97, 98),
    "measure": (_("Measuring"), 98, 100),
}


def percent(progress: Progress) -> int:
    """How far a job is, 0 to 100."""
    _name, first, last = _STAGES.get(progress.stage, ("", 0, 100))
    part = min(1.0, progress.done / progress.total) if progress.total > 0 else 0.0
    return int(first + (last - first) * part)


def stageText(progress: Progress | None) -> str:
    """What a job does and how long its stage will take."""
    if progress is None:
        return _("Starting")
    text = _STAGES.get(progress.stage, (progress.stage,))[0]
    if progress.unit != "steps":
        units = {"slices": _("slices"), "windows": _("windows")}
        count = _("{done} of {total} {unit}")
        unit = units.get(progress.unit, progress.unit)
        text += ": " + count.format(done=progress.done, total=progress.total, unit=unit)
    if progress.seconds_left is not None:
        text += ", " + _("about {seconds} s left").format(seconds=max(1, round(progress.seconds_left)))
    return text


def resultRows(rows: list[dict[str, Any]]) -> tuple[list[tuple[str, ...]], str, str]:
    """The panel's results table, from rows of the bridge.

    Returns:
        Of each row structure, mL, mean and deviation, mm, and in a table of pieces of an organ their share of it in
        percent; then the unit of the gray values; then that organ's name, "" in a table without shares.
    """
    share = next((title for title in (rows[0] if rows else ()) if title.startswith("Share of ")), "")
    mean = next((title for title in (rows[0] if rows else ()) if title.split(" [")[0] == "Mean"), "")
    deviation = mean.replace("Mean", "Standard deviation")
    shown: list[tuple[str, ...]] = []
    for row in rows:
        gray = f"{_rounded(row[mean])} ± {_rounded(row[deviation])}" if _rounded(row.get(mean)) else ""
        volume, diameter = (_rounded(row.get(title), 1) for title in ("Volume [mL]", "Longest diameter [mm]"))
        shown.append((row["Structure"], volume, gray, diameter, *([_rounded(row[share], 1)] if share else [])))
    unit = mean.removeprefix("Mean [").removesuffix("]") if "[" in mean else ""
    return shown, unit, share.removeprefix("Share of ").removesuffix(" [%]")


def _rounded(number: str | float | None, digits: int = 0) -> str:
    return "" if number is None or number == "" else f"{float(number):.{digits}f}"


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


def memoryText(free: int | None, total: int | None) -> str:
    """For example ", 5.2 of 8.0 GB free"."""
    if free is None:
        return ""
    if total is None:
        return ", " + _("{free} GB free").format(free=f"{free / 1e9:.1f}")
    return ", " + _("{free} of {total} GB free").format(free=f"{free / 1e9:.1f}", total=f"{total / 1e9:.1f}")
