"""labels.csv of Auto3DSeg's models: what the values mean, in names and in the codes of DICOM's terminology.

A table as Slicer's MONAIAuto3DSeg extension reads it: LabelValue, Name, and for the category, the type, its modifier,
the region and its modifier a coding scheme, a code and what it means.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, replace
from typing import Any

from LiverSegLib.errors import ModelError
from LiverSegLib.labels import Label, known_by_code, labels_for, spread_color
from LiverSegLib.models.folder import PackageFolder
from LiverSegLib.models.text import is_name, is_plain, one_line, shown

_MAX_BYTES = 1_000_000
_MOST = 255
"""Labels are stored as uint8."""
_LONGEST = 100
_ENTRY = "Segmentation category and type - DICOM master list~{}~{}~{}~Anatomic codes - DICOM master list~{}~{}"
"""Slicer's serialized terminology entry: category, type, modifier, region and its modifier."""
_PARTS = (
    "SegmentedPropertyCategoryCodeSequence",
    "SegmentedPropertyTypeCodeSequence",
    "SegmentedPropertyTypeModifierCodeSequence",
    "AnatomicRegionSequence",
    "AnatomicRegionModifierSequence",
)


@dataclass(frozen=True)
class _Code:
    """A code of a terminology; empty texts where there is none."""

    scheme: str
    value: str
    meaning: str

    @property
    def text(self) -> str:
        """As Slicer writes it."""
        return f"{self.scheme}^{self.value}^{self.meaning}"


@dataclass(frozen=True)
class _Row:
    """One line of the table."""

    value: int
    name: str
    codes: tuple[_Code, ...]

    @property
    def our_name(self) -> str | None:
        """What we call the same thing; None where only a part of it, such as one of two kidneys, is meant."""
        _, kind, modifier, region, part = self.codes
        if kind.scheme != "SCT" or modifier.value or part.value:
            return None
        return known_by_code(kind.value, region.value)

    @property
    def shown(self) -> str:
        """For people: "Left kidney", "Cyst in left kidney"."""
        _, kind, modifier, region, part = self.codes
        if not kind.meaning:
            return ""
        where = " ".join(filter(None, (part.meaning, region.meaning)))
        text = " ".join(filter(None, (modifier.meaning, kind.meaning))) + (f" in {where}" if where else "")
        return text[:1].upper() + text[1:].lower()


def read_labels(files: PackageFolder, name: str, count: int, names: dict[int, str]) -> tuple[Label, ...]:
    """The labels of a model with the values 1 to `count`; one that the table leaves out is called by its number.

    Args:
        files: the model's folder.
        name: of the table in it.
        count: how many values the network tells apart, without the background.
        names: names by value that go before those of the table.

    Raises:
        ModelError: it is no such table, or does not fit the network.
    """
    path = files.path / name
    rows = _rows(files.read(name, _MAX_BYTES), path)
    wrong = next((value for value in rows if value > count), None)
    if wrong is not None:
        raise ModelError(f"{path} names the value {wrong}, but the network tells only {count} apart; get it again.")
    called = _called(rows, count, names)
    labels = labels_for(called)
    doubles = {label.name for label in labels if [other.name for other in labels].count(label.name) > 1}
    if doubles:
        raise ModelError(f"{path} has two values that mean {min(doubles)}; repair it.")
    return tuple(_dressed(label, rows.get(label.value)) for label in labels)


def _called(rows: dict[int, _Row], count: int, names: dict[int, str]) -> dict[int, str]:
    """The name of each value: ours for what is ours and meant by one value only."""
    ours = {value: row.our_name for value, row in rows.items()}
    known = list(ours.values())
    found = {}
    for value in range(1, count + 1):
        row, our = rows.get(value), ours.get(value)
        theirs = row.name if row is not None else f"label {value}"
        found[value] = names.get(value) or (our if our is not None and known.count(our) == 1 else theirs)
    return found


def _dressed(label: Label, row: _Row | None) -> Label:
    """The label with the codes of the table and a color of its own, unless it is one of those that we know."""
    if label.terminology:
        return label
    color = spread_color(label.value)
    if row is None or not row.shown:
        return replace(label, color=color)
    codes = [code.text for code in row.codes]
    return replace(label, color=color, terminology=_ENTRY.format(*codes), display_name=row.shown)


def _rows(content: bytes, path: Any) -> dict[int, _Row]:
    try:
        table = csv.DictReader(io.StringIO(content.decode("utf-8-sig")), strict=True)
        rows = [_row(line) for _, line in zip(range(_MOST + 1), table, strict=False)]
    except (csv.Error, ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"it lacks the column {error}" if isinstance(error, KeyError) else one_line(error, 200)
        raise ModelError(f"{path} cannot be read as a table of labels ({what}); get the package again.") from error
    found = {row.value: row for row in rows if row.value}  # 0 is the background, whatever it is called
    if not rows or len(rows) > _MOST or len(found) < len([row for row in rows if row.value]):
        raise ModelError(f"{path} names {len(rows)} labels, none, too many or some twice; get the package again.")
    return found


def _row(line: dict[str, Any]) -> _Row:
    value, name = int(line["LabelValue"]), line["Name"].strip()
    if not 0 <= value <= _MOST:
        raise ValueError(f"the value {shown(line['LabelValue'])} is not one of 0 to {_MOST}")
    if not is_name(name, _LONGEST):
        raise ValueError(f"the name {shown(name)} does not begin with a letter or a digit, or is too long")
    return _Row(value, name, tuple(_code(line, part) for part in _PARTS))


def _code(line: dict[str, Any], part: str) -> _Code:
    keys = ("CodingSchemeDesignator", "CodeValue", "CodeMeaning")
    scheme, value, meaning = ((line.get(f"{part}.{key}") or "").strip() for key in keys)
    for text in (scheme, value, meaning):
        # "^" and "~" part the codes where Slicer writes them down.
        if len(text) > _LONGEST or not text.isprintable() or not is_plain(text) or "^" in text or "~" in text:
            raise ValueError(f"the code {shown(text)} is odd")
    return _Code(scheme, value, meaning)
