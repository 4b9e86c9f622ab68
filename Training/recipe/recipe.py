"""Recipes: everything that makes a model, as data, checked before anything runs."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError, model_validator

from LiverSegLib.errors import LiverSegError
from LiverSegLib.models.intensity import ScaleRange
from LiverSegLib.networks import reduction
from Training.recipe import options
from Training.recipe.regions import names_users_see
from Training.recipe.safe_yaml import YamlError, parse_yaml, read_yaml
from Training.recipe.sources import IGNORE, Source

CONFIGS = Path(__file__).parents[1] / "configs"
CT_AIR = -1000.0
_TWO_D_ONLY = (".png", ".jpg", ".jpeg", ".bmp")
_EXTENDS = "extends"
_MOST_BASES = 4


class RecipeError(LiverSegError):
    """A recipe that cannot be run; the sentence names the key."""


class Recipe(options.Part):
    """One model, from raw data to package.

    `channels`: the images of a case, such as [T1, T2], in the order that the network takes them; empty for one image.
    `labels`: what the network segments, numbered 1, 2, ...; 0 is background. `modality`: CT, MR, DX (X-ray) or "".
    """

    name: str
    spatial_dims: Literal[2, 3]
    modality: Literal["CT", "MR", "DX", ""] = "CT"
    channels: list[str] = Field(default=[])
    labels: dict[int, str] = Field(min_length=1)
    sources: list[Source] = Field(min_length=1)
    split: options.Split = options.Split()
    seed: int = Field(default=0, ge=0, lt=2**32)
    preprocess: options.Preprocess
    network: options.Network
    patch_size: tuple[int, ...]
    sampling: options.Sampling = options.Sampling()
    augment: options.Augment = options.Augment()
    loss: options.Loss = options.Loss()
    optimization: options.Optimization
    inference: options.Inference
    card: options.Card

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        dims, classes = self.spatial_dims, len(self.labels) + 1
        if len(self.patch_size) != dims or len(self.inference.roi_size) != dims:
            raise ValueError(f"patch_size and inference.roi_size need {dims} numbers for spatial_dims {dims}")
        if sorted(self.labels) != list(range(1, classes)):
            raise ValueError("labels must be numbered 1, 2, ... without gaps")
        if len(names_users_see(self.labels)) < len(self.labels):
            raise ValueError("two labels have the same name (cancer is another word for tumor); rename one")
        wanted = {"spatial_dims": dims, "in_channels": self.in_channels, "out_channels": classes}
        for key, value in wanted.items():
            if self.network.arguments.get(key, value) != value:
                raise ValueError(f"network.arguments.{key} must be {value} for these labels and dimensions")
        if self.loss.class_weights is not None and len(self.loss.class_weights) != classes:
            raise ValueError(f"loss.class_weights needs {classes} numbers, the background's first")
        unknown = next((value for value in self.sampling.labels if value not in range(classes)), None)
        if unknown is not None:
            raise ValueError(f"sampling.labels names label {unknown}, which labels does not have")
        if len({*self.channels}) < len(self.channels):
            raise ValueError("two channels have the same name; rename one")
        if dims == 2 and self.preprocess.crop_or_pad is not None and self.preprocess.crop_or_pad[2] > 0:
            raise ValueError("preprocess.crop_or_pad needs -1 for the third axis in 2D: slices are not made of air")
        self._check_sources()
        self._check_augment()
        return self

    def _check_sources(self) -> None:
        names = [source.name for source in self.sources]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two sources are called {twice!r}")
        for source in self.sources:
            for value in sorted(source.targets - {0, IGNORE}):  # 0 sends a value to the background
                if value not in self.labels:
                    raise ValueError(f"source {source.name!r} maps to label {value}, which labels does not have")
            pictures = source.kind == "files" and source.image.lower().endswith(_TWO_D_ONLY) and source.slab == 0
            if self.spatial_dims == 3 and pictures:
                raise ValueError(
                    f"source {source.name!r} holds single slices, which a 3D recipe uses only as slabs (set slab to mm)"
                )
            if source.undivided and self.loss.activation == "sigmoid":
                raise ValueError(f"source {source.name!r} has undivided labels, which need loss.activation: softmax")
            for hidden, shown in source.undivided.items():
                if hidden not in self.labels or shown not in {0, *self.labels} or hidden == shown:
                    raise ValueError(f"source {source.name!r}: undivided {hidden}: {shown} needs two of the labels")

    def _check_augment(self) -> None:
        on = next((key for key in options.CT_ONLY if getattr(self.augment, key) > 0), None)
        if on is not None and len(self.channels) > 1:
            raise ValueError(f"augment.{on} paints into one CT; set it to 0 for several channels")
        if on is not None and not self.in_hounsfield:
            raise ValueError(f"augment.{on} works in Hounsfield units; set it to 0 for this modality or normalize")

    @property
    def in_channels(self) -> int:
        """How many images a case is made of."""
        return max(1, len(self.channels))

    @property
    def in_hounsfield(self) -> bool:
        """Whether prepared images hold HU: those of CT, before the window."""
        return self.modality == "CT" and isinstance(self.preprocess.intensity, ScaleRange)

    @property
    def air(self) -> float:
        """The value, in prepared images, of what lies outside an image."""
        return CT_AIR if self.in_hounsfield else self.preprocess.intensity.outside

    def network_arguments(self) -> dict[str, Any]:
        """The network's keyword arguments with dimensions and channels filled in."""
        fixed = {
            "spatial_dims": self.spatial_dims,
            "in_channels": self.in_channels,
            "out_channels": len(self.labels) + 1,
        }
        return {**self.network.arguments, **fixed}

    def divisible(self) -> tuple[int, int, int]:
        """What the grid is padded to multiples of when whole slices or volumes go through the network at once."""
        if -1 not in self.inference.roi_size:
            return 1, 1, 1
        x, y, *z = reduction(self.network.name, self.network_arguments())
        return x, y, z[0] if z else 1


