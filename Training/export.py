"""From a trained run to the package that the module, the command line and MONAI consume."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from LiverSegLib.models.write import PackageSpec, write_package
from Training.evaluate import Score, markdown
from Training.recipe import Recipe, RecipeError
from Training.train import BEST, read_run_recipe

_NETWORK = "network."


def load_run(run: Path, checkpoint: str = BEST) -> tuple[Recipe, dict[str, torch.Tensor]]:
    """The recipe and the network's weights of a run folder.

    Raises:
        RecipeError: the run has no recipe or no such checkpoint.
    """
    recipe = read_run_recipe(run)
    try:
        data: dict[str, Any] = torch.load(run / "checkpoints" / checkpoint, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise RecipeError(f"{run} holds no trained model ({error.filename} is missing); train first.") from error
    except pickle.UnpicklingError as error:
        raise RecipeError(f"{run / 'checkpoints' / checkpoint} holds more than weights; it is not loaded.") from error
    weights = data["state_dict"]
    return recipe, {k.removeprefix(_NETWORK): v for k, v in weights.items() if k.startswith(_NETWORK)}


def export(run: Path, folder: Path, *, results: Sequence[Path] = ()) -> None:
    """Write the best model of `run` as a package.

    Args:
        run: run folder of `train`.
        folder: package folder, replaced file by file.
        results: folders that `evaluate` wrote; their scores go into metadata and card.

    Raises:
        RecipeError: nothing was trained or evaluated there.
    """
    recipe, weights = load_run(run)
    license_file = Path(__file__).parent / "licenses" / f"{recipe.card.license.replace(' ', '-')}.txt"
    text = license_file.read_text(encoding="utf-8") if license_file.is_file() else recipe.card.license + "\n"
    metrics, table = _results(results)
    spec = PackageSpec(
        name=recipe.name, title=recipe.card.title, version=recipe.card.version, license=recipe.card.license,
        license_text=text, data_source=recipe.card.data_source, intended_use=recipe.card.intended_use,
        labels=recipe.labels, network=recipe.network.name, arguments=recipe.network_arguments(),
        axcodes=recipe.preprocess.axcodes, window=recipe.preprocess.window,
        pixdim=recipe.inference.pixdim or recipe.preprocess.pixdim,
        roi_size=recipe.inference.roi_size, overlap=recipe.inference.overlap,
        batch_size=recipe.inference.batch_size,
        divisible=recipe.divisible(),
        card=model_card(recipe, table), metrics=metrics, changelog=recipe.card.changelog,
    )  # fmt: skip
    write_package(folder, spec, weights, half=True)


def _results(folders: Sequence[Path]) -> tuple[dict[str, float], str]:
    """Metrics of the first folder for metadata.json, and every folder's table for the card."""
    metrics: dict[str, float] = {}
    parts = []
    for folder in folders:
        try:
            found = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
            scores = [Score(**row) for row in found["cases"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RecipeError(f"{folder} holds no scores.json of `python -m Training evaluate`.") from error
        metrics = metrics or {k: round(v, 4) for k, v in found["summary"].items()}
        line = ", ".join(f"{k.replace('_', ' ')} {v:.3g}" for k, v in found["summary"].items())
        parts.append(f"### {found['title']}\n\n`{found['command']}`\n\n{line}.\n\n{markdown(scores)}")
    return metrics, "\n\n".join(parts)


def model_card(recipe: Recipe, results: str) -> str:
    """The model card in Markdown."""
    card, low, high = recipe.card, *recipe.preprocess.window
    sizes = " x ".join(
        "as in the image" if n <= 0 else f"{n:g}" for n in recipe.inference.pixdim or recipe.preprocess.pixdim
    )
    return f"""# {card.title}

Version {card.version}. **Not for clinical use.**

| | |
|---|---|
| Segments | {", ".join(recipe.labels.values())} |
| Network | {recipe.network.name}, {recipe.spatial_dims}D, {recipe.network.arguments} |
| Input | one channel, axes {recipe.preprocess.axcodes}, voxels {sizes} mm, HU {low:g} to {high:g} mapped to 0 to 1 |
| Training data | {card.data_source} |
| Licence of the weights | {card.license} |
| Intended use | {card.intended_use} |
| Limits | {card.limits} |
| How it was made | {card.history or "The recipe of this name, in one run."} |

## Results

{results or "Not evaluated yet."}
"""
