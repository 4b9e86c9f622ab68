"""From raw data to the cases that training reads: checked, on the model's grid, split by patient.

For each case a prepared folder (see `PreparedFolder`) holds image and label (uint8): a slice [x, y] for 2D recipes, a
volume [x, y, z] for 3D ones; of several channels the image is [channel, ...]. The image is int16 HU before the window,
or float32 already normalized where the recipe normalizes otherwise.
"""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from Training.data.checks import check_labels, check_set, check_split
from Training.data.conversion import Conversion, Taken
from Training.data.estimate import check_room, estimate
from Training.data.findings import finding_of
from Training.data.folder import PreparedFolder
from Training.data.partial import Partial, partial_folder
from Training.data.readers import Entry, Listing, survey
from Training.data.readers.prepared import patients_of, write_index
from Training.data.report import Report, write_report
from Training.data.split import divide
from Training.data.workers import convert_all, sensible_workers
from Training.errors import DataError
from Training.recipe import Recipe
from Training.recipe.sources import Source
from Training.recipe.yaml_text import keep_recipe

Progress = Callable[[int, int, str], None]
"""Called with cases done, cases in all, and the next one's name."""
Tell = Callable[[str], None]
"""Called with a sentence before anything is converted."""
# How many errors one sentence tells.
_TOLD = 5


class BadDataError(DataError):
    """The data has errors; `report` holds all findings."""

    def __init__(self, report: Report) -> None:
        errors = [finding.sentence for finding in report.errors]
        many = f"{len(errors)} errors" if len(errors) > 1 else "an error"
        more = f" And {len(errors) - _TOLD} more." if len(errors) > _TOLD else ""
        super().__init__(f"The data of {report.recipe} has {many}: {' '.join(errors[:_TOLD])}{more}")
        self.report = report


def prepare(
    recipe: Recipe,
    data: Path,
    out: Path,
    progress: Progress | None = None,
    *,
    workers: int | None = 1,
    tell: Tell | None = None,
) -> Report:
    """Check and convert every case of `recipe` below `data` and write the prepared folder `out`.

    Args:
        recipe: what to read and onto which grid.
        data: the folder that the sources' paths are relative to.
        out: prepared folder; an earlier one is replaced, but only by a complete one. Where that fails or is
            interrupted, the cases converted so far wait beside it (`partial_folder`) for the next try.
        progress: called before each case, with several workers as each one is done.
        workers: processes that convert; None for as many as are sensible here. What is written is the same.
        tell: told how much disk it will take.

    Returns:
        The report that is also written.

    Raises:
        BadDataError: what is wrong with the data, all of it.
        DataError: `out` cannot be written, its disk is too small, or a worker was killed.
    """
    with _new_folder(out) as folder:
        partial = Partial(folder, recipe)
        try:
            report = _Pass(recipe, data, partial).run(progress, workers, tell)
            if report.errors:
                raise BadDataError(report)
        finally:
            if not partial:
                shutil.rmtree(folder)
        partial.finish(report.cases)
        division = divide(patients_of(report.cases, recipe), recipe.split, recipe.seed, data)
        division.write(partial.folder.split, recipe.seed)
        write_index(folder, recipe, data, report.cases)
        write_report(partial.folder, report)
        keep_recipe(partial.folder.recipe_file, recipe)
    return report


def check(recipe: Recipe, data: Path, progress: Progress | None = None, *, workers: int | None = 1) -> Report:
    """Everything that `prepare` would find; nothing is resampled or written."""
    return _Pass(recipe, data, None).run(progress, workers, None)