def load_recipe(path_or_name: str | Path, overrides: list[str] | None = None) -> Recipe:
    """Read a recipe by file path or by the name of one in Training/configs.

    A recipe that says `extends: NAME` is that other one, a name or a file beside it, with what it says itself: its
    sections are taken key by key, everything else as a whole.

    Args:
        path_or_name: "liver2d_starter" or "my/recipe.yaml".
        overrides: "optimization.max_epochs=3"; values are YAML.

    Raises:
        RecipeError: the file is missing, is no YAML, or has an unknown or impossible key.
    """
    path = _recipe_file(path_or_name)
    data = _extended(path, path_or_name)
    for override in overrides or []:
        _override(data, override)
    return parse_recipe(data, str(path))


def _recipe_file(path_or_name: str | Path) -> Path:
    path = Path(path_or_name)
    return path if path.suffix else CONFIGS / f"{path_or_name}.yaml"


def _extended(path: Path, called: str | Path, depth: int = 0) -> Any:
    """The content of a recipe file with that of the recipes which it extends."""
    try:
        data = read_yaml(path)
    except FileNotFoundError as error:
        known = ", ".join(sorted(p.stem for p in CONFIGS.glob("*.yaml")))
        raise RecipeError(f"There is no recipe {called}; name a YAML file or one of {known}.") from error
    except YamlError as error:
        raise RecipeError(f"The recipe {path} cannot be read as YAML: {error}.") from error
    if not isinstance(data, dict) or _EXTENDS not in data:
        return data
    base = data.pop(_EXTENDS)
    if not isinstance(base, str) or not base or depth >= _MOST_BASES:
        raise RecipeError(f"{path}: {_EXTENDS} needs the name of one recipe that does not lead back here.")
    beside = _recipe_file(base)
    found = _extended(beside if beside.is_absolute() else path.parent / beside, base, depth + 1)
    return _merged(found, data) if isinstance(found, dict) else found


def _merged(base: dict[Any, Any], own: dict[Any, Any]) -> dict[Any, Any]:
    merged = {**base, **own}
    for key in base.keys() & own.keys():
        if _section((key,)) is not None and isinstance(base[key], dict) and isinstance(own[key], dict):
            merged[key] = {**base[key], **own[key]}
    return merged


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
        if first["type"] == "extra_forbidden":
            message = f"is not a key that recipes have{_instead(first['loc'])}"
        elif first["type"] == "value_error":  # a sentence of ours
            message = str(first["ctx"]["error"])
        else:
            message = first["msg"]
        raise RecipeError(f"{where}: {key}: {' '.join(message.split())}") from error
    except RecursionError as error:
        raise RecipeError(f"{where}: lists and keys lie too deep for a recipe.") from error


def _instead(place: tuple[int | str, ...]) -> str:
    """What a mistyped key may have meant."""
    section = _section(place[:-1])
    known = list(section.model_fields) if section is not None else []
    alike = difflib.get_close_matches(str(place[-1]), known, 1)
    return f"; did you mean {alike[0]}?" if alike else ""


def _section(place: Iterable[int | str]) -> type[BaseModel] | None:
    """The schema of the section at `place`; None where it is no section, or one of several kinds."""
    section: type[BaseModel] = Recipe
    for part in place:
        field = section.model_fields.get(str(part))
        if field is None or not isinstance(field.annotation, type) or not issubclass(field.annotation, BaseModel):
            return None
        section = field.annotation
    return section


def _override(data: Any, override: str) -> None:
    """Set one key; sections on the way that the file leaves to their defaults are made, unknown keys are refused later.

    Raises:
        RecipeError: not of the form key=value, no YAML, or below a value that has no keys.
    """
    key, equals, text = override.partition("=")
    *parents, last = key.strip().split(".")
    if not equals or not all((*parents, last)):
        raise RecipeError(f"--set {override!r} is not of the form key=value.")
    if not isinstance(data, dict):
        raise RecipeError(f"--set {override!r}: the recipe has no keys.")
    for depth, part in enumerate(parents):
        at = _key_in(data, part)
        if data.get(at) is None:
            data[at] = {}
        if not isinstance(data[at], dict):
            raise RecipeError(f"--set {override!r}: {'.'.join(parents[: depth + 1])} has no keys; set it as a whole.")
        data = data[at]
    try:
        data[_key_in(data, last)] = parse_yaml(text)
    except YamlError as error:
        raise RecipeError(f"--set {override!r}: the value cannot be read as YAML: {error}.") from error


def _key_in(data: dict[Any, Any], part: str) -> int | str:
    """The key that a part of a path means: labels and values of files are numbers."""
    return int(part) if part.isdecimal() and len(part) < 10 and (int(part) in data or not data) else part
