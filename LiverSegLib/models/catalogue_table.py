"""The catalogue as a table for a page of the documentation."""

from __future__ import annotations

from collections.abc import Iterable

from LiverSegLib.models.catalogue import Entry
from LiverSegLib.models.family import FAMILIES
from LiverSegLib.models.transfer import size_text

_COLUMNS = ("id", "what", "images", "made with", "download", "license", "published result")
_MOST_TARGETS = 3


def markdown_table(entries: Iterable[Entry]) -> str:
    """One row a model, in Markdown."""
    lines = [_line(_COLUMNS), _line("---" for _ in _COLUMNS)]
    for entry in entries:
        size = "built in" if not entry.url else size_text(entry.bytes) if entry.bytes else "not known"
        license_text = entry.about.license + (", not for commercial use" if entry.non_commercial else "")
        family = FAMILIES[entry.family].title
        cells = (f"`{entry.id}`", entry.title, entry.about.modality, family, size, license_text, metric_text(entry))
        lines.append(_line(cells))
    return "\n".join(lines) + "\n"


def metric_text(entry: Entry) -> str:
    """The first published result: "liver Dice 0.965"; "none found" where there is none."""
    return f"{entry.metrics[0].name} {entry.metrics[0].value:g}" if entry.metrics else "none found"


def targets_text(entry: Entry) -> str:
    """What it segments unless asked for more, in few words."""
    targets = entry.about.targets
    if len(targets) > _MOST_TARGETS:
        return f"{targets[0]} to {targets[-1]}"
    return ", ".join(targets) or "see the model"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
