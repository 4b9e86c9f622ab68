"""The index of a prepared folder, and the way back to the raw cases behind it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from LiverSegLib.volume import Volume
from Training.data.folder import PreparedFolder
from Training.data.readers.case import Entry, RawCase
from Training.data.readers.listing import survey
from Training.data.split import divide
from Training.errors import DataError
from Training.files import write_json
from Training.recipe import Recipe
from Training.recipe.options import Preprocess, Split


@dataclass(frozen=True, kw_only=True)
class Case:
    """A prepared case as index.json lists it.

    Args:
        id: name of its files, `<source>_<case>`, for slices of volumes `<source>_<case>_<slice>`.
        patient: `<cohort>_<patient>`; the cohort is the source's name unless the recipe says otherwise.
        source: the source's name.
        split: "train", "val" or "test".
        voxels: how many have each label value, the background's first.
        volume: `<source>_<case>` of the volume that this is a slice of; "" where it is a whole image.
    """

    id: str
    patient: str
    source: str
    split: str
    voxels: list[int]
    volume: str = ""

    @property
    def foreground(self) -> int:
        """Voxels of any label."""
        return sum(self.voxels[1:])


def write_index(folder: Path, recipe: Recipe, data: Path, cases: list[Case]) -> None:
    """Write what was prepared, how and from where."""
    index = {
        "recipe": recipe.name,
        "spatial_dims": recipe.spatial_dims,
        "labels": recipe.labels,
        "channels": recipe.channels,
        "preprocess": recipe.preprocess.model_dump(),
        "split": recipe.split.model_dump(),
        "seed": recipe.seed,
        "data": str(data.resolve()),
        "cases": [asdict(case) for case in cases],
    }
    write_json(PreparedFolder(folder).index, index)


def load_index(folder: Path, recipe: Recipe) -> list[Case]:
    """The cases of a prepared folder, divided as `recipe` wants.

    Another `split` or `seed` than the prepared one, for example the next fold, needs no new preparation.

    Raises:
        DataError: the folder was not prepared, or for another grid or other labels.
    """
    file, index = PreparedFolder(folder).index, _read_index(folder)
    try:
        same_grid = Preprocess(**index["preprocess"]) == recipe.preprocess
        same_split = Split(**index["split"]) == recipe.split and index["seed"] == recipe.seed
        cases = [Case(**case) for case in index["cases"]]
        labels, dims = {int(value): name for value, name in index["labels"].items()}, index["spatial_dims"]
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        raise DataError(f"{file} is damaged or of another version; run prepare again.") from error
    if not same_grid:
        raise DataError(f"{folder} was prepared with another grid or window; run prepare again.")
    if labels != recipe.labels or dims != recipe.spatial_dims:
        raise DataError(f"{folder} was prepared for {dims}D and the labels {labels}; run prepare again.")
    if index.get("channels", []) != recipe.channels:
        raise DataError(f"{folder} was prepared for other channels ({_named(index)}); run prepare again.")
    if same_split:
        return cases
    split = divide(patients_of(cases, recipe), recipe.split, recipe.seed, Path(index["data"])).of
    return [replace(case, split=split[case.patient]) for case in cases]


def _named(index: dict[str, Any]) -> str:
    return ", ".join(map(str, index.get("channels", []))) or "one image"


def patients_of(cases: Sequence[Case | Entry], recipe: Recipe) -> dict[str, list[str]]:
    """Cohort -> its patients."""
    cohorts = {source.name: source.cohort or source.name for source in recipe.sources}
    found: dict[str, list[str]] = {}
    for case in cases:
        found.setdefault(cohorts.get(case.source, case.source), []).append(case.patient)
    return found


def _read_index(folder: Path) -> dict[str, Any]:
    file = PreparedFolder(folder).index
    try:
        index = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{folder} holds no prepared data; run `python -m Training prepare` first.") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read; run prepare again.") from error
    return index if isinstance(index, dict) else {}


def prepared_cases(folder: Path, split: str, recipe: Recipe | None = None) -> Iterator[tuple[Entry, RawCase]]:
    """The raw cases behind a prepared folder: what the engine gets when it is evaluated.

    Args:
        folder: the prepared folder; the data still lies where it was prepared from.
        split: "train", "val", "test" or "all".
        recipe: whose split counts, for example a run's of another fold; None: the prepared one.

    Yields:
        One case at a time. A picture that does not tell the size of its pixels is on the grid that the model
        expects, as it was in training.

    Raises:
        DataError: no such split, or the data has gone.
    """
    recipe = recipe or PreparedFolder(folder).recipe()
    for entry in split_entries(folder, split, recipe):
        yield entry, raw_case(entry, recipe)


def raw_case(entry: Entry, recipe: Recipe) -> RawCase:
    """A case as its source has it; a picture that does not tell the size of its pixels is on the model's grid."""
    raw = entry.load()
    return replace(raw, volume=_sized(raw, recipe))


def count_prepared(folder: Path, split: str, recipe: Recipe) -> int:
    """How many cases `prepared_cases` gives.

    Raises:
        DataError: no such split, or the data has gone.
    """
    return sum(1 for _ in split_entries(folder, split, recipe))


def split_entries(folder: Path, split: str, recipe: Recipe) -> Iterator[Entry]:
    """The cases of a split, not yet read.

    Raises:
        DataError: no such split, or the data has gone.
    """
    if split not in ("train", "val", "test", "all"):
        raise DataError(f"There is no split {split!r}; name train, val, test or all.")
    cases = load_index(folder, recipe)
    wanted = {case.patient for case in cases if split in (case.split, "all")}
    if not wanted:
        raise DataError(f"The split {split} of {folder} is empty.")
    data = Path(_read_index(folder)["data"])
    for source in recipe.sources:
        yield from (entry for entry in survey(source, data).entries if entry.patient in wanted)


def _sized(raw: RawCase, recipe: Recipe) -> Volume:
    if raw.spacing_told:
        return raw.volume
    pixdim = np.array(recipe.inference.pixdim or recipe.preprocess.pixdim)
    factors = np.where(pixdim > 0, pixdim, 1.0)
    # The picture's axes are x, y, z, whatever order the model has them in.
    axcodes = recipe.preprocess.axcodes
    order = [next(n for n, code in enumerate(axcodes) if code in pair) for pair in ("LR", "PA", "IS")]
    affine = raw.volume.affine @ np.diag([*factors[order], 1.0])
    return replace(raw.volume, affine=affine)
