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
from Training.data.readers.prepared import patients_of, write_index
from Training.data.report import Report, write_report
from Training.data.split import divide
from Training.errors import DataError
from Training.recipe import Recipe
from Training.recipe.sources import FilesSource
from Training.recipe.yaml_text import keep_recipe

Progress = Callable[[int, int, str], None]
"""Called with cases done, cases in all, and the next one's name."""


class BadDataError(DataError):
    """The data has errors; `report` holds all findings."""

    def __init__(self, report: Report) -> None:
        many = f"{len(report.errors)} errors" if len(report.errors) > 1 else "an error"
        super().__init__(f"The data of {report.recipe} has {many}: {listed_findings(report.errors)}")
        self.report = report


def listed_findings(findings: list[Finding], most: int = 5) -> str:
    """The first findings on one line, each with its file."""
    texts = []
    for finding in findings[:most]:
        where = finding.file or finding.case
        texts.append(finding.message if not where or where in finding.message else f"{where}: {finding.message}")
    more = f" And {len(findings) - most} more." if len(findings) > most else ""
    return " ".join(texts) + more


def prepare(recipe: Recipe, data: Path, out: Path, progress: Progress | None = None) -> list[Case]:
    """Check and convert every case of `recipe` below `data` and write the prepared folder `out`.

    Args:
        recipe: what to read and onto which grid.
        data: the folder that the sources' paths are relative to.
        out: prepared folder; an earlier one is replaced, but only by a complete one. Where that fails or is
            interrupted, the cases converted so far wait beside it (`partial_folder`) for the next try.
        progress: called before each case.

    Raises:
        BadDataError: what is wrong with the data, all of it.
        DataError: `out` cannot be written.
    """
    return prepare_and_report(recipe, data, out, progress).cases


def prepare_and_report(recipe: Recipe, data: Path, out: Path, progress: Progress | None = None) -> Report:
    """As `prepare`, with the report that is also written."""
    with _new_folder(out) as folder:
        partial = Partial(folder, recipe)
        try:
            report = _run(recipe, data, partial, progress)
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
    return _run(recipe, data, None, progress)


def _run(recipe: Recipe, data: Path, partial: Partial | None, progress: Progress | None) -> Report:
    """One pass over all cases, collecting what is wrong instead of stopping at it."""
    listings, findings = _list_all(recipe, data)
    total = sum(len(listing.entries) for listing in listings.values())
    facts: list[Facts] = []
    cases: list[Case] = []
    done = 0
    for source in recipe.sources:
        shown = isinstance(source, FilesSource) and source.window is not None
        for entry in listings[source.name].entries:
            if progress:
                progress(done, total, entry.id)
            done += 1
            found, mine, new = _one(entry, recipe, data, shown, partial)
            findings += found
            if mine is not None:
                facts.append(mine)
                cases += new
    if progress:
        progress(total, total, "")
    findings += check_set(facts, recipe) if facts else []
    part = _divide(listings, recipe, data, findings)
    if part:
        findings += check_split(part, facts)
        cases = [replace(case, split=part[case.patient]) for case in cases]
        if len(facts) == total:  # a case that could not be read may have had the label
            findings += check_labels(part, facts, recipe)
    excluded = {name: listing.excluded for name, listing in listings.items() if listing.excluded}
    return Report(
        recipe=recipe.name,
        data=str(data),
        labels=dict(recipe.labels),
        findings=findings,
        facts=facts,
        cases=cases,
        excluded=excluded,
    )


def _one(
    entry: Entry, recipe: Recipe, data: Path, shown_window: bool, partial: Partial | None
) -> tuple[list[Finding], Facts | None, list[Case]]:
    """Check one case, and convert it where there is a place for it; no facts where it has an error."""
    kept = partial.get(entry) if partial is not None else None
    if kept is not None:
        return kept
    try:
        raw = entry.load()
    except DataError as error:
        return [finding_of(error, entry.id, data)], None, []
    file = relative(entry.image, data)
    found = check_image(raw, entry, file, recipe, shown_window)
    if any(finding.level == "error" for finding in found):
        return found, None, []
    if partial is None:
        grid, voxels = outline(raw, recipe)
        new = _cases(raw, entry, recipe, grid, voxels)
    else:
        new, grid = _convert(raw, entry, recipe, partial.folder)
    facts = facts_of(raw, entry, file, len(recipe.labels) + 1, grid)
    if partial is not None:
        partial.put(entry, (found, facts, new))
    return found, facts, new


def _list_all(recipe: Recipe, data: Path) -> tuple[dict[str, Listing], list[Finding]]:
    listings: dict[str, Listing] = {}
    findings: list[Finding] = []
    for source in recipe.sources:
        try:
            found = survey(source, data)
        except DataError as error:
            found = Listing([], problems=[error])
        except OSError as error:
            found = Listing([], problems=[DataError(f"The source {source.name} cannot be listed: {error}.", data)])
        listings[source.name] = found
        findings += [finding_of(error, source.name, data) for error in found.problems]
        findings += [finding_of(error, source.name, data, "warning") for error in found.remarks]
    return listings, findings


def _divide(listings: dict[str, Listing], recipe: Recipe, data: Path, findings: list[Finding]) -> dict[str, str]:
    """Patient -> part, over all that are there whether they can be read or not; empty where that fails."""
    patients: dict[str, list[str]] = {}
    for source in recipe.sources:
        patients.setdefault(source.cohort or source.name, []).extend(e.person for e in listings[source.name].entries)
    try:
        return divide(patients, recipe.split, recipe.seed, data).of
    except DataError as error:
        findings.append(finding_of(error, "", data))
        return {}


def _cases(raw: RawCase, entry: Entry, recipe: Recipe, grid: tuple[int, ...], voxels: list[list[int]]) -> list[Case]:
    """The cases that an image becomes: one, or one a slice for 2D recipes.

    Args:
        raw, entry, recipe: the image and what it is for.
        grid: its size on the model's grid.
        voxels: of each case, how many have each label value.
    """
    base = entry.id
    # The slice of a picture needs no number.
    whole = recipe.spatial_dims == 3 or (raw.volume.array.shape[2] == 1 and grid[2] == 1)
    names = [base] if whole else [f"{base}_{k:03d}" for k in range(grid[2])]
    volume = "" if whole else base
    pairs = zip(names, voxels, strict=True)
    return [Case(name, entry.person, entry.source, "train", found, volume) for name, found in pairs]


def _convert(raw: RawCase, entry: Entry, recipe: Recipe, out: PreparedFolder) -> tuple[list[Case], tuple[int, ...]]:
    """Write one case, or one a slice for 2D recipes; the size on the model's grid."""
    image, label = convert(raw, recipe)
    flat = recipe.spatial_dims == 2
    parts: list[tuple[Any, ...]] = [(..., k) for k in range(image.shape[2])] if flat else [(...,)]
    voxels = [np.bincount(label[part].ravel(), minlength=len(recipe.labels) + 1).tolist() for part in parts]
    cases = _cases(raw, entry, recipe, image.shape, voxels)
    for case, part in zip(cases, parts, strict=True):
        np.save(out.image(case.id), np.ascontiguousarray(image[part]))
        np.save(out.label(case.id), np.ascontiguousarray(label[part]))
    return cases, image.shape


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
