"""The report of a data set: counts, statistics, findings."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from Training.data.findings import Facts, Finding
from Training.data.folder import PreparedFolder
from Training.data.readers import Case
from Training.data.split import PARTS
from Training.files import write_json, write_text
from Training.markdown import table


@dataclass(kw_only=True)
class Report:
    """What was found, filled while the cases are looked at.

    Args:
        recipe: its name.
        data: the data folder.
        labels: value -> name.
        findings: errors and warnings.
        facts: one a raw case.
        cases: the converted cases with their split.
        excluded: source -> names that the recipe leaves out.
    """

    recipe: str
    data: str
    labels: dict[int, str]
    findings: list[Finding] = field(default_factory=list)
    facts: list[Facts] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)
    excluded: dict[str, list[str]] = field(default_factory=dict)

    @property
    def errors(self) -> list[Finding]:
        """The findings that stop preparation."""
        return [finding for finding in self.findings if finding.level == "error"]

    @property
    def sources(self) -> list[str]:
        """The sources that gave cases, in the recipe's order."""
        return list(dict.fromkeys(fact.source for fact in self.facts))

    def counts(self) -> list[dict[str, Any]]:
        """Rows of source, split, patients, volumes (or pictures), cases, and cases without any label."""
        part = {case.patient: case.split for case in self.cases}
        rows = []
        for source in self.sources:
            for split in PARTS:
                mine = [c for c in self.cases if (c.source, c.split) == (source, split)]
                images = sum(f.source == source and part.get(f.patient) == split for f in self.facts)
                if mine:
                    patients, empty = len({c.patient for c in mine}), sum(c.foreground == 0 for c in mine)
                    counts = {"patients": patients, "images": images, "cases": len(mine), "empty": empty}
                    rows.append({"source": source, "split": split, **counts})
        return rows

    def statistics(self) -> dict[str, Any]:
        """Orientation, spacing (mm) and size of each source; volume (mL) and presence of each label."""
        return {source: self._statistics([f for f in self.facts if f.source == source]) for source in self.sources}

    def _statistics(self, facts: list[Facts]) -> dict[str, Any]:
        told = [f for f in facts if f.spacing is not None]
        labels = {}
        for value, name in self.labels.items():
            having = [f for f in facts if f.voxels[value]]
            ml = [f.ml[value - 1] for f in having if f.ml]
            voxels = sum(f.voxels[value] for f in facts)
            labels[name] = {"images": len(having), "voxels": voxels, "ml": _range(ml)}
        return {
            "orientation": dict(Counter(f.axes for f in facts).most_common()),
            "spacing_told": len(told),
            "spacing_mm": [_range([f.spacing[axis] for f in told if f.spacing]) for axis in range(3)] if told else None,
            "size": [_range([f.shape[axis] for f in facts]) for axis in range(3)],
            "model_grid": [_range([f.grid[axis] for f in facts]) for axis in range(3)],
            "labels": labels,
        }


def _range(values: list[Any]) -> list[float] | None:
    """Minimum, median, maximum."""
    if not values:
        return None
    return [round(float(v), 4) for v in (min(values), np.median(values), max(values))]


def write_report(folder: PreparedFolder, report: Report) -> None:
    """Write the report as data and as Markdown.

    Raises:
        OutputError: a file cannot be written.
    """
    content = {
        "recipe": report.recipe,
        "data": report.data,
        "counts": report.counts(),
        "statistics": report.statistics(),
        "findings": [asdict(finding) for finding in report.findings],
        "excluded": report.excluded,
        "images": [asdict(fact) for fact in report.facts],
    }
    write_json(folder.facts, content)
    write_text(folder.report, as_markdown(report))


COUNTS = ("source", "split", "patients", "images", "cases", "without label")
"""How tables call the columns of `Report.counts`."""


def as_markdown(report: Report) -> str:
    """The report for people."""
    blocks = [f"# Data of {report.recipe}", f"From {report.data}.", "## Cases"]
    blocks.append(table(COUNTS, [list(row.values()) for row in report.counts()], text_columns=2))
    for source, values in report.statistics().items():
        orientation = ", ".join(f"{name} {count}" for name, count in values["orientation"].items())
        rows = [
            ("orientation", orientation),
            ("size", _axes(values["size"])),
            ("spacing (mm)", _axes(values["spacing_mm"]) if values["spacing_mm"] else "not told"),
            ("size on the model's grid", _axes(values["model_grid"])),
        ]
        for name, label in values["labels"].items():
            ml = f", mL {_span(label['ml'])}" if label["ml"] else ""
            rows.append((name, f"in {label['images']} images, {label['voxels']} voxels{ml}"))
        blocks += [f"## {source}", "Smallest, median, largest:", table(("", ""), rows, text_columns=2)]
    findings = [(f.level, f.file or f.case, f.message) for f in report.findings]
    blocks += ["## Findings", table(("level", "where", "what"), findings, text_columns=3) if findings else "None."]
    for source, names in report.excluded.items():
        blocks.append(f"Left out of {source} by the recipe: {', '.join(names)}.")
    return "\n\n".join(blocks) + "\n"


def _axes(ranges: list[list[float]]) -> str:
    return " x ".join(_span(values) for values in ranges)


def _span(values: list[float]) -> str:
    low, middle, high = (f"{value:g}" for value in values)
    return low if low == high else f"{low}, {middle}, {high}"
