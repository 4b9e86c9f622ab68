"""The recipe that teaches a package's network some more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from LiverSegLib.models import ModelPackage
from LiverSegLib.models.inference import write_inference
from LiverSegLib.models.intensity import ScaleRange
from LiverSegLib.networks import reduction
from Training.errors import DataError, RunError
from Training.recipe import Recipe
from Training.recipe.options import CT_ONLY, Preprocess
from Training.recipe.regions import names_users_see
from Training.recipe.yaml_text import recipe_data

# An axis of the window that is as long as the image, in voxels while training.
_WHOLE_AXIS = {2: 256, 3: 192}
_BATCH = {2: 8, 3: 2}
_STEPS_A_LOOK = 25
_LEARNING_RATE = 3e-4
_FIXED = ("spatial_dims", "in_channels", "out_channels")


def check_package(package: ModelPackage) -> None:
    """Refuse a package whose network cannot go on learning here.

    Raises:
        RunError: it is the mean of several networks, or sees images in a way that recipes do not have.
        ModelError: it is of another family than MONAI's bundles.
    """
    write_inference(replace(package, inferer=replace(package.inferer, mirror=())))
    if len(package.weights) > 1:
        raise RunError(
            f"{package.name} is the mean of {len(package.weights)} networks; fine-tune the package of one of them."
        )
    of_its_own = package.crop is not None and not all(isinstance(step, ScaleRange) for step in package.intensity)
    if Preprocess.normalize_options(package.intensity) is None or of_its_own:
        raise RunError(
            f"{package.name} normalizes intensities in a way that recipes do not have; it cannot be fine-tuned here."
        )


def finetuning(
    package: ModelPackage, sources: list[dict[str, Any]], replay: Recipe | None, looks: int, share: float
) -> dict[str, Any]:
    """Data of the recipe.

    Args:
        package: the start.
        sources: of the corrected cases.
        replay: the recipe of older data that is shown again; None where there is none.
        looks: how often the held-back cases are looked at, at most.
        share: of the samples that come from the corrected cases, where there are others.

    Raises:
        DataError: the older data was prepared for another model.
    """
    weight = 1.0
    if replay is not None:
        _check_replay(package, replay)
        older = sum(source.weight for source in replay.sources)
        weight = older * share / (1 - share)
    data = _of_package(package) if replay is None else recipe_data(replay)
    dims = package.spatial_dims
    batch = _BATCH[dims] if replay is None else replay.optimization.batch_size
    network = {key: value for key, value in package.arguments.items() if key not in _FIXED}
    new = [{**source, "weight": weight / len(sources)} for source in sources]
    return data | {
        "name": "finetune",
        "sources": [*(data.get("sources", [])), *new],
        "split": {},
        "network": {"name": package.network, "arguments": network},
        "optimization": {
            "max_epochs": looks,
            "samples_per_epoch": _STEPS_A_LOOK * batch,
            "batch_size": batch,
            "learning_rate": _LEARNING_RATE,
            "schedule": "cosine",
            "ema_decay": 0.98,
        },
    }


def _check_replay(package: ModelPackage, replay: Recipe) -> None:
    grid = replay.preprocess
    for what, theirs, ours in (
        ("labels", tuple(names_users_see(replay.labels)), tuple(label.name for label in package.labels)),
        ("axes", grid.axcodes, package.axcodes),
        ("voxel size", replay.inference.pixdim or grid.pixdim, package.pixdim),
        ("intensities", (grid.intensity,), package.intensity),
        ("dimensions", replay.spatial_dims, package.spatial_dims),
    ):
        if theirs != ours:
            raise DataError(
                f"The data to replay was prepared with other {what} ({theirs}) than {package.name} works with "
                f"({ours}); prepare it again with the recipe of this model, or leave out --replay."
            )


def _of_package(package: ModelPackage) -> dict[str, Any]:
    """What a package tells of its recipe, and mild choices for what it does not tell."""
    dims = package.spatial_dims
    roi = package.inferer.roi_size
    step = reduction(package.network, package.arguments)
    patch = [max((n if n > 0 else _WHOLE_AXIS[dims]) // d, 1) * d for n, d in zip(roi, step, strict=True)]
    preprocess: dict[str, Any] = {"axcodes": package.axcodes, "pixdim": list(package.pixdim)}
    if max(package.size) > 0:
        preprocess["size"] = list(package.size)
    preprocess |= Preprocess.normalize_options(package.intensity) or {}
    lesions = any(label.is_lesion for label in package.labels)
    window = {"roi_size": list(roi), "overlap": package.inferer.overlap, "batch_size": package.inferer.batch_size}
    return {
        "spatial_dims": dims,
        "modality": package.modality,
        "labels": {value: label.name for value, label in enumerate(package.labels, start=1)},
        "preprocess": preprocess,
        "patch_size": patch,
        # As often on each label as on the others: lesions are small.
        "sampling": {"labels": dict.fromkeys(range(len(package.labels) + 1), 1)} if lesions else {},
        # What was corrected is real; nothing is drawn into it.
        "augment": {**dict.fromkeys(CT_ONLY, 0), "elastic": 0, "rotate_degrees": 10, "affine": 0.5},
        "inference": window,
        "card": {
            "title": package.name,
            "version": package.version or "1",
            "license": package.license,
            "data_source": package.data_source,
            "intended_use": package.intended_use,
            "limits": "Those of the package that it was fine-tuned from.",
        },
    }


def recipe_file(run: Path) -> Path:
    """Where a run of fine-tuning keeps the recipe that was made for it, before any `--set`."""
    return run / "finetune.yaml"
