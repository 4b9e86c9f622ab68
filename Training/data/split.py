"""Who trains, who validates, who tests: by patient, the same for the same seed."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from Training.errors import DataError, listed
from Training.files import write_json
from Training.recipe.options import Split

PARTS = ("train", "val", "test")
Patients = dict[str, list[str]]
"""Source -> its patients, called `<source>_<patient>`."""


@dataclass(frozen=True)
class Division:
    """The patients of each part.

    Args:
        of: patient -> "train", "val" or "test".
        folds: the patients of each fold, where there are folds.
    """

    of: dict[str, str]
    folds: list[list[str]] = field(default_factory=list)

    def write(self, path: Path, seed: int) -> None:
        """split.json, which `split.file` reads again."""
        parts = {name: sorted(patient for patient, part in self.of.items() if part == name) for name in PARTS}
        write_json(path, {"seed": seed, **parts, **({"folds": self.folds} if self.folds else {})})


def divide(patients: Patients, split: Split, seed: int, data: Path) -> Division:
    """Divide the patients as the recipe says.

    Fractions are taken of each source, so that every part sees all of them; a source of one or two patients trains
    whole. Counts are taken of all together; with `train` given, the rest tests. Folds are dealt source
    after source, so that each holds its share of all.

    Args:
        patients: source -> patients.
        split: how.
        seed: the recipe's.
        data: where a relative `split.file` lies, if not in the working folder.

    Raises:
        DataError: there are fewer patients than are asked for, or the file does not fit them.
    """
    patients = {source: sorted(set(mine)) for source, mine in patients.items()}
    if split.file is not None:
        return _from_file(patients, split.file, data)
    if split.validate_on:
        return _named(patients, split.validate_on)
    if split.folds is not None:
        return _folds(patients, split, split.folds, seed)
    if split.train is not None or split.val is not None:
        return _counts(patients, split, seed)
    of: dict[str, str] = {}
    for mine in patients.values():
        order = _shuffled(mine, seed)
        val = _share(split.validation_fraction, len(order))
        test = _share(split.test_fraction, len(order))
        of |= {patient: _part(n, val, test) for n, patient in enumerate(order)}
    return Division(of)


def _named(patients: Patients, validate_on: list[str]) -> Division:
    all_of_them = _everybody(patients)
    unknown = next((name for name in validate_on if name not in all_of_them), None)
    if unknown is not None:
        raise DataError(f"split.validate_on names {unknown}, who is not in the data; write <cohort>_<patient>.")
    return Division({patient: "val" if patient in validate_on else "train" for patient in all_of_them})


def _everybody(patients: Patients) -> list[str]:
    return sorted({patient for mine in patients.values() for patient in mine})


def _shuffled(patients: list[str], seed: int) -> list[str]:
    rng = np.random.default_rng([seed, len(patients)])
    return [str(patient) for patient in rng.permutation(patients)]


def _share(fraction: float, count: int) -> int:
    """At least one of a source that has three or more."""
    return max(1, round(fraction * count)) if fraction > 0 and count > 2 else 0


def _part(place: int, val: int, test: int) -> str:
    return "val" if place < val else "test" if place < val + test else "train"


def _counts(patients: Patients, split: Split, seed: int) -> Division:
    order = _shuffled(_everybody(patients), seed)
    count = len(order)
    val = split.val if split.val is not None else _share(split.validation_fraction, count)
    test = _share(split.test_fraction, count) if split.train is None else count - split.train - val
    if test < 0 or val + test > count:
        raise DataError(f"split asks for {split.train or 1} train and {val} val patients, but there are {count}.")
    return Division({patient: _part(n, val, test) for n, patient in enumerate(order)})


def _folds(patients: Patients, split: Split, folds: int, seed: int) -> Division:
    of: dict[str, str] = {}
    dealt: list[str] = []
    for mine in patients.values():
        order = _shuffled(mine, seed)
        test = _share(split.test_fraction, len(order))
        of |= dict.fromkeys(order[:test], "test")
        dealt += order[test:]
    if folds > len(dealt):
        raise DataError(f"split.folds is {folds}, but there are only {len(dealt)} patients; ask for at most as many.")
    parts = [sorted(dealt[n::folds]) for n in range(folds)]
    of |= dict.fromkeys(dealt, "train") | dict.fromkeys(parts[split.fold], "val")
    return Division(of, parts)


def _from_file(patients: Patients, name: str, data: Path) -> Division:
    """Patients as `<source>_<patient>` or as `<patient>` alone."""
    path = next((path for path in (data / name, Path(name)) if path.is_file()), None)
    if path is None:
        raise DataError(f"split.file {name} is neither below {data} nor in the working folder.", data / name)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        parts = {part: [str(patient) for patient in content.get(part, [])] for part in PARTS}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise DataError(f"{path} is no JSON file with lists of patients under train, val and test.", path) from error
    ours: dict[str, list[str]] = {}
    for source, mine in patients.items():
        for patient in mine:
            for called in (patient, patient.removeprefix(f"{source}_")):
                ours.setdefault(called, []).append(patient)
    of: dict[str, str] = {}
    for part, names in parts.items():
        for patient in names:
            if patient not in ours:
                raise DataError(f"{path} names the patient {patient}, who is not in the data.", path)
            for mine_id in ours[patient]:
                if of.setdefault(mine_id, part) != part:
                    raise DataError(f"{path} has the patient {patient} in {of[mine_id]} and in {part}.", path)
    left = [patient for patient in _everybody(patients) if patient not in of]
    if left:
        raise DataError(f"{path} leaves out the patients {listed(left)}; put each under train, val or test.", path)
    return Division(of)
