"""Whether the folder of a batch tells the truth: every case once, right or with a reason."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from Testing.kill_test.inputs import SHAPE, Truth


def faults(out: Path, truths: Sequence[Truth]) -> list[str]:
    """What is wrong; nothing in a sound batch.

    Every case stands in the table exactly once. Damaged ones, and only these, have failed and are listed with a
    sentence. Every other one has the true volume of its liver in the table and in its label map.
    """
    with (out / "table.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    counts = Counter(row["name"] for row in rows)
    found = [f"{truth.name} is missing in the table" for truth in truths if not counts[truth.name]]
    found += [f"{name} stands in the table {count} times" for name, count in counts.items() if count > 1]
    found += [f"{name} is none of the cases" for name in counts.keys() - {truth.name for truth in truths}]
    failed = [json.loads(line) for line in (out / "failed.jsonl").read_text(encoding="utf-8").splitlines()]
    listed = {entry["name"] for entry in failed}
    found += [
        f"{entry['name']} is listed without a sentence" for entry in failed if not entry["sentence"].endswith(".")
    ]
    row_of = {row["name"]: row for row in rows}
    for truth in truths:
        found += _of_case(out, truth, row_of.get(truth.name, {}), truth.name in listed)
    left = [path.name for path in out.rglob(".liverseg-*.tmp")]
    return found + [f"the temporary file {name} was left" for name in left]


def _of_case(out: Path, truth: Truth, row: dict[str, str], is_listed: bool) -> list[str]:
    if truth.liver_ml is None:
        is_told = row.get("status") == "failed" and is_listed
        return [] if is_told else [f"{truth.name} is damaged, but is not among the failures"]
    if row.get("status") != "done" or is_listed:
        return [f"{truth.name} is {row.get('status')}: {row.get('message')}"]
    told = float(row["liver_ml"])
    labels = np.asarray(nib.load(out / "cases" / truth.name / f"{truth.name}_labels.nii.gz").dataobj)
    drawn = float((labels > 0).sum()) * 0.008
    if labels.shape != SHAPE or abs(told - truth.liver_ml) > 1e-3 or abs(drawn - truth.liver_ml) > 1e-3:
        return [f"{truth.name} has {told} mL in the table, {drawn} in its label map; {truth.liver_ml} are true"]
    return []


def innocent_failures(out: Path, truths: Sequence[Truth]) -> int:
    """How many sound cases were killed so often that they count as failed."""
    sound = {truth.name for truth in truths if truth.liver_ml is not None}
    lines = (out / "failed.jsonl").read_text(encoding="utf-8").splitlines()
    return sum(json.loads(line)["name"] in sound for line in lines)
