"""Every fold of a recipe: trained, packed, scored on its own validation cases by the engine, and put together.

A patient validates in one fold alone, so that the summary has each once, scored by a model that has not seen them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from Training.data.readers import load_index
from Training.errors import DataError, RunError, listed
from Training.evaluation.scores import SCORES, CaseScore, Scores, read_scores, summarize, write_scores
from Training.fit.run_folder import RunFolder
from Training.recipe import Recipe, load_recipe

SUMMARY = "cross_validation"
"""The folder beside the folds' with the scores of all of them together."""


@dataclass(frozen=True)
class Fold:
    """One fold and its place.

    Args:
        number: counted from 0.
        recipe: with this fold's split.
        place: the folder of all that is made of it.
    """

    number: int
    recipe: Recipe
    place: Path

    @property
    def run(self) -> RunFolder:
        """Its run."""
        return RunFolder(self.place)

    @property
    def package(self) -> Path:
        """The package of its best checkpoint."""
        return self.place / "package"

    @property
    def scores(self) -> Path:
        """The evaluation of its validation cases."""
        return self.place / "scores"

    @property
    def trained(self) -> bool:
        """Whether its run has all epochs; of one that ended early `train` itself knows."""
        rows = self.run.rows()
        return bool(rows) and int(rows[-1]["epoch"]) + 1 >= self.recipe.optimization.max_epochs

    @property
    def scored(self) -> bool:
        """Whether its evaluation is there, and of the package that is there."""
        marks = self.scores / SCORES, self.package / "configs" / "metadata.json", self.run.best
        if not all(mark.is_file() for mark in marks):
            return False
        times = [mark.stat().st_mtime for mark in marks]
        return times == sorted(times, reverse=True)


def folds_of(recipe: str, changes: Sequence[str], data: Path, runs: Path, count: int | None) -> list[Fold]:
    """The folds of a recipe on a prepared folder.

    Args:
        recipe: name or file.
        changes: "key=value" for all folds alike.
        data: prepared folder.
        runs: folder of all folds.
        count: how many; None for the recipe's `split.folds`, or else five.

    Raises:
        RecipeError: the recipe is wrong.
        DataError: the folder was not prepared for it, or has fewer patients than folds.
        RunError: a fold's folder holds a run of another recipe.
    """
    first = load_recipe(recipe, list(changes))
    count = count or first.split.folds or 5
    found = []
    for number in range(count):
        split = split_of(first, count, number)
        fold = Fold(number, load_recipe(recipe, [*changes, split]), runs / f"fold_{number}")
        if fold.run.recipe_file.is_file() and fold.run.recipe() != fold.recipe:
            raise RunError(f"{fold.run} holds a run of another recipe; name another folder with -o.")
        found.append(fold)
    _check_patients(found, data)
    return found


def split_of(recipe: Recipe, count: int, number: int) -> str:
    """The `--set` of a fold; patients whom the recipe keeps for a test stay out of all folds."""
    return f"split={{folds: {count}, fold: {number}, test_fraction: {recipe.split.test_fraction}}}"


def _check_patients(folds: Sequence[Fold], data: Path) -> None:
    """Every patient who is not kept for a test validates once.

    Raises:
        DataError: one does not, or more than once.
    """
    held: Counter[str] = Counter()
    everybody: set[str] = set()
    for fold in folds:
        cases = load_index(data, fold.recipe)
        everybody |= {case.patient for case in cases if case.split != "test"}
        held.update({case.patient for case in cases if case.split == "val"})
    wrong = sorted(patient for patient in everybody if held[patient] != 1)
    if wrong:
        raise DataError(f"{data}: {listed(wrong)} would not validate exactly once; leave split to --folds.", data)


def run_folds(
    folds: Sequence[Fold],
    train: Callable[[Fold, bool], object],
    score: Callable[[Fold], Scores],
    start: Callable[[Fold], object] = lambda _fold: None,
) -> list[Scores]:
    """Do what is not done, fold after fold.

    Args:
        folds: as `folds_of` gives them.
        train: trains a fold; the flag tells to go on from its last checkpoint.
        score: packs and evaluates a trained fold.
        start: called before a fold that has anything left to do.

    Returns:
        The scores of each fold.
    """
    found = []
    for fold in folds:
        if not (fold.trained and fold.scored):
            start(fold)
        if not fold.trained:
            train(fold, fold.run.last.is_file())
        found.append(read_scores(fold.scores) if fold.scored else score(fold))
    return found


def together(scores: Sequence[Scores], command: str) -> Scores:
    """The scores of all folds as one evaluation; confidence intervals are by patient.

    Raises:
        DataError: the folds score different labels, or a case is in two of them.
    """
    first = scores[0]
    cases: list[CaseScore] = [case for one in scores for case in one.cases]
    twice = [name for name, count in Counter(case.case for case in cases).items() if count > 1]
    if twice or any(one.labels != first.labels or one.tolerance_mm != first.tolerance_mm for one in scores):
        raise DataError(
            f"The folds cannot be put together{f' ({listed(twice)} is in two)' if twice else ''}: evaluate them alike, "
            "in an empty folder."
        )
    title = f"Cross-validation, {len(scores)} folds"
    model = f"{first.model}, one model a fold"
    return summarize(cases, first.labels, first.tolerance_mm, title, command, model)


def write_summary(runs: Path, folds: Sequence[Fold], scores: Sequence[Scores], command: str) -> tuple[Path, Scores]:
    """Write the scores of all patients; the folder and the scores."""
    whole, folder = together(scores, command), runs / SUMMARY
    folder.mkdir(parents=True, exist_ok=True)
    of_case = {case.case: fold for fold, one in zip(folds, scores, strict=True) for case in one.cases}
    moved = [_beside(case, of_case[case.case]) for case in whole.cases]
    whole = whole.model_copy(update={"cases": moved})
    write_scores(folder, whole)
    return folder, whole


def _beside(case: CaseScore, fold: Fold) -> CaseScore:
    """The case with its picture named from the summary's folder."""
    if case.picture is None:
        return case
    return case.model_copy(update={"picture": f"../{fold.place.name}/{fold.scores.name}/{case.picture}"})
