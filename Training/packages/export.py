"""From a trained run to the package that the module, the command line and MONAI consume."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from LiverSegLib.errors import LiverSegError, OutputError
from LiverSegLib.labels import labels_for
from LiverSegLib.models import Guide, ModelSpec, read_package
from LiverSegLib.models.inferer import Inferer
from LiverSegLib.models.intensity import intensity_text
from LiverSegLib.models.package import write_package
from LiverSegLib.models.weights import loaded_network
from LiverSegLib.networks import build_network, final_logits, reduction
from Training.errors import RunError
from Training.fit.initial import network_weights
from Training.fit.run_folder import RunFolder
from Training.markdown import table
from Training.recipe import Recipe

# Kernels stored as float16 move logits by a thousandth of their range; more means that something else is wrong.
_ROUNDING = 0.01


def load_run(run: Path) -> tuple[Recipe, dict[str, torch.Tensor]]:
    """The recipe and the network's weights of a run folder.

    Raises:
        RunError: the run has no recipe or no checkpoint, or it cannot be read.
    """
    folder = RunFolder(run)
    recipe = folder.recipe()
    if not folder.best.is_file():
        raise RunError(f"{run} holds no trained model ({folder.best.name} is missing); train first.")
    return recipe, network_weights(folder.best)


def export(run: Path, folder: Path, *, results: Sequence[Path] = (), torch_file: bool = True) -> None:
    """Write the best model of `run` as a package.

    It is written beside `folder`, loaded again and compared with the checkpoint, and only then put in its place.

    Args:
        run: run folder of `train`.
        folder: package folder; a package that is there is replaced.
        results: folders that `evaluate` wrote; their scores go into metadata and card.
        torch_file: as for `write_package`.

    Raises:
        RunError: nothing was trained.
        OutputError: `folder` holds something else than a package.
        DataError: nothing was evaluated there.
    """
    recipe, weights = load_run(run)
    folder = folder.resolve()
    if folder.exists() and not (folder / "configs").is_dir() and (folder.is_file() or any(folder.iterdir())):
        raise OutputError(f"{folder} is there and is no package; name another folder.")
    metrics, table = _results(results)
    spec = package_spec(recipe, metrics)
    texts = {"card": model_card(recipe, spec, table), "license_text": license_text(recipe)}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=folder.parent) as temporary:
        new, old = Path(temporary) / folder.name, Path(temporary) / "replaced"
        for half in (True, False):
            shutil.rmtree(new, ignore_errors=True)
            write_package(new, spec, weights, **texts, half=half, torch_file=torch_file)
            if _difference(new, recipe, weights) <= _ROUNDING:
                break
        else:
            raise RunError(f"The package of {run} does not give what its checkpoint gives; nothing was written.")
        if folder.exists():
            folder.rename(old)
        try:
            new.rename(folder)
        except BaseException:
            if old.exists():
                old.rename(folder)
            raise


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
    )


def license_text(recipe: Recipe) -> str:
    """The whole license of the weights where it is one that we have, else its name."""
    file = Path(__file__).parents[1] / "licenses" / f"{recipe.card.license.replace(' ', '-')}.txt"
    return file.read_text(encoding="utf-8") if file.is_file() else recipe.card.license + "\n"


def _difference(folder: Path, recipe: Recipe, weights: dict[str, torch.Tensor]) -> float:
    """Largest difference between the logits of package and checkpoint for noise, relative to their largest value."""
    trained = build_network(recipe.network.name, recipe.network_arguments()).eval()
    try:
        trained.load_state_dict(weights)
        network = loaded_network(read_package(folder)).eval()
    except (LiverSegError, RuntimeError) as error:
        raise RunError(f"The checkpoint of the best epoch cannot be written as a package: {error}") from error
    steps = reduction(recipe.network.name, recipe.network_arguments())
    noise = torch.rand(
        1, recipe.in_channels, *(n * max(2, -(-16 // n)) for n in steps), generator=torch.Generator().manual_seed(0)
    )
    with torch.inference_mode():
        expected, found = (final_logits(each(noise), noise.ndim) for each in (trained, network))
    return float((expected - found).abs().max() / expected.abs().max().clamp(min=1e-6))


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


def model_card(recipe: Recipe, spec: ModelSpec, results: str) -> str:
    """The model card in Markdown."""
    card = recipe.card
    intensity = intensity_text(spec.intensity, spec.modality)
    modality = {"DX": "X-ray", "": "any modality"}.get(spec.modality, spec.modality)
    channels = f"channels {', '.join(recipe.channels)}" if recipe.in_channels > 1 else "one channel"
    rows = [
        ("Segments", ", ".join(recipe.labels.values())),
        ("Network", f"{recipe.network.name}, {recipe.spatial_dims}D, {recipe.network.arguments}"),
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
