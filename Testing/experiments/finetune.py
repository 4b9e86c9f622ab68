"""Does a model learn another look from ten corrected cases, and does it keep what it knew?

    python -m Testing.experiments.finetune -o runs/corrections --data ../shared/data
    python -m Testing.experiments.finetune -o runs/corrections-phantoms --phantoms

Ten CTs are given thick slices and noise; the model learns from them while scans of the old look are shown again. Then
patients whom neither saw while fine-tuning are scored through the engine in both looks, before and after. On phantoms
the start is trained first, and all is small. What is there already is not made again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from LiverSegLib.engine.segmenter import Segmenter
from LiverSegLib.models.store import BUILT_IN, DEFAULT
from Testing.experiments.another_look import Look, Pair, pairs, write_cases
from Training.corrections.finetune import Lesson, finetune
from Training.corrections.looks import Rule
from Training.data.folder import PreparedFolder
from Training.data.phantoms import write_dataset
from Training.data.prepare import prepare
from Training.evaluation.cases import load_cases
from Training.evaluation.evaluate import evaluate
from Training.evaluation.scores import SCORES, Scores, read_scores, with_interval
from Training.fit.train import Hardware, train
from Training.markdown import table
from Training.packages.export import export
from Training.recipe import Recipe, load_recipe

CPU = Hardware(accelerator="cpu", devices="1")
# Scans of one patient are on one side: 006 to 010, 014 and 015, 022 and 023, 000 and 001.
CORRECTED = "003,004,005,007,008,011,012,014,016,018"
SHOWN_AGAIN = "003,004,005,007,008,009,010,011,012,014,015,016,018"
WATCHED = "022,023,048"
JUDGED = "000,001,002,050"
# The liver alone: in so little training tumors are found by chance.
SMALL = (
    "labels={1: liver}",
    "sampling={labels: {0: 1, 1: 2}}",
    "preprocess.pixdim=[6, 6, 6]",
    "patch_size=[32, 32, 32]",
    "inference.roi_size=[48, 48, 32]",
    "optimization.max_epochs=4",
    "optimization.samples_per_epoch=80",
    "optimization.validate_every=4",
)


@dataclass(frozen=True, kw_only=True)
class Material:
    """What an experiment is made of.

    Args:
        start: makes the package to start from, if it is not there.
        corrected: cases that are given the other look and corrected.
        judged: cases of other patients, scored in both looks.
        look: the other one.
        replay: makes the prepared folder of the old look, if it is not there.
        changes: of the recipe of fine-tuning.
    """

    start: Callable[[], Path]
    corrected: dict[str, Pair]
    judged: dict[str, Pair]
    replay: Callable[[], Path]
    look: Look
    changes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Which CTs of lits_liver are what: corrected, shown again, watched while learning, and judged by."""

    corrected: Sequence[str]
    shown_again: Sequence[str]
    watched: Sequence[str]
    judged: Sequence[str]


def real(out: Path, data: Path, start: Path, parts: Parts, look: Look) -> Material:
    """A package of the built-in model's grid, and the CTs of `data`/lits_liver."""
    named = f"{data}/lits_liver/lits_{{}}_ct.nii.gz", f"{data}/lits_liver/lits_{{}}_label.nii.gz"

    def replay() -> Path:
        shown = pairs((*parts.shown_again, *parts.watched), *named)
        write_cases(out / "older", shown, None)
        source: dict[str, Any] = {"kind": "msd", "name": "older", "folder": "older", "labels": {1: 1, 2: 2}}
        held = [f"older_{name}" for name in parts.watched]
        return _prepared(load_recipe(DEFAULT, [f"sources={[source]}", f"split={{validate_on: {held}}}"]), out)

    return Material(
        start=lambda: start,
        corrected=pairs(parts.corrected, *named),
        judged=pairs(parts.judged, *named),
        replay=replay,
        look=look,
    )


