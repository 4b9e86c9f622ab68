"""A recipe planned from the data and the memory at hand, after nnU-Net.

Isensee et al., nnU-Net: a self-configuring method for deep learning-based biomedical image segmentation, Nature
Methods 18 (2021). The rules for voxel size, levels, patch and batch are those of its supplement; the network is the
recipe's own, and what a patch costs is counted from that network instead of a reference table.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from LiverSegLib.system import main_memory
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
# nnU-Net's rules for its coarse model (3d_lowres): when it is wanted, how voxels grow, and when it is dropped.
_COVERED = 0.25
_STRETCH = 1.03
_ALIKE = 2.0
_WORTH_IT = 2.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A planned recipe and why it is so.

    Args:
        recipe: its data, to be written with `Training.recipe.yaml_text.write_recipe` and the reasons as comments.
        reasons: a sentence for each section of the recipe that was planned.
        memory_gb: estimated peak in GiB, of a training step or of validating the largest case.
        coarse: the plan of a coarse model that sees more of the body at once and tells this one where to look.
    """

    recipe: dict[str, Any]
    reasons: dict[str, str]
    memory_gb: float
    coarse: Plan | None = None


def make_plan(
    recipe: Recipe, cases: Iterable[RawCase], memory_gb: float, precision: str | None = None, *, lowres: bool = False
) -> Plan:
    """Plan a 3D recipe.

    Args:
        recipe: where data, labels, network family, loss and augmentation come from.
        cases: raw cases, training ones where they are known.
        memory_gb: GiB that training may take.
        precision: replaces the recipe's `optimization.precision`.
        lowres: plan a coarse model, too, where the patch covers less than a quarter of the median case.

    Raises:
        RecipeError: a 2D recipe, or a network that cannot be planned.
        DataError: no cases, or none with a label.
        RunError: too little memory.
    """
    _check(recipe)
    return plan_from(recipe, fingerprint(cases, recipe), memory_gb, precision, lowres=lowres)


def plan_from(
    recipe: Recipe, found: Fingerprint, memory_gb: float, precision: str | None = None, *, lowres: bool = False
) -> Plan:
    """Plan a 3D recipe for data of which only a fingerprint is known; else as `make_plan`."""
    _check(recipe)
    precision = precision or recipe.optimization.precision
    planner = _Planner(recipe=recipe, found=found, memory_gb=memory_gb, mixed=precision != "32-true")
    size = planner.fit_patch()
    coarser = planner.coarser(size) if lowres else None
    coarse = None if coarser is None else _plan(coarser, coarser.fit_patch(), precision)
    return replace(_plan(planner, size, precision), coarse=coarse)


def _check(recipe: Recipe) -> None:
    if recipe.spatial_dims != 3:
        raise RecipeError(f"The recipe {recipe.name} is 2D; plans are for 3D recipes.")
    if recipe.network.name not in PLANNED:
        raise RecipeError(f"{recipe.network.name} cannot be planned; use one of {', '.join(PLANNED)}.")


def _plan(planner: _Planner, size: _Size, precision: str) -> Plan:
    """The recipe for patches of this size at the planner's voxel size."""
    recipe, found = planner.recipe, planner.found
    batch = planner.fit_batch(size)
    needed, whole = planner.memory(size, batch) / GIB, planner.validation(size)
    data = recipe_data(recipe)
    data["network"]["arguments"] = size.arguments
    data["preprocess"]["pixdim"] = planner.spacing
    data["preprocess"] |= _intensities(recipe, found)
    data["patch_size"] = list(size.patch)
    data["inference"].update(roi_size=list(size.patch), overlap=0.5)
    data["optimization"].update(batch_size=batch, precision=precision)
    reasons = planner.reasons(size, batch, needed, whole)
    return Plan(recipe=data, reasons=reasons, memory_gb=max(needed, whole))


