"""Corrected cases and those that are shown again, in one prepared folder, some of each held back."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from LiverSegLib.errors import OutputError
from Training.corrections.folder import CORRECTED
from Training.data.folder import PreparedFolder
from Training.data.prepare import Progress, prepare
from Training.data.readers import Case, load_index
from Training.data.readers.msd import msd_name, read_msd
from Training.data.readers.prepared import write_index
from Training.errors import DataError
from Training.files import new_folder
from Training.recipe import Recipe
from Training.recipe.options import Split
from Training.recipe.yaml_text import keep_recipe

EARLIER = "earlier"
_HELD_BACK = 0.25
_MOST_EARLIER = 12
"""Patients of the older data that are looked at; more would make each look long."""


@dataclass(frozen=True)
class Gathered:
    """A prepared folder for a run of fine-tuning.

    Args:
        folder: the prepared folder.
        groups: source -> "corrected" or "earlier".
    """

    folder: Path
    groups: dict[str, str]


def gather(recipe: Recipe, cases: Path, replay: Path | None, run: Path, progress: Progress | None = None) -> Gathered:
    """Prepare the corrected cases, put the older ones beside them without copying, and hold some of both back.

    Of the corrected cases a quarter is held back, at least one; of the older ones those that validated, at most twelve
    patients.

    Args:
        recipe: of the fine-tuning, with the sources of both.
        cases: the folder of corrected cases.
        replay: prepared folder of older data.
        run: gets `corrected` and `prepared`; what is there of the same recipe is taken as it is.
        progress: as in `prepare`.

    Raises:
        DataError: the cases are wrong, or there is only one.
    """
    new, old = PreparedFolder(run / CORRECTED), [] if replay is None else _earlier(replay)
    of_old = {case.source for case in old}
    mine = [source for source in recipe.sources if source.cohort == CORRECTED and source.name not in of_old]
    groups = {source.name: CORRECTED if source in mine else EARLIER for source in recipe.sources}
    alone = recipe.model_copy(update={"sources": mine, "split": _held_back(cases, recipe.seed)})
    if not (new.complete and new.recipe() == alone):
        prepare(alone, cases.resolve().parent, new.path, progress)
    fresh = load_index(new.path, alone)
    people = {case.patient for case in fresh}
    old = [case for case in old if case.patient not in people]  # corrected once more, or added to since
    everything = [*fresh, *old]
    merged = PreparedFolder(run / "prepared")
    new_folder(merged.cases)
    _link(merged, new, fresh)
    if replay is not None:
        _link(merged, PreparedFolder(replay), old)
    write_index(merged.path, recipe, cases.resolve().parent, everything)
    keep_recipe(merged.recipe_file, recipe)
    return Gathered(merged.path, groups)


def _held_back(cases: Path, seed: int) -> Split:
    """The split in which a quarter of the corrected cases is held back.

    Raises:
        DataError: there is only one.
    """
    names = sorted(f"{CORRECTED}_{msd_name(image)}" for image, _ in read_msd(cases).pairs)
    if len(names) < 2:
        raise DataError(
            f"{cases} holds one case, and none can be held back to see whether the model gets better; give two at "
            "least."
        )
    count = max(1, round(_HELD_BACK * len(names)))
    order = np.random.default_rng([seed, len(names)]).permutation(names)
    return Split(validate_on=sorted(str(name) for name in order[:count]))


def _earlier(replay: Path) -> list[Case]:
    """The older cases that train, and those of some patients who validate."""
    found = load_index(replay, PreparedFolder(replay).recipe())
    validating = list(dict.fromkeys(case.patient for case in found if case.split == "val"))
    at = np.unique(np.linspace(0, len(validating) - 1, min(_MOST_EARLIER, len(validating))).round().astype(int))
    watched = {validating[n] for n in at}
    return [case for case in found if case.split == "train" or case.patient in watched]


def _link(merged: PreparedFolder, source: PreparedFolder, cases: Sequence[Case]) -> None:
    """Let the merged folder hold the files of these cases: links where the system has them, else copies."""
    pairs = [(source.image(case.id), merged.image(case.id)) for case in cases]
    pairs += [(source.label(case.id), merged.label(case.id)) for case in cases]
    try:
        for file, link in pairs:
            link.unlink(missing_ok=True)
            try:
                link.symlink_to(file.resolve(strict=True))
            except (NotImplementedError, PermissionError):
                shutil.copyfile(file, link)
    except OSError as error:
        raise OutputError(f"{merged} cannot be filled from {source} ({error.strerror or error}).") from error
