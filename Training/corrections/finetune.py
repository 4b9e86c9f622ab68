"""A package learns from corrected cases, and stops before it forgets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import lightning.pytorch as pl

from LiverSegLib.models import ModelPackage, find_package, read_package
from Training.corrections.cases import Gathered, gather
from Training.corrections.folder import corrected_sources
from Training.corrections.looks import Keeper, Look, LookFile, Rule, kept, look_at
from Training.corrections.package import write_finetuned
from Training.corrections.recipe import check_package, finetuning, recipe_file
from Training.data.folder import PreparedFolder
from Training.data.prepare import Progress
from Training.errors import RunError
from Training.fit.batches import CaseData, validation_images
from Training.fit.initial import load_initial
from Training.fit.module import SegmentationModule
from Training.fit.run_folder import RunFolder
from Training.fit.train import Hardware, quiet, train
from Training.recipe import Recipe, load_recipe
from Training.recipe.yaml_text import keep_recipe, write_recipe


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What is asked for.

    Args:
        start: path of a package, name of a built-in or installed one, None for the default.
        cases: folder of corrected cases, see `Training.corrections.folder`.
        run: run folder; the same lesson goes on there where it was interrupted.
        replay: prepared folder of the data that the model learned from.
        looks: how often the held-back cases are looked at, at most.
        share: of the samples that come from the corrected cases, where there are others.
        rule: what is kept and when it ends.
        changes: "key=value" for the recipe.
    """

    start: str | Path | None
    cases: Path
    run: Path
    replay: Path | None = None
    looks: int = 12
    share: float = 0.5
    rule: Rule = field(default_factory=Rule)
    changes: Sequence[str] = ()


@dataclass(frozen=True)
class Learned:
    """What came of it: the package of the start, the looks, and the one that is kept (0: the start)."""

    package: ModelPackage
    looks: list[Look]

    @property
    def kept(self) -> Look:
        """The look whose weights are the run's best."""
        return kept(self.looks)


def finetune(
    lesson: Lesson,
    out: Path | None = None,
    *,
    workers: int = 2,
    hardware: Hardware | None = None,
    progress: Progress | None = None,
) -> Learned:
    """Teach the network of a package; its guide, voters and all else that the package says stay.

    Args:
        lesson: what is learned from what.
        out: package folder to write; the start's own weights where nothing better was found.
        workers: loader processes.
        hardware: None for what is there; one device.
        progress: called while the cases are prepared.

    Raises:
        ModelError: the package cannot be used.
        RunError: it cannot go on learning, or the run folder holds another lesson.
        DataError: what is wrong with the cases.
    """
    package = read_package(find_package(lesson.start))
    check_package(package)
    recipe = _recipe(lesson, package)
    run, hardware = RunFolder(lesson.run.resolve()), hardware or Hardware(devices="1")
    if run.recipe_file.is_file() and run.recipe() != recipe:
        raise RunError(f"{run} holds another run; name another folder with --run.")
    gathered = gather(recipe, lesson.cases, lesson.replay, run.path, progress)
    file = LookFile(run.path)
    if not file.read():
        _look_at_start(recipe, package, gathered, run, file, hardware)
    looks = file.read()
    if not (lesson.rule.over(looks) or looks[-1].number >= recipe.optimization.max_epochs):
        keeper = Keeper(run, file, _groups(CaseData(recipe, gathered.folder, 0), gathered), lesson.rule)
        resume = run.last.is_file()
        init = None if resume else package.path
        train(
            recipe, gathered.folder, run.path, resume=resume, init=init, workers=workers, hardware=hardware,
            keeper=keeper,
        )  # fmt: skip
    learned = Learned(package, file.read())
    if out is not None:
        write_finetuned(out, package, run, learned.looks, learned.kept)
    return learned


def _recipe(lesson: Lesson, package: ModelPackage) -> Recipe:
    """The recipe of the lesson, which is also written for people."""
    replay = None if lesson.replay is None else PreparedFolder(lesson.replay).recipe()
    taken = () if replay is None else tuple(source.name for source in replay.sources)
    sources = corrected_sources(lesson.cases.resolve(), package.labels, taken)
    path = recipe_file(lesson.run)
    data = finetuning(package, sources, replay, lesson.looks, lesson.share)
    write_recipe(path, data, f"{package.title}, taught some more by corrected cases.")
    return load_recipe(path, list(lesson.changes))


def _groups(data: CaseData, gathered: Gathered) -> list[str]:
    """The group of each image that validates, in their order."""
    return [gathered.groups[image[0].source] for image in validation_images(data.val_cases)]


def _look_at_start(
    recipe: Recipe, package: ModelPackage, gathered: Gathered, run: RunFolder, file: LookFile, hardware: Hardware
) -> None:
    """Look at the held-back cases before anything is learned; these weights are the best so far."""
    data = CaseData(recipe, gathered.folder, 0)
    module = SegmentationModule(recipe)
    load_initial(module, package.path)
    with quiet():
        trainer = pl.Trainer(
            accelerator=hardware.accelerator,
            devices=1,
            precision=recipe.optimization.precision,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
        )
        trainer.validate(module, datamodule=data, verbose=False)
        run.checkpoints.mkdir(parents=True, exist_ok=True)
        trainer.save_checkpoint(run.best)
    keep_recipe(run.recipe_file, recipe)
    file.write([look_at(0, module.image_sums, _groups(data, gathered), tuple(module.values))])
