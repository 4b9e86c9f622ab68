"""A recipe planned from the data and the memory at hand, after nnU-Net.

Isensee et al., nnU-Net: a self-configuring method for deep learning-based biomedical image segmentation, Nature
Methods 18 (2021). The rules for voxel size, levels, patch and batch are those of its supplement; the network is the
recipe's own, and what a patch costs is counted from that network instead of a reference table.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from LiverSegLib.worker.hardware import main_memory
from Training.errors import RunError
from Training.planning.fingerprint import Fingerprint, fingerprint, median_shape, target_spacing
from Training.planning.memory import GIB, training_memory, validation_memory
from Training.planning.network import PLANNED, Stride, divisor, network_arguments, strides_for
from Training.recipe import Recipe, RecipeError
from Training.recipe.yaml_text import recipe_data

if TYPE_CHECKING:
    from Training.data.readers import RawCase

_SMALLEST_BATCH = 2
_LARGEST_BATCH = 16
# A step sees at most this part of all voxels of the data set.
_PART_OF_DATA = 0.05
# Part of the memory that a plan fills; fragmentation and other programs take the rest.
_FILL = 0.85
_LARGEST_AXIS = 256


@dataclass(frozen=True)
class Plan:
    """A planned recipe and why it is so.

    Args:
        recipe: its data, to be written with `Training.recipe.yaml_text.write_recipe` and the reasons as comments.
        reasons: a sentence for each section of the recipe that was planned.
        memory_gb: estimated peak in GiB, of a training step or of validating the largest case.
    """

    recipe: dict[str, Any]
    reasons: dict[str, str] = field(default_factory=dict)
    memory_gb: float = 0.0


def make_plan(recipe: Recipe, cases: Iterable[RawCase], memory_gb: float, precision: str | None = None) -> Plan:
    """Plan a 3D recipe.

    Args:
        recipe: where data, labels, network family, loss and augmentation come from.
        cases: raw cases, training ones where they are known.
        memory_gb: GiB that training may take.
        precision: replaces the recipe's `optimization.precision`.

    Raises:
        RecipeError: a 2D recipe, or a network that cannot be planned.
        DataError: no cases, or none with a label.
        RunError: too little memory.
    """
    if recipe.spatial_dims != 3:
        raise RecipeError(f"The recipe {recipe.name} is 2D; plans are for 3D recipes.")
    if recipe.network.name not in PLANNED:
        raise RecipeError(f"{recipe.network.name} cannot be planned; use one of {', '.join(PLANNED)}.")
    precision = precision or recipe.optimization.precision
    found = fingerprint(cases, recipe)
    spacing = target_spacing(found)
    median = median_shape(found, spacing)
    budget = memory_gb * _FILL * GIB
    mixed = precision != "32-true"
    patch, strides = _fit_patch(recipe, spacing, median, budget, mixed)
    arguments = network_arguments(recipe, spacing, strides)
    batch = _batch(recipe, arguments, patch, found, median, budget, mixed)
    data = recipe_data(recipe)
    data["network"] = {**data["network"], "arguments": arguments}
    data["preprocess"]["pixdim"] = spacing
    if recipe.preprocess.normalize == "window" and recipe.modality == "CT":
        data["preprocess"]["window"] = [round(found.low), max(round(found.high), round(found.low) + 1)]
    data["patch_size"] = list(patch)
    data["inference"].update(roi_size=list(patch), overlap=0.5)
    data["optimization"].update(batch_size=batch, precision=precision)
    needed = _memory(recipe, arguments, patch, batch, mixed) / GIB
    reasons = _reasons(found, median, patch, strides, batch, needed, memory_gb)
    largest = found.largest(spacing)
    whole = validation_memory(recipe.network.name, _complete(recipe, arguments), largest) / GIB
    reasons["inference"] = (
        f"Validating the largest case, {largest / 1e6:.0f} million voxels, takes about {whole:.1f} GB."
    )
    if whole > memory_gb:
        raise RunError(
            f"Validating the largest case, {largest / 1e6:.0f} million voxels, takes about {whole:.1f} GB; give "
            "--memory-gb more, exclude the case, or let preprocess.crop_foreground cut off the air."
        )
    return Plan(data, reasons, max(needed, whole))


def _fit_patch(
    recipe: Recipe, spacing: list[float], median: list[int], budget: float, mixed: bool
) -> tuple[tuple[int, ...], list[Stride]]:
    """The largest patch whose smallest batch fits: a cube in mm clipped to the median case, then shrunk."""
    in_mm = 1 / np.array(spacing)
    cube = in_mm * (_LARGEST_AXIS**3 / in_mm.prod()) ** (1 / 3)
    size = [min(float(n), float(m)) for n, m in zip(cube, median, strict=True)]
    while True:
        strides = strides_for(recipe.network.name, size, spacing)
        step = divisor(strides)
        # A case smaller than the patch is padded, so round up only where that is less than half a step.
        patch = tuple(max(round(n / d), 1) * d for n, d in zip(size, step, strict=True))
        arguments = network_arguments(recipe, spacing, strides)
        if _memory(recipe, arguments, patch, _SMALLEST_BATCH, mixed) <= budget:
            return patch, strides
        # The axis that covers most of its median goes down a step; where all cover alike, the longest.
        able = [axis for axis in range(3) if patch[axis] > max(step[axis], 8)]
        if not able:
            raise RunError(
                f"No patch of {recipe.network.name} trains within {budget / _FILL / GIB:.1f} GB; give --memory-gb "
                "more, or a recipe whose network has fewer filters."
            )
        axis = max(able, key=lambda a: (patch[a] / median[a], patch[a]))
        size = [float(n) for n in patch]
        size[axis] -= step[axis]


def _batch(
    recipe: Recipe,
    arguments: dict[str, Any],
    patch: tuple[int, ...],
    found: Fingerprint,
    median: list[int],
    budget: float,
    mixed: bool,
) -> int:
    """At least 2; more where memory is left, but not more than a small part of the data a step."""
    voxels = float(np.prod(median)) * found.cases
    most = int(np.clip(_PART_OF_DATA * voxels / np.prod(patch), _SMALLEST_BATCH, _LARGEST_BATCH))
    batch = _SMALLEST_BATCH
    while batch < most and _memory(recipe, arguments, patch, batch + 1, mixed) <= budget:
        batch += 1
    return batch


def _memory(recipe: Recipe, arguments: dict[str, Any], patch: tuple[int, ...], batch: int, mixed: bool) -> int:
    return training_memory(recipe.network.name, _complete(recipe, arguments), patch, batch, mixed=mixed)


def _complete(recipe: Recipe, arguments: dict[str, Any]) -> dict[str, Any]:
    return {**arguments, "spatial_dims": 3, "in_channels": 1, "out_channels": len(recipe.labels) + 1}


def _reasons(
    found: Fingerprint,
    median: list[int],
    patch: tuple[int, ...],
    strides: list[Stride],
    batch: int,
    needed: float,
    memory_gb: float,
) -> dict[str, str]:
    """One sentence for each planned section."""
    seen = np.median(found.spacings, axis=0)
    voxel = " x ".join(f"{mm:g}" for mm in np.round(seen, 3))
    share = ", ".join(f"{p / m:.0%}" for p, m in zip(patch, median, strict=True))
    shown = " then ".join("x".join(str(n) for n in stride) for stride in strides)
    return {
        "preprocess": f"{found.cases} cases, median voxel {voxel} mm; percentiles 0.5 and 99.5 inside the labels are "
        f"{found.low:.0f} and {found.high:.0f}.",
        "network": f"{len(strides) + 1} levels, strides {shown or 'none'}: halved until 4 voxels are left.",
        "patch_size": f"The median case has {' x '.join(str(n) for n in median)} voxels; the patch covers {share}.",
        "optimization": f"{batch} patches a step take about {needed:.1f} of {memory_gb:g} GB.",
    }


def memory_at_hand() -> tuple[float, str]:
    """GiB of the first GPU, or else of free main memory, and the precision that suits it.

    Raises:
        RunError: neither is known.
    """
    if torch.cuda.is_available():
        gpu = torch.cuda.get_device_properties(0).total_memory
        return gpu / GIB, "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
    available, total = main_memory()
    known = available or total
    if known is None:
        raise RunError("This machine does not tell its memory; give --memory-gb.")
    return known / GIB, "32-true"
