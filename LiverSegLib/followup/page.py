"""The page of a comparison: the table, and each lesion at both times side by side."""

from __future__ import annotations

import html
from collections.abc import Sequence

from LiverSegLib.followup.changes import GONE, GROWN, NEW, SHRUNK, STABLE, Change, Comparison
from LiverSegLib.printable import printable

_STYLE = """
body { font: 14px/1.4 system-ui, sans-serif; margin: 0 auto; max-width: 1150px; padding: 1em; color: #1b1f24; }
table { border-collapse: collapse; width: 100%; }
td, th { border-top: 1px solid #d8dee4; padding: .5em; text-align: left; vertical-align: top; }
td.number { text-align: right; white-space: nowrap; } td img { display: block; background: #000; }
.new, .grown { color: #b3261e; font-weight: 600; } .gone, .shrunk { color: #1a6e37; font-weight: 600; }
.stable { font-weight: 600; } .note { color: #8a5a00; } small { color: #59636e; }
"""


def page_text(comparison: Comparison, baseline: str, followup: str, pictures: Sequence[str], mark: str) -> str:
    """The page as HTML.

    Args:
        comparison: what it tells.
        baseline, followup: what the scans are called; any text.
        pictures: file names beside the page, one for each change, or none.
        mark: an element of the head by which a later run knows the page.
    """
    counts = ", ".join(
        f"{comparison.count(status)} {status}"
        for status in (NEW, GONE, GROWN, SHRUNK, STABLE)
        if comparison.count(status)
    )
    shown = pictures or [""] * len(comparison.changes)
    rows = "\n".join(_row(change, picture) for change, picture in zip(comparison.changes, shown, strict=True))
    warnings = "".join(f'<p class="note">{_text(warning)}</p>' for warning in comparison.warnings)
    dice = comparison.registration.dice
    lie = "" if dice is None else f"; Dice of the livers {dice:.2f}"
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">{mark}
<title>Follow-up</title><style>{_STYLE}</style></head><body>
<h1>Follow-up: {counts or "no lesions"}</h1>
<p>{_text(baseline)} (baseline) and {_text(followup)} (follow-up). Registration: {comparison.registration.kind}{lie}.
Research software, not for clinical use.</p>{warnings}
<table><tr><th></th><th>Baseline</th><th>Follow-up</th><th>Change</th></tr>
{_line("Liver, mL", comparison.baseline_liver_ml, comparison.followup_liver_ml, 0)}
{_line("Sum of the lesions' longest diameters, mm", comparison.baseline_sum_mm, comparison.followup_sum_mm, 1)}
</table>
<h2>Lesions</h2>
<table><tr><th>Lesion</th><th>Longest diameter, mm</th><th>Volume, mL</th><th>Baseline | follow-up, as it lies on the
baseline <small>(200 mm wide, the patient's right on the left)</small></th></tr>
{rows}
</table>
<p><small>Grown: the diameter rose by at least 20 % and 5 mm; shrunk: it fell by at least 30 % and 5 mm (thresholds of
RECIST 1.1, here for each lesion). Where the longest diameter stays, that of a ball of the same volume decides.
Diameters of fragments are added.</small></p>
</body></html>
"""


def _line(name: str, before: float, after: float, digits: int) -> str:
    change = _percent(100 * (after - before) / before) if before else ""
    cells = "".join(
        f'<td class="number">{text}</td>' for text in (f"{before:.{digits}f}", f"{after:.{digits}f}", change)
    )
    return f"<tr><td>{name}</td>{cells}</tr>"


def _row(change: Change, picture: str) -> str:
    image = f'<img src="{html.escape(picture)}" alt="" loading="lazy">' if picture else ""
    numbers = [f"baseline {_list(change.baseline)}"] * bool(change.baseline)
    numbers += [f"follow-up {_list(change.followup)}"] * bool(change.followup)
    note = f' <span class="note">{change.note}</span>' if change.note else ""
    sizes = (
        _pair(change.baseline_mm, change.followup_mm, change.diameter_percent, 1),
        _pair(change.baseline_ml, change.followup_ml, change.volume_percent, 2),
    )
    cells = "".join(f'<td class="number">{size}</td>' for size in sizes)
    return (
        f'<tr><td><span class="{change.status}">{change.status}</span>{note}<br><small>{"<br>".join(numbers)}</small>'
        f"</td>{cells}<td>{image}</td></tr>"
    )


def _pair(before: float, after: float, percent: float | None, digits: int) -> str:
    texts = [f"{size:.{digits}f}" if size else "-" for size in (before, after)]
    change = f"<br>{_percent(percent)}" if percent is not None else ""
    return f"{texts[0]} &rarr; {texts[1]}{change}"


def _percent(change: float) -> str:
    return f"{round(change):+d} %"  # whole, as nothing is -0


def _list(numbers: Sequence[int]) -> str:
    return "no. " + " and ".join(map(str, numbers))


def _text(text: str) -> str:
    return html.escape(printable(text))
