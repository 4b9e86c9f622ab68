"""Recipes: everything that makes a model, as data, checked before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from LiverSegLib.errors import LiverSegError
from LiverSegLib.networks import reduction
from Training.options import (
    CT_ONLY,
    Augment,
    Card,
    Inference,
    Loss,
    Network,
    Optimization,
    Part,
    Preprocess,
    Sampling,
    Split,
)
from Training.sources import Source

CONFIGS = Path(__file__).parent / "configs"
_TWO_D_ONLY = (".png", ".jpg", ".jpeg", ".bmp")


class RecipeError(LiverSegError):
    """A recipe that cannot be run; the sentence names the key."""


class Recipe(Part):
    """One model, from raw data to package.

    `labels`: what the network segments, numbered 1, 2, ...; 0 is background. `modality`: CT, MR, DX (X-ray) or "".
    """

    name: str
    spatial_dims: Literal[2, 3]
    modality: Literal["CT", "MR", "DX", ""] = "CT"
    labels: dict[int, str] = Field(min_length=1)
    sources: list[Source] = Field(min_length=1)
    split: Split = Split()
    seed: int = 0
    preprocess: Preprocess
    network: Network
    patch_size: tuple[int, ...]
    sampling: Sampling = Sampling()
    augment: Augment = Augment()
    loss: Loss = Loss()
    optimization: Optimization
    inference: Inference
    card: Card

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        dims, classes = self.spatial_dims, len(self.labels) + 1
        if len(self.patch_size) != dims or len(self.inference.roi_size) != dims:
            raise ValueError(f"patch_size and inference.roi_size need {dims} numbers for spatial_dims {dims}")
        if sorted(self.labels) != list(range(1, classes)):
            raise ValueError("labels must be numbered 1, 2, ... without gaps")
        wanted = {"spatial_dims": dims, "in_channels": 1, "out_channels": classes}
        for key, value in wanted.items():
            if self.network.arguments.get(key, value) != value:
                raise ValueError(f"network.arguments.{key} must be {value} for these labels and dimensions")
        if self.loss.class_weights is not None and len(self.loss.class_weights) != classes:
            raise ValueError(f"loss.class_weights needs {classes} numbers, the background's first")
        unknown = next((value for value in self.sampling.labels if value not in range(classes)), None)
        if unknown is not None:
            raise ValueError(f"sampling.labels names label {unknown}, which labels does not have")
        self._check_sources()
        self._check_augment()
        return self

    def _check_sources(self) -> None:
        names = [source.name for source in self.sources]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two sources are called {twice!r}")
        for source in self.sources:
            for value in sorted(source.targets):
                if value not in self.labels:
                    raise ValueError(f"source {source.name!r} maps to label {value}, which labels does not have")
            pictures = source.kind == "files" and source.image.lower().endswith(_TWO_D_ONLY) and source.slab == 0
            if self.spatial_dims == 3 and pictures:
                raise ValueError(
                    f"source {source.name!r} holds single slices, which a 3D recipe uses only as slabs (set slab to mm)"
                )
            for hidden, shown in source.undivided.items():
                if hidden not in self.labels or shown not in self.labels or hidden == shown:
                    raise ValueError(f"source {source.name!r}: undivided {hidden}: {shown} needs two of the labels")

    def _check_augment(self) -> None:
        if self.preprocess.normalize == "window" and self.modality == "CT":
            return
        on = next((key for key in CT_ONLY if getattr(self.augment, key) > 0), None)
        if on is not None:
            raise ValueError(f"augment.{on} works in Hounsfield units; set it to 0 for this modality or normalize")

    def network_arguments(self) -> dict[str, Any]:
        """The network's keyword arguments with dimensions and channels filled in."""
        fixed = {"spatial_dims": self.spatial_dims, "in_channels": 1, "out_channels": len(self.labels) + 1}
        return {**self.network.arguments, **fixed}

    def divisible(self) -> tuple[int, int, int]:
        """What the grid is padded to multiples of when whole slices or volumes go through the network at once."""
        if -1 not in self.inference.roi_size:
            return 1, 1, 1
        x, y, *z = reduction(self.network.name, self.network_arguments())
        return x, y, z[0] if z else 1


def load_recipe(path_or_name: str | Path, overrides: list[str] | None = None) -> Recipe:
    """Read a recipe by file path or by the name of one in Training/configs.

    Args:
        path_or_name: "liver2d_starter" or "my/recipe.yaml".
        overrides: "optimization.max_epochs=3"; values are YAML.

    Raises:
        RecipeError: the file is missing, is no YAML, or has an unknown or impossible key.
    """
    path = Path(path_or_name)
    if not path.suffix:
        path = CONFIGS / f"{path_or_name}.yaml"
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        known = ", ".join(sorted(p.stem for p in CONFIGS.glob("*.yaml")))
        raise RecipeError(f"There is no recipe {path_or_name}; name a YAML file or one of {known}.") from error
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise RecipeError(f"The recipe {path} cannot be read as YAML: {error}") from error
    for override in overrides or []:
        _override(data, override)
    return parse_recipe(data, str(path))


def parse_recipe(data: Any, where: str) -> Recipe:
    """Validate recipe data; `where` names it in the error.

    Raises:
        RecipeError: one sentence a wrong key.
    """
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the recipe"
        message = "is not a key that recipes have" if first["type"] == "extra_forbidden" else first["msg"]
        raise RecipeError(f"{where}: {key}: {message}") from error


def _override(data: Any, override: str) -> None:
    key, equals, text = override.partition("=")
    *parents, last = key.split(".")
    if not equals or not last:
        raise RecipeError(f"--set {override!r} is not of the form key=value.")
    for part in parents:
        if not isinstance(data, dict) or part not in data:
            raise RecipeError(f"--set {override!r}: the recipe has no key {part!r}.")
        data = data[part]
    if not isinstance(data, dict):
        raise RecipeError(f"--set {override!r}: {'.'.join(parents)} has no keys.")
    data[last] = yaml.safe_load(text)