class _Pass:
    """One pass over all cases, collecting what is wrong instead of stopping at it.

    Args:
        recipe, data: as for `prepare`.
        partial: where the cases are converted to; None to look only.
    """

    def __init__(self, recipe: Recipe, data: Path, partial: Partial | None) -> None:
        self.recipe, self.data, self.partial = recipe, data, partial
        self.report = Report(recipe=recipe.name, data=str(data), labels=recipe.labels)

    def run(self, progress: Progress | None, workers: int | None, tell: Tell | None) -> Report:
        """Look at everything."""
        pairs = [(source, entry) for source in self.recipe.sources for entry in self._list(source)]
        taken = self._kept(pairs)
        jobs = [(number, *pair) for number, pair in enumerate(pairs) if number not in taken]
        workers = self._planned([entry for _, _, entry in jobs], workers, tell)
        show = progress or (lambda _done, _total, _name: None)
        conversion = Conversion(self.recipe, self.data, None if self.partial is None else self.partial.folder.path)
        waiting = iter([entry.id for _, _, entry in jobs])
        show(len(taken), len(pairs), next(waiting, ""))
        for number, one in convert_all(conversion, jobs, workers):
            taken[number] = one
            show(len(taken), len(pairs), next(waiting, ""))
        for number in range(len(pairs)):  # in the order of the recipe, whoever was ready first
            found, facts, cases = taken[number]
            self.report.findings += found
            self.report.facts += [facts] if facts is not None else []
            self.report.cases += cases
        self._look_at_all(pairs)
        return self.report

    def _kept(self, pairs: list[tuple[Source, Entry]]) -> dict[int, Taken]:
        """What an earlier try left of the cases, by their number."""
        if self.partial is None:
            return {}
        kept = {number: self.partial.get(entry) for number, (_, entry) in enumerate(pairs)}
        return {number: one for number, one in kept.items() if one is not None}

    def _planned(self, entries: list[Entry], workers: int | None, tell: Tell | None) -> int:
        """How many processes convert these cases, after a look at what they take; tells it, or refuses."""
        found = estimate(entries, self.recipe)
        if found is not None and self.partial is not None:
            sentence = check_room(found, self.recipe, self.partial.folder.path)
            if tell is not None:
                tell(sentence)
        return workers if workers is not None else sensible_workers(found)

    def _list(self, source: Source) -> list[Entry]:
        """The cases of a source; what is wrong with it is found."""
        try:
            found = survey(source, self.data)
        except DataError as error:
            found = Listing(problems=[error])
        except OSError as error:
            found = Listing(problems=[DataError(f"The source {source.name} cannot be listed: {error}.", self.data)])
        self.report.findings += [finding_of(error, source.name, self.data) for error in found.problems]
        self.report.findings += [finding_of(error, source.name, self.data, "warning") for error in found.remarks]
        if found.excluded:
            self.report.excluded[source.name] = found.excluded
        return found.entries

    def _look_at_all(self, pairs: list[tuple[Source, Entry]]) -> None:
        """What shows only when all cases are seen together; decides who trains."""
        self.report.findings += check_set(self.report.facts, self.recipe) if self.report.facts else []
        part = self._divide(pairs)
        if part:
            self.report.findings += check_split(part, self.report.facts)
            self.report.cases = [replace(case, split=part[case.patient]) for case in self.report.cases]
            if len(self.report.facts) == len(pairs):  # a case that could not be read may have had the label
                self.report.findings += check_labels(part, self.report.facts, self.recipe)

    def _divide(self, pairs: list[tuple[Source, Entry]]) -> dict[str, str]:
        """Patient -> part, over all that are there whether they can be read or not; empty where that fails."""
        patients = patients_of([entry for _, entry in pairs], self.recipe)
        try:
            return divide(patients, self.recipe.split, self.recipe.seed, self.data).of
        except DataError as error:
            self.report.findings.append(finding_of(error, "", self.data))
            return {}


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out`, perhaps with what an earlier try left, that takes its place when all went well."""
    target, new = out.resolve(), partial_folder(out)
    try:
        foreign = target.exists() and not PreparedFolder(target).complete
        if foreign and (not target.is_dir() or any(target.iterdir())):
            raise DataError(f"{out} is no prepared folder and not empty; choose another one.", out)
        new.mkdir(parents=True, exist_ok=True)
        yield new
        # For a moment the old one lies in a temporary folder, which vanishes however this ends.
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as beside:
            if target.exists():
                target.rename(Path(beside) / "old")
            new.rename(target)
    except OSError as error:
        why = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or str(error)
        raise DataError(f"{out} cannot be written: {why}; choose another folder or make room.", out) from error
