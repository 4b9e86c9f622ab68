"""From a trained run to the package that the module, the command line and MONAI consume."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from LiverSegLib.labels import labels_for
from LiverSegLib.models import Guide, ModelSpec
from LiverSegLib.models.inferer import Inferer
from LiverSegLib.models.intensity import intensity_text
from Training.errors import RunError
from Training.fit.initial import network_weights
from Training.fit.own_code import has_own_network
from Training.fit.run_folder import RunFolder
from Training.markdown import table
from Training.packages.place import check_place, place_package
from Training.recipe import Recipe

_LETTERS = {"x": "LR", "y": "PA", "z": "IS"}
"""Of an axis of the body, which way an axis of the image may point along it."""


def load_run(run: Path) -> tuple[Recipe, dict[str, torch.Tensor]]:
    """The recipe and the network's weights of a run folder.

    Raises:
        RunError: the run has no recipe or no checkpoint, it cannot be read, or its network is one of its own code.
    """
    folder = RunFolder(run)
    recipe = folder.recipe()
    if not folder.best.is_file():
        raise RunError(f"{run} holds no trained model ({folder.best.name} is missing); train first.")
    if has_own_network(folder.own_code):
        raise RunError(
            f"{run} trained a network of its own code, and packages hold no code; only networks that LiverSeg knows "
            "are exported."
        )
    return recipe, network_weights(folder.best)


def export(runs: Path | Sequence[Path], folder: Path, *, results: Sequence[Path] = (), torch_file: bool = True) -> None:
    """Write the best model of a run as a package, or of several runs as one: the mean of their probabilities.

    It is written beside `folder`, loaded again and compared with the checkpoints, and only then put in its place.

    Args:
        runs: run folder of `train`, or several of models that work alike, the folds of one recipe for example.
        folder: package folder; a package that is there is replaced.
        results: folders that `evaluate` wrote; their scores go into metadata and card.
        torch_file: as for `write_package`.

    Raises:
        RunError: nothing was trained, or the runs are of different models.
        OutputError: `folder` holds something else than a package.
        DataError: nothing was evaluated there.
    """
    runs = [runs] if isinstance(runs, Path) else list(runs)
    loaded = [load_run(run) for run in runs]
    check_place(folder.resolve())
    recipe = loaded[0][0]
    _check_alike(runs, [recipe for recipe, _ in loaded])
    metrics, table = _results(results)
    spec = package_spec(recipe, metrics)
    card = model_card(recipe, spec, table, len(runs))
    place_package(
        folder,
        spec,
        [weights for _, weights in loaded],
        ", ".join(str(run) for run in runs),
        card=card,
        license_text=license_text(recipe),
        torch_file=torch_file,
    )


def _check_alike(runs: Sequence[Path], recipes: Sequence[Recipe]) -> None:
    """Members of an ensemble see images in the same way and say the same labels; their data and training may differ.

    Raises:
        RunError: names the run that differs, and in what.
    """
    if len({run.resolve() for run in runs}) < len(runs):
        raise RunError("A run is named twice; name each run once.")
    for run, recipe in zip(runs[1:], recipes[1:], strict=True):
        for part in ("labels", "modality", "preprocess", "network", "inference"):
            if getattr(recipe, part) != getattr(recipes[0], part):
                raise RunError(f"{run} and {runs[0]} differ in {part}; only models that work alike make one package.")


def package_spec(recipe: Recipe, metrics: dict[str, float]) -> ModelSpec:
    """What the package of a recipe's model says."""
    card, grid, window = recipe.card, recipe.preprocess, recipe.inference
    return ModelSpec(
        name=card.title,
        version=card.version,
        license=card.license,
        data_source=card.data_source,
        intended_use=card.intended_use,
        metrics=metrics,
        changelog=card.changelog or {card.version: "first version"},
        modality=recipe.modality,
        inputs=tuple(recipe.channels) or ModelSpec.inputs,
        labels=labels_for(recipe.labels),
        network=recipe.network.name,
        arguments=recipe.network_arguments(),
        axcodes=grid.axcodes,
        pixdim=window.pixdim or grid.pixdim,
        size=grid.size or (-1, -1, -1),
        intensity=(grid.intensity,),
        divisible=recipe.divisible(),
        inferer=Inferer(roi_size=window.roi_size, overlap=window.overlap, batch_size=window.batch_size),
        guide=None if window.guide is None else Guide(window.guide.model, window.guide.margin_mm),
        voters=window.voters,
        divides=window.divides,
        mirror_axes=_mirrored(recipe),
    )