def _intensities(recipe: Recipe, found: Fingerprint) -> dict[str, Any]:
    """What the intensities are planned to be: nnU-Net's one window of CT, and its z-score of each MR image.

    The phases of a CT share their window, so that it holds those of all of them. A window that is meant for one image
    suits no two sequences.
    """
    if recipe.in_hounsfield:
        low, high = round(min(low for low, _ in found.ranges)), round(max(high for _, high in found.ranges))
        return {"window": [low, max(high, low + 1)]}
    if recipe.in_channels > 1 and recipe.preprocess.normalize == "window":
        return {"normalize": "zscore"}
    return {}


@dataclass(frozen=True)
class _Size:
    """A patch in voxels, the strides of the levels that it is halved through, and the network's arguments for them."""

    patch: tuple[int, ...]
    strides: list[Stride]
    arguments: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Planner:
    """The rules, for one recipe, one data set and one machine.

    Args:
        recipe: what is planned.
        found: the data set.
        memory_gb: GiB that training may take.
        mixed: half precision in the forward pass.
        stretched: voxel size in mm of a coarse model; None for the one that suits the data.
    """

    recipe: Recipe
    found: Fingerprint
    memory_gb: float
    mixed: bool
    stretched: tuple[float, ...] | None = None

    @cached_property
    def spacing(self) -> list[float]:
        """Voxel size in mm."""
        return target_spacing(self.found) if self.stretched is None else [round(float(mm), 3) for mm in self.stretched]

    def covers(self, size: _Size) -> float:
        """The part of the median case that a patch shows, at this voxel size."""
        return float(np.prod(size.patch) / np.prod(self.median))

    def coarser(self, size: _Size) -> _Planner | None:
        """The planner of a coarse model: voxels are stretched, a fine axis first, until a patch covers enough.

        None where a patch of `size` covers enough, or where so little is stretched that it would hardly differ.
        """
        at, planner, mm = size, self, np.array(self.spacing)
        while planner.covers(at) < _COVERED:
            fine = mm.max() / mm > _ALIKE
            mm = mm * np.where(fine if fine.any() else True, _STRETCH, 1.0)
            planner = replace(self, stretched=tuple(mm))
            at = planner.fit_patch()
        fewer = np.prod(self.median) / np.prod(planner.median)
        return None if planner is self or fewer < _WORTH_IT else planner

    @cached_property
    def median(self) -> list[int]:
        """Voxels of the median case at that size."""
        return median_shape(self.found, self.spacing)

    def memory(self, size: _Size, batch: int) -> int:
        """Bytes of a training step."""
        name, arguments = self.recipe.network.name, self._complete(size.arguments)
        return training_memory(name, arguments, size.patch, batch, mixed=self.mixed)

    def _fits(self, size: _Size, batch: int) -> bool:
        return self.memory(size, batch) <= self.memory_gb * _FILL * GIB

    def _complete(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {
            **arguments,
            "spatial_dims": 3,
            "in_channels": self.recipe.in_channels,
            "out_channels": len(self.recipe.labels) + 1,
        }

    def fit_patch(self) -> _Size:
        """The largest patch whose smallest batch fits: a cube in mm clipped to the median case, then shrunk."""
        in_mm = 1 / np.array(self.spacing)
        cube = in_mm * (_LARGEST_AXIS**3 / in_mm.prod()) ** (1 / 3)
        wanted = [min(float(n), float(m)) for n, m in zip(cube, self.median, strict=True)]
        while True:
            strides = strides_for(self.recipe.network.name, wanted, self.spacing)
            step = divisor(strides)
            # A case smaller than the patch is padded, so round up only where that is less than half a step.
            patch = tuple(max(round(n / d), 1) * d for n, d in zip(wanted, step, strict=True))
            size = _Size(patch, strides, network_arguments(self.recipe, self.spacing, strides))
            if self._fits(size, _SMALLEST_BATCH):
                return size
            # The axis that covers most of its median goes down a step; where all cover alike, the longest.
            able = [axis for axis in range(3) if patch[axis] > max(step[axis], 8)]
            if not able:
                raise RunError(
                    f"No patch of {self.recipe.network.name} trains within {self.memory_gb:.1f} GB; give --memory-gb "
                    "more, or a recipe whose network has fewer filters."
                )
            axis = max(able, key=lambda a: (patch[a] / self.median[a], patch[a]))
            wanted = [float(n) for n in patch]
            wanted[axis] -= step[axis]

    def fit_batch(self, size: _Size) -> int:
        """At least 2; more where memory is left, but not more than a small part of the data a step."""
        voxels = float(np.prod(self.median)) * len(self.found.spacings)
        most = int(np.clip(_PART_OF_DATA * voxels / np.prod(size.patch), _SMALLEST_BATCH, _LARGEST_BATCH))
        batch = _SMALLEST_BATCH
        while batch < most and self._fits(size, batch + 1):
            batch += 1
        return batch

    @cached_property
    def largest(self) -> int:
        """Voxels of the largest case at that size."""
        return round(float(self.found.resampled(self.spacing).prod(axis=1).max()))

    def validation(self, size: _Size) -> float:
        """GiB that validating the largest case takes.

        Raises:
            RunError: more than there is.
        """
        arguments = self._complete(size.arguments)
        whole = validation_memory(self.recipe.network.name, arguments, self.largest) / GIB
        if whole > self.memory_gb:
            raise RunError(
                f"{self._validating(whole)}; give --memory-gb more, exclude the case, or let "
                "preprocess.crop_foreground cut off the air."
            )
        return whole

    def _validating(self, whole: float) -> str:
        million = self.largest / 1e6
        return f"Validating the largest case, {million:.0f} million voxels, takes about {whole:.1f} GB"

    def _percentiles(self) -> str:
        """Those of each channel, in a recipe of several with its name."""
        names = [f" ({name})" for name in self.recipe.channels] if self.recipe.in_channels > 1 else [""]
        pairs = zip(self.found.ranges, names, strict=True)
        return ", ".join(f"{low:.0f} and {high:.0f}{name}" for (low, high), name in pairs)

    def reasons(self, size: _Size, batch: int, needed: float, whole: float) -> dict[str, str]:
        """One sentence for each planned section; `needed` and `whole` are GiB of a step and of a validation."""
        found, strides = self.found, size.strides
        voxel = " x ".join(f"{mm:g}" for mm in np.round(np.median(found.spacings, axis=0), 3))
        share = ", ".join(f"{p / m:.0%}" for p, m in zip(size.patch, self.median, strict=True))
        shown = " then ".join("x".join(str(n) for n in stride) for stride in strides)
        median = " x ".join(str(n) for n in self.median)
        return {
            "preprocess": f"{len(found.spacings)} cases, median voxel {voxel} mm; percentiles 0.5 and 99.5 inside the "
            f"labels are {self._percentiles()}.",
            "network": f"{len(strides) + 1} levels, strides {shown or 'none'}: halved until 4 voxels are left.",
            "patch_size": f"The median case has {median} voxels; the patch covers {share}, "
            f"{self.covers(size):.0%} of it in all.",
            "optimization": f"{batch} patches a step take about {needed:.1f} of {self.memory_gb:g} GB.",
            "inference": f"{self._validating(whole)}.",
        }


def memory_at_hand() -> tuple[float, str]:
    """GiB of the first GPU, or else of free main memory, and the precision that suits it.

    Raises:
        RunError: neither is known.
    """
    if torch.cuda.is_available():
        gpu = torch.cuda.get_device_properties(0).total_memory
        return gpu / GIB, "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
    memory = main_memory()
    known = memory.available or memory.total
    if known is None:
        raise RunError("This machine does not tell its memory; give --memory-gb.")
    return known / GIB, "32-true"
