"""Prediction of a whole part of a prepared folder: the masks of all validation cases, for example."""

from __future__ import annotations

import re
from pathlib import Path

from LiverSegLib.cli.batch import Outcome
from LiverSegLib.cli.output_plan import Case
from LiverSegLib.engine.segmenter import Segmenter
from LiverSegLib.volume import Volume
from Training.data.folder import PreparedFolder
from Training.data.readers.prepared import raw_case, split_entries
from Training.evaluation.predict import Report, predict_cases


def predict_split(
    model: Segmenter,
    prepared: Path,
    split: str,
    out: Path,
    *,
    changes: list[str] | None = None,
    animate: bool = False,
    progress: Report | None = None,
) -> list[Outcome]:
    """Segment the raw cases behind one part of a prepared folder, as `evaluate` sees them.

    Args:
        model: the model on its device.
        prepared: the prepared folder; the data still lies where it was prepared from.
        split: "train", "val", "test" or "all".
        out: folder to write to; a case's files are called `<source>_<case>`.
        changes: "key=value" for the folder's recipe, for example ["split.fold=2"].
        animate, progress: as of `predict`.

    Raises:
        DataError: no such split, or the data has gone.
        OutputError: `out` cannot be written to.
        SegmentationCancelled: Ctrl-C.
    """
    recipe = PreparedFolder(prepared).recipe(changes)
    entries = {_file_name(entry.id): entry for entry in split_entries(prepared, split, recipe)}
    # What is made on the spot, as phantoms are, has no file of its own.
    cases = [Case(path=entry.image or prepared / name, name=name, out=out) for name, entry in entries.items()]

    def read(case: Case) -> Volume:
        return raw_case(entries[case.name], recipe).volume

    return predict_cases(cases, read, model.segment, out, animate=animate, progress=progress)


def _file_name(case: str) -> str:
    return re.sub(r"[^\w.-]+", "_", case)
