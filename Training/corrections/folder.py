"""The folder of corrected cases: an MSD folder, and in `corrections.json` what was drawn in which case."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from LiverSegLib.labels import Label, label_for
from Training.data.readers.msd import msd_name, read_msd
from Training.errors import DataError, listed

CORRECTIONS = "corrections.json"
CORRECTED = "corrected"
"""What the source and the cohort of corrected cases are called."""


def corrected_sources(folder: Path, labels: Sequence[Label], taken: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The sources of a recipe that read the folder for a model of these labels; cases with other labels drawn are
    sources of their own.

    A label of the folder that the model lacks counts as the organ that it is part of, or as background. A label of
    the model that was not drawn in a case is left open where the organ around it was drawn (`undivided`).

    Args:
        folder: with `dataset.json`, and perhaps `corrections.json`: a list of {case, labels, who, when, model}, where
            `labels` are the names or values that were drawn in that case. Without it all were drawn in all.
        labels: the model's, whose n-th is the value n of the recipe.
        taken: names that other sources have.

    Raises:
        DataError: the folder cannot be read, has no label of the model, or a case lacks an organ of the model.
    """
    found = read_msd(folder)
    ours = {label.name: value for value, label in enumerate(labels, start=1)}
    theirs = {value: label_for(value, name) for value, name in found.labels.items()}
    meaning = {value: ours.get(label.name, ours.get(label.part_of or "", 0)) for value, label in theirs.items()}
    if not any(meaning.values()):
        raise DataError(
            f"{found.file} has the labels {listed(found.labels.values())}, and the model {listed(ours)}; give at least "
            "one the same name.",
            found.file,
        )
    cases = [msd_name(image) for image, _ in found.pairs]
    drawn = _drawn(folder / CORRECTIONS, theirs)
    groups: dict[tuple[tuple[int, int], ...], list[str]] = {}
    for case in cases:
        names = drawn.get(case, {label.name for label in theirs.values()})
        groups.setdefault(tuple(_left_open(case, names, labels).items()), []).append(case)
    return [
        {
            "kind": "msd",
            "name": name,
            "cohort": CORRECTED,
            "folder": folder.name,
            "labels": meaning,
            "undivided": dict(left_open),
            "exclude": [case for case in cases if case not in mine],
        }
        for (left_open, mine), name in zip(groups.items(), _names(len(groups), taken), strict=True)
    ]


def _left_open(case: str, drawn: set[str], labels: Sequence[Label]) -> dict[int, int]:
    """Values of the labels that were not drawn, with the values of the organs around them.

    Raises:
        DataError: an organ was not drawn, so that nobody knows where it is.
    """
    values = {label.name: value for value, label in enumerate(labels, start=1)}
    found = {}
    for name, value in values.items():
        if name in drawn:
            continue
        around = label_for(1, name).part_of or ""
        if around not in drawn or around not in values:
            raise DataError(
                f"The case {case} has no {name} drawn, which the model segments too; draw it, and add the case again."
            )
        found[value] = values[around]
    return found


def _drawn(file: Path, labels: Mapping[int, Label]) -> dict[str, set[str]]:
    """The names of the labels that were drawn, by case; no case where there is no such file."""
    if not file.is_file():
        return {}
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
        return {str(entry["case"]): {_name(label, labels) for label in entry["labels"]} for entry in entries}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{file} is no list of cases with their labels; repair it, or remove it if every label was drawn in every "
            "case.",
            file,
        ) from error


def _name(label: object, labels: Mapping[int, Label]) -> str:
    """The name that models write of a label that is given by its value or by any of its names."""
    text = str(label)
    return labels[int(text)].name if text.isdecimal() else label_for(1, text).name


def _names(count: int, taken: Sequence[str]) -> list[str]:
    """Names for so many sources that no other source has."""
    free = (f"{CORRECTED}{number}" for number in ("", *range(2, 1000)))
    return [name for name, _ in zip((name for name in free if name not in taken), range(count), strict=False)]
