"""From raw data to the cases that training reads: checked, on the model's grid, split by patient.

For each case a prepared folder (see `PreparedFolder`) holds image and label (uint8): a slice [x, y] for 2D recipes, a
volume [x, y, z] for 3D ones. The image is int16 HU before the window, or float32 already normalized where the recipe
normalizes otherwise.
"""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from Training.data.checks import check_image, check_labels, check_set, check_split
from Training.data.findings import Facts, Finding, facts_of, finding_of, relative
from Training.data.folder import PreparedFolder
from Training.data.partial import Partial, partial_folder
from Training.data.preprocess import convert, outline
from Training.data.readers import Case, Entry, Listing, RawCase, survey
from Training.data.readers.case import counts
from Training.data.readers.prepared import patients_of, write_index
from Training.data.report import Report, write_report
from Training.data.split import divide
from Training.errors import DataError
from Training.recipe import Recipe
from Training.recipe.sources import FilesSource, Source
from Training.recipe.yaml_text import keep_recipe

Progress = Callable[[int, int, str], None]
"""Called with cases done, cases in all, and the next one's name."""
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


def prepare(recipe: Recipe, data: Path, out: Path, progress: Progress | None = None) -> Report:
    """Check and convert every case of `recipe` below `data` and write the prepared folder `out`.

    Args:
        recipe: what to read and onto which grid.
        data: the folder that the sources' paths are relative to.
        out: prepared folder; an earlier one is replaced, but only by a complete one. Where that fails or is
            interrupted, the cases converted so far wait beside it (`partial_folder`) for the next try.
        progress: called before each case.

    Returns:
        The report that is also written.

    Raises:
        BadDataError: what is wrong with the data, all of it.
        DataError: `out` cannot be written.
    """
    with _new_folder(out) as folder:
        partial = Partial(folder, recipe)
        try:
            report = _Pass(recipe, data, partial).run(progress)
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


def check(recipe: Recipe, data: Path, progress: Progress | None = None) -> Report:
    """Everything that `prepare` would find; nothing is resampled or written."""
    return _Pass(recipe, data, None).run(progress)


class _Pass:
    """One pass over all cases, collecting what is wrong instead of stopping at it.

    Args:
        recipe, data: as for `prepare`.
        partial: where the cases are converted to; None to look only.
    """

    def __init__(self, recipe: Recipe, data: Path, partial: Partial | None) -> None:
        self.recipe, self.data, self.partial = recipe, data, partial
        self.report = Report(recipe=recipe.name, data=str(data), labels=recipe.labels)

    def run(self, progress: Progress | None) -> Report:
        """Look at everything."""
        tell = progress or (lambda _done, _total, _name: None)
        pairs = [(source, entry) for source in self.recipe.sources for entry in self._list(source)]
        for done, (source, entry) in enumerate(pairs):
            tell(done, len(pairs), entry.id)
            kept = self.partial.get(entry) if self.partial is not None else None
            found, facts, cases = kept or self._take(source, entry)
            self.report.findings += found
            self.report.facts += [facts] if facts is not None else []
            self.report.cases += cases
        tell(len(pairs), len(pairs), "")
        self._look_at_all(pairs)
        return self.report

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

    def _take(self, source: Source, entry: Entry) -> tuple[list[Finding], Facts | None, list[Case]]:
        """Check one case, and convert it where there is a place for it; no facts where it has an error."""
        try:
            raw = entry.load()
        except DataError as error:
            return [finding_of(error, entry.id, self.data)], None, []
        file = relative(entry.image, self.data)
        shown_window = isinstance(source, FilesSource) and source.window is not None
        found = check_image(raw, entry, file, self.recipe, shown_window)
        if any(finding.level == "error" for finding in found):
            return found, None, []
        if self.partial is None:
            grid, voxels = outline(raw, self.recipe)
            cases = self._cases(raw, entry, grid, voxels)
        else:
            cases, grid = self._convert(raw, entry, self.partial.folder)
        taken = found, facts_of(raw, entry, file, len(self.recipe.labels) + 1, grid), cases
        if self.partial is not None:
            self.partial.put(entry, taken)
        return taken

    def _cases(self, raw: RawCase, entry: Entry, grid: tuple[int, ...], voxels: list[list[int]]) -> list[Case]:
        """The cases that an image becomes: one, or one a slice for 2D recipes.

        Args:
            raw, entry: the image.
            grid: its size on the model's grid.
            voxels: of each case, how many have each label value.
        """
        # The slice of a picture needs no number.
        whole = self.recipe.spatial_dims == 3 or (raw.volume.array.shape[2] == 1 and grid[2] == 1)
        names = [entry.id] if whole else [f"{entry.id}_{k:03d}" for k in range(grid[2])]
        volume = "" if whole else entry.id
        return [
            Case(id=name, patient=entry.patient, source=entry.source, split="train", voxels=found, volume=volume)
            for name, found in zip(names, voxels, strict=True)
        ]

    def _convert(self, raw: RawCase, entry: Entry, out: PreparedFolder) -> tuple[list[Case], tuple[int, ...]]:
        """Write one case, or one a slice for 2D recipes; the size on the model's grid."""
        image, label = convert(raw, self.recipe)
        flat = self.recipe.spatial_dims == 2
        parts: list[tuple[Any, ...]] = [(..., k) for k in range(image.shape[2])] if flat else [(...,)]
        classes = len(self.recipe.labels) + 1
        voxels = [counts(label[part], classes) for part in parts]
        cases = self._cases(raw, entry, image.shape, voxels)
        for case, part in zip(cases, parts, strict=True):
            np.save(out.image(case.id), np.ascontiguousarray(image[part]))
            np.save(out.label(case.id), np.ascontiguousarray(label[part]))
        return cases, image.shape

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
