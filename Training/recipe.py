"""Recipes: everything that makes a model, as data, checked before anything runs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from LiverSegLib.errors import LiverSegError
from LiverSegLib.networks import canonical_name, check_arguments

CONFIGS = Path(__file__).parent / "configs"
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Range = tuple[float, float]


class RecipeError(LiverSegError):
    """A recipe that cannot be run; the sentence names the key."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SlicesSource(_Part):
    """2D PNG or JPEG slices with masks of the same file name, `<how>_<patient>_<slice>.jpg`.

    `window` is the HU range that the 8-bit values 0 to 255 stand for.
    """

    kind: Literal["slices"]
    name: str
    images: str
    masks: str
    window: Range = (0.0, 250.0)
    weight: Positive = 1.0


class DicomSlicesSource(_Part):
    """2D DICOM slices with DICOM masks of the same file name, `<patient>_<slice>.dcm`."""

    kind: Literal["dicom_slices"]
    name: str
    images: str
    masks: str
    labels: dict[int, int]
    weight: Positive = 1.0


class MsdSource(_Part):
    """A Medical Segmentation Decathlon folder with dataset.json; `labels` maps its values to ours."""

    kind: Literal["msd"]
    name: str
    folder: str
    labels: dict[int, int]
    weight: Positive = 1.0


class EmptySource(_Part):
    """A part of a volume that shows nothing of what is segmented: its slices `slices[0]` to `slices[1] - 1` along k.

    Slices without the organ teach a 2D network what is not liver below and above it.
    """

    kind: Literal["empty"]
    name: str
    image: str
    slices: tuple[int, int]
    weight: Positive = 1.0


class PhantomSource(_Part):
    """Procedural abdomens, made on the spot."""

    kind: Literal["phantom"]
    name: str = "phantom"
    count: int = Field(ge=1)
    seed: int = 0
    labels: dict[int, int] = {1: 1, 2: 1}
    hard_fraction: Fraction = 0.5
    weight: Positive = 1.0


Source = Annotated[
    SlicesSource | DicomSlicesSource | MsdSource | EmptySource | PhantomSource, Field(discriminator="kind")
]


class Preprocess(_Part):
    """Axis order, voxel size (mm; a value <= 0 keeps the image's) and HU window of the network's input."""

    axcodes: str = "LPS"
    pixdim: tuple[float, float, float] = (1.5, 1.5, -1.0)
    window: Range = (-40.0, 240.0)


class Network(_Part):
    """A MONAI network by name with its keyword arguments."""

    name: str
    arguments: dict[str, Any]

    @model_validator(mode="after")
    def _known(self) -> Network:
        try:
            check_arguments(canonical_name(self.name), self.arguments)
        except LiverSegError as error:
            raise ValueError(str(error)) from error
        return self


class Augment(_Part):
    """Probabilities and ranges of the augmentation; HU and pixels where not said otherwise."""

    rotate_degrees: float = 20.0
    any_rotation: Fraction = 0.0
    scale: Range = (0.8, 1.25)
    shift: float = 16.0
    shear: float = 0.08
    affine: Fraction = 0.9
    elastic: Fraction = 0.2
    contrast: Fraction = 0.5
    organ_contrast: Fraction = 0.4
    lesion: Fraction = 0.25
    mass: Fraction = 0.2
    fluid: Fraction = 0.15
    arms: Fraction = 0.1
    crop_field: Fraction = 0.1
    blur: Fraction = 0.25
    low_resolution: Fraction = 0.15
    noise: Fraction = 0.4


class Optimization(_Part):
    """How the weights are found: AdamW, one-cycle learning rate, exponential moving average of weights."""

    max_epochs: int = Field(ge=1)
    samples_per_epoch: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    learning_rate: Positive = 2e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    ema_decay: Fraction = 0.999
    gradient_clip: Positive = 5.0
    validate_every: int = Field(default=1, ge=1)
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"


class Inference(_Part):
    """The sliding window that evaluation and the exported package use."""

    roi_size: tuple[int, ...]
    # Where it differs from training's, for example because the training slices do not tell their pixel size.
    pixdim: tuple[float, float, float] | None = None
    overlap: Annotated[float, Field(ge=0, lt=1)] = 0.25
    batch_size: int = Field(default=4, ge=1)


class Card(_Part):
    """What the model card says of the model and what no number can tell."""

    title: str
    version: str
    license: str
    data_source: str
    intended_use: str
    limits: str
    history: str = ""
    changelog: dict[str, str] = {}


class Recipe(_Part):
    """One model, from raw data to package."""

    name: str
    spatial_dims: Literal[2, 3]
    labels: dict[int, str]
    sources: list[Source] = Field(min_length=1)
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    seed: int = 0
    preprocess: Preprocess
    network: Network
    patch_size: tuple[int, ...]
    augment: Augment = Augment()
    optimization: Optimization
    inference: Inference
    card: Card

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        dims = self.spatial_dims
        if len(self.patch_size) != dims or len(self.inference.roi_size) != dims:
            raise ValueError(f"patch_size and inference.roi_size need {dims} numbers for spatial_dims {dims}")
        if sorted(self.labels) != list(range(1, len(self.labels) + 1)):
            raise ValueError("labels must be numbered 1, 2, ... without gaps")
        wanted = {"spatial_dims": dims, "in_channels": 1, "out_channels": len(self.labels) + 1}
        for key, value in wanted.items():
            if self.network.arguments.get(key, value) != value:
                raise ValueError(f"network.arguments.{key} must be {value} for these labels and dimensions")
        for source in self.sources:
            if dims == 3 and source.kind in ("slices", "dicom_slices"):
                raise ValueError(f"source {source.name!r} holds single slices, which a 3D recipe cannot use")
            for value in getattr(source, "labels", {}).values():
                if value not in self.labels:
                    raise ValueError(f"source {source.name!r} maps to label {value}, which labels does not have")
        return self

    def network_arguments(self) -> dict[str, Any]:
        """The network's keyword arguments with dimensions and channels filled in."""
        fixed = {"spatial_dims": self.spatial_dims, "in_channels": 1, "out_channels": len(self.labels) + 1}
        return {**self.network.arguments, **fixed}

    def divisible(self) -> tuple[int, int, int]:
        """What the grid is padded to multiples of when whole slices or volumes go through the network at once."""
        if -1 not in self.inference.roi_size:
            return 1, 1, 1
        strides = self.network.arguments.get("strides", [2] * 5)
        factor = math.prod(max(s) if isinstance(s, list) else s for s in strides)
        return factor, factor, factor if self.spatial_dims == 3 else 1


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