def small(out: Path) -> Material:
    """Phantoms, and a model that is trained on them first."""
    folder = out / "phantoms"
    if not (folder / "dataset.json").is_file():
        write_dataset(folder, 22, 5, easy=True)
    files = f"{folder}/imagesTr/liver_{{}}.nii.gz", f"{folder}/labelsTr/liver_{{}}.nii.gz"
    named = pairs([f"{number:03d}" for number in range(22)], *files)
    apart = list(named)[12:]
    source: dict[str, Any] = {"kind": "msd", "name": "phantoms", "folder": "phantoms", "labels": {1: 1, 2: 1}}
    source["exclude"] = [f"liver_{name}" for name in apart]
    recipe = load_recipe("liver3d_phantom", [*SMALL, f"sources={[source]}", "split={validation_fraction: 0.25}"])

    def start() -> Path:
        package, run = out / "start", out / "start_run"
        if not package.is_dir():
            last = run / "checkpoints" / "last.ckpt"
            train(recipe, _prepared(recipe, out), run, resume=last.is_file(), workers=0, hardware=CPU)
            export(run, package)
        return package

    return Material(
        start=start,
        corrected={name: named[name] for name in apart[:6]},
        judged={name: named[name] for name in apart[6:]},
        replay=lambda: _prepared(recipe, out),
        look=Look(12.0, 100.0),  # voxels of 6 mm do not feel less
        changes=("optimization.learning_rate=0.0005",),
    )


def _prepared(recipe: Recipe, out: Path) -> Path:
    folder = out / "prepared"
    if not PreparedFolder(folder).complete:
        prepare(recipe, out, folder)
    return folder


def scores_of(model: Path, cases: Path, place: Path) -> Scores:
    """The scores of a model, made once."""
    if not (place / SCORES).is_file():
        evaluate(load_cases(cases), Segmenter(model, "cpu"), place, title=place.name, pictures_below=0.0)
    return read_scores(place)


def run(out: Path, material: Material, looks: int, rule: Rule) -> str:
    """Do the experiment; the table in Markdown."""
    start, tuned = material.start(), out / "tuned"
    lesson = Lesson(
        start=start,
        cases=write_cases(out / "corrected", material.corrected, material.look),
        run=out / "run",
        replay=material.replay(),
        looks=looks,
        rule=rule,
        changes=material.changes,
    )
    learned = finetune(lesson, tuned, workers=0, hardware=CPU)
    rows = []
    for name, look in (("other", material.look), ("old", None)):
        judged = write_cases(out / f"judged_{name}", material.judged, look)
        before, after = (scores_of(model, judged, out / f"scores_{name}_{model.name}") for model in (start, tuned))
        found = [{r.label: r.values for r in one.statistics if r.metric == "dice"} for one in (before, after)]
        for label, values in found[0].items():
            cells = (with_interval(one, "dice") for one in (values, found[1][label]))
            rows.append((name, label, str(values.n), *cells))
    kept = f"Kept: look {learned.kept.number} of {learned.looks[-1].number}."
    return table(("look", "label", "cases", "Dice before", "after"), rows, text_columns=2) + f"\n\n{kept}"


def _listed(text: str) -> list[str]:
    return text.split(",")


def main(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for all that is made; the same one goes on.")],
    data: Annotated[Path, typer.Option(help="Folder with lits_liver.")] = Path("../shared/data"),
    start: Annotated[Path, typer.Option(help="Package that learns; its data should not have the judged patients.")] = (
        BUILT_IN / DEFAULT
    ),
    corrected: Annotated[str, typer.Option(help="CTs that are given the other look.")] = CORRECTED,
    shown_again: Annotated[str, typer.Option(help="CTs that are shown again as they are.")] = SHOWN_AGAIN,
    watched: Annotated[str, typer.Option(help="CTs of the old look that decide what is kept.")] = WATCHED,
    judged: Annotated[str, typer.Option(help="CTs that are scored before and after, in both looks.")] = JUDGED,
    thick_mm: Annotated[float, typer.Option(help="Slices of the other look.")] = 10.0,
    noise_hu: Annotated[float, typer.Option(help="Standard deviation of its noise.")] = 100.0,
    phantoms: Annotated[bool, typer.Option(help="Phantoms, small, instead of CTs.")] = False,
    looks: Annotated[int, typer.Option(min=1, help="Looks while fine-tuning, at most.")] = 12,
    may_lose: Annotated[float, typer.Option(min=0, max=1, help="Dice that held-back cases may lose.")] = 0.01,
) -> None:
    """Fine-tune on corrected cases of another look, and print what became of both looks."""
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    parts = Parts(
        corrected=_listed(corrected), shown_again=_listed(shown_again), watched=_listed(watched), judged=_listed(judged)
    )
    material = small(out) if phantoms else real(out, data.resolve(), start.resolve(), parts, Look(thick_mm, noise_hu))
    found = run(out, material, looks, Rule(may_lose=may_lose))
    (out / "table.md").write_text(found + "\n", encoding="utf-8")
    print(found)


if __name__ == "__main__":
    typer.run(main)