def _mirrored(recipe: Recipe) -> tuple[int, ...]:
    """The axes of the window along which training mirrored images."""
    flipped = "".join(_LETTERS[name] for name, probability in recipe.augment.flip.items() if probability > 0)
    axcodes = recipe.preprocess.axcodes[: recipe.spatial_dims]
    return tuple(axis for axis, letter in enumerate(axcodes) if letter in flipped)


def license_text(recipe: Recipe) -> str:
    """The whole license of the weights where it is one that we have, else its name."""
    file = Path(__file__).parents[1] / "licenses" / f"{recipe.card.license.replace(' ', '-')}.txt"
    return file.read_text(encoding="utf-8") if file.is_file() else recipe.card.license + "\n"


def _results(folders: Sequence[Path]) -> tuple[dict[str, float], str]:
    """Metrics of the first folder for metadata.json, and every folder's table for the card."""
    from Training.evaluation.scores import read_scores
    from Training.reports.score_tables import markdown

    metrics: dict[str, float] = {}
    parts = []
    for folder in folders:
        scores = read_scores(folder)
        metrics = metrics or {key: round(value, 4) for key, value in scores.summary.items()}
        parts.append(f"### {scores.title}\n\n`{scores.command}`\n\n{markdown(scores)}")
    return metrics, "\n\n".join(parts)


def _helpers(spec: ModelSpec) -> list[tuple[str, str]]:
    """What the card says of the models that work with this one, whose data and licenses count as well."""
    found = []
    if spec.guide is not None:
        found.append(f"{spec.guide.model} says where to look, {spec.guide.margin_mm:g} mm around what it finds")
    if spec.voters:
        found.append(f"{', '.join(spec.voters)} and the guide vote on what the organ is")
    if spec.divides:
        found.append(f"its labels are dealt out to the organ that {spec.divides} finds")
    return [("Works with", "; ".join(found) + ". Their cards tell their data and licenses.")] if found else []


def model_card(recipe: Recipe, spec: ModelSpec, results: str, members: int = 1) -> str:
    """The model card in Markdown."""
    card = recipe.card
    intensity = intensity_text(spec.intensity, spec.modality)
    modality = {"DX": "X-ray", "": "any modality"}.get(spec.modality, spec.modality)
    channels = f"channels {', '.join(recipe.channels)}" if recipe.in_channels > 1 else "one channel"
    mean = f"; the mean of the probabilities of {members} networks" if members > 1 else ""
    rows = [
        ("Segments", ", ".join(recipe.labels.values())),
        ("Network", f"{recipe.network.name}, {recipe.spatial_dims}D, {recipe.network.arguments}{mean}"),
        ("Input", f"{channels} ({modality}), axes {spec.axcodes}, {spec.grid_text}; {intensity}"),
        *_helpers(spec),
        ("Training data", card.data_source),
        ("License of the weights", card.license),
        ("Intended use", card.intended_use),
        ("Limits", card.limits),
        ("How it was made", card.history or "The recipe of this name, in one run."),
    ]
    return f"""# {card.title}

Version {card.version}. **Not for clinical use.**

{table(("", ""), rows, text_columns=2)}

## Results

{results or "Not evaluated yet."}
"""
