"""The package that comes out of fine-tuning: the start's, with other weights and the story of what was learned."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

from LiverSegLib.errors import ModelError
from LiverSegLib.models import ModelPackage, ModelSpec, find_partner, read_package
from LiverSegLib.models.folder import CARD, LICENSE, PackageFolder
from LiverSegLib.models.weights import loaded_network
from Training.corrections.looks import Look
from Training.fit.initial import network_weights
from Training.fit.run_folder import RunFolder
from Training.markdown import table
from Training.packages.place import State, place_package


def write_finetuned(out: Path, package: ModelPackage, run: RunFolder, looks: Sequence[Look], best: Look) -> None:
    """Write the package of a run's best weights; where the start was kept, the start's own weights.

    Args:
        out: package folder.
        package: the start.
        run: of the fine-tuning.
        looks: all of them, the start first.
        best: the one that is kept.

    Raises:
        OutputError: `out` holds something else than a package.
        RunError: the package does not give what the run's weights give.
    """
    learned = best.number > 0
    state: State = network_weights(run.best) if learned else loaded_network(package).state_dict()
    text = _note(looks[0], best)
    files = PackageFolder(package.path)
    card = files.read(CARD).decode("utf-8", "replace") if files.has(CARD) else f"# {package.title}\n"
    license_text = files.read(LICENSE).decode("utf-8", "replace") if files.has(LICENSE) else f"{package.license}\n"
    spec = finetuned_spec(package) if learned else _spec(package)
    place_package(out, spec, [state], str(run), card=f"{card}\n{text}", license_text=license_text)


def finetuned_spec(package: ModelPackage) -> ModelSpec:
    """What the new package says: as the start, a version later; its scores and what was expected of it are gone."""
    version = _next(package.version)
    story = {
        **package.changelog,
        version: f"fine-tuned from {package.version or 'the first version'} on corrected cases",
    }
    return replace(_spec(package), version=version, changelog=story, metrics={}, calibration=None)


def _spec(package: ModelPackage) -> ModelSpec:
    """The description without the place; mirroring is asked for by the file beside it, which is not copied."""
    found = ModelSpec(**{field.name: getattr(package, field.name) for field in fields(ModelSpec)})
    return replace(found, inferer=replace(found.inferer, mirror=()))


def _next(version: str) -> str:
    """0.3.0 becomes 0.3.0+1, and that 0.3.0+2."""
    found = re.fullmatch(r"(.*)\+(\d{1,6})", version)
    return f"{found[1]}+{int(found[2]) + 1}" if found else f"{version or '1'}+1"


def lost_partners(out: Path) -> list[str]:
    """The names of models that the package works with and that are not found from where it lies."""
    package = read_package(out)
    guide = [package.guide.model] if package.guide is not None else []
    lost = []
    for name in (*guide, *package.voters, *([package.divides] if package.divides else [])):
        try:
            find_partner(name, package)
        except ModelError:
            lost.append(name)
    return lost


def _note(start: Look, best: Look) -> str:
    """What is added to the model card."""
    if best.number == 0:
        return (
            "## Fine-tuning\n\nTried on corrected cases; nothing was better, so these are the weights of the start.\n"
        )
    rows = [
        (group, label, f"{dice:.3f}", f"{best.dice[group][label]:.3f}")
        for group, labels in start.dice.items()
        for label, dice in labels.items()
        if label in best.dice[group]
    ]
    shown = table(("held back", "label", "Dice before", "after"), rows, text_columns=2)
    return f"## Fine-tuning\n\nOf the network by itself, on the model's grid:\n\n{shown}\n"
