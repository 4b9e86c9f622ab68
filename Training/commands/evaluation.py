"""`evaluate` and `compare`: the scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from Training.commands.shared import Changes, bar, console

if TYPE_CHECKING:
    from Training.evaluation.cases import LabeledVolume, Unreadable


def evaluate(
    cases: Annotated[Path, typer.Argument(help="Prepared folder, MSD folder, or YAML list of cases.")],
    model: Annotated[str | None, typer.Option(help="Package or built-in name.")] = None,
    data: Annotated[Path, typer.Option(help="Folder that a YAML list's paths are relative to.")] = Path(),
    split: Annotated[str, typer.Option(help="Of a prepared folder: val, test, train or all.")] = "val",
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Folder for scores, report and pictures.")] = None,
    alter: Annotated[bool, typer.Option(help="Also every alteration of the tail test.")] = False,
    stress: Annotated[bool, typer.Option(help="Alterations that should break a model, to calibrate with.")] = False,
    mirror: Annotated[
        bool, typer.Option(help="Also show the network mirrored images, as its training did, and take the mean.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    tolerance: Annotated[float, typer.Option(min=0, help="Of the normalized surface Dice, in mm.")] = 2.0,
    pictures_below: Annotated[float, typer.Option(help="Pictures only of cases with a Dice up to this.")] = 1.0,
    set_: Changes = None,
) -> None:
    """Segment labeled images with the engine that users run, and score them."""
    from LiverSegLib.engine.segmenter import Segmenter
    from LiverSegLib.models.mirroring import mirrored_model
    from Training.commands.score_screen import show_scores
    from Training.evaluation.cases import count_cases, load_cases
    from Training.evaluation.evaluate import evaluate as run
    from Training.reports.evaluation_report import REPORT, write_report

    segmenter = Segmenter(mirrored_model(model) if mirror else model, device)
    images, total = len(segmenter.package.inputs), count_cases(cases, split, set_)
    listed: Iterable[LabeledVolume | Unreadable] = load_cases(cases, data, split, set_, images=images)
    if alter or stress:
        listed, total = _altered(listed, total, alter=alter, stress=stress)
    altered = " --mirror" * mirror + " --alter" * alter + " --stress" * stress
    title, command = _described(cases, split, model, set_ or [], altered)
    title += ", mirrored" * mirror + ", altered" * (alter or stress)
    scores = run(
        _tracked(listed, total),
        segmenter,
        out,
        title=title,
        command=command,
        pictures_below=pictures_below,
        tolerance_mm=tolerance,
        report=write_report,
    )
    show_scores(console, scores)
    if out:
        console.print(f"Report: {escape(str(out / REPORT))}", soft_wrap=True)
    failed = [case for case in scores.cases if case.error]
    for case in failed:
        console.print(f"[red]Failed:[/red] {escape(f'{case.case}: {case.error}')}", soft_wrap=True, highlight=False)
    if failed:
        raise typer.Exit(1)


def _altered(
    cases: Iterable[LabeledVolume | Unreadable], total: int | None, *, alter: bool, stress: bool
) -> tuple[Iterable[LabeledVolume | Unreadable], int | None]:
    """Every alteration of the cases, and how many that are."""
    from Training.evaluation.robustness import ALTERATIONS, STRESS, altered_cases

    changes = (ALTERATIONS if alter else {}) | (STRESS if stress else {})
    return altered_cases(cases, changes), None if total is None else total * len(changes)


def _described(cases: Path, split: str, model: str | None, changes: list[str], altered: str) -> tuple[str, str]:
    """What the scores are called, and the command that gives them again."""
    from Training.data.folder import PreparedFolder

    prepared = PreparedFolder(cases).complete
    title = f"{cases.stem}{f', {split}' if prepared else ''}"
    command = f"python -m Training evaluate {cases}"
    command += f" --split {split}" if prepared else " --data DATA" if cases.is_file() else ""
    command += "".join(f" --set {change}" for change in changes)
    return title, f"{command}{f' --model {model}' if model else ''}{altered}"


def _tracked(cases: Iterable[LabeledVolume | Unreadable], total: int | None) -> Iterator[LabeledVolume | Unreadable]:
    """The cases behind a bar with their number and the time left."""
    with bar("Evaluating") as show:
        show(0, total, "")
        for done, case in enumerate(cases, start=1):
            yield case
            show(done, total, "")


def compare(
    folders: Annotated[list[Path], typer.Argument(help="Folders that evaluate wrote, of the same cases.")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Folder for table, plot and page.")] = None,
) -> None:
    """Put several evaluations side by side, with confidence intervals and paired tests."""
    from Training.commands.score_screen import show_comparison
    from Training.evaluation.compare import compare as run
    from Training.reports.comparison_report import write_comparison

    comparison = run(folders)
    show_comparison(console, comparison)
    if out:
        console.print(f"Report: {escape(str(write_comparison(out, comparison)))}", soft_wrap=True)


def calibrate(
    package: Annotated[Path, typer.Argument(help="Package folder; what is expected of its results is put into it.")],
    scores: Annotated[list[Path], typer.Argument(help="Folders that evaluate wrote of it, some with --alter.")],
) -> None:
    """Learn from evaluated cases what to expect of a result, and put that into the package."""
    from LiverSegLib.errors import InputError
    from LiverSegLib.labels import subject_of
    from LiverSegLib.models import read_package
    from LiverSegLib.models.package import write_calibration
    from Training.commands.score_screen import show_trust
    from Training.evaluation.calibrate import fit
    from Training.evaluation.scores import read_scores

    organ = subject_of(read_package(package).labels)
    if organ is None or not package.is_dir():
        raise InputError(f"{package} is no package folder of a model of one organ; nothing can be expected of it.")
    fitted = fit([read_scores(folder) for folder in scores], organ)
    show_trust(console, fitted)
    write_calibration(package, fitted.calibration)


COMMANDS = (evaluate, compare, calibrate)
