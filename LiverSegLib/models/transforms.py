"""The transforms and inferers that a package may ask for, interpreted; anything else is refused by name."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from LiverSegLib.engine.intensity import Intensity
from LiverSegLib.errors import ModelError
from LiverSegLib.models import transform_arguments as read
from LiverSegLib.models.config import BundleConfig
from LiverSegLib.models.text import one_line, shown

# These load, reshape or type; our engine does so anyway.
_PLUMBING = {"LoadImaged", "EnsureChannelFirstd", "EnsureTyped", "CastToTyped", "ToTensord", "ToDeviced"}
_POST_PLUMBING = {"EnsureTyped", "SaveImaged", "ToTensord", "CastToTyped"}
# Arguments that would change the numbers; without them the transforms are those that we have.
_MAX_STEPS = 64
_MAX_WINDOW = 1024
_MAX_WINDOW_VOXELS = 1 << 26
"""No network is run on larger windows: 1024x1024x64."""
_MAX_OVERLAP = 0.95
_UNSUPPORTED = ("as_closest_canonical", "diagonal", "scale_extent", "min_pixdim", "max_pixdim", "relative", "factor")


@dataclass(frozen=True)
class Inferer:
    """The sliding window: size in model voxels (2 or 3 numbers), overlap 0 to 1, blending, padding."""

    roi_size: tuple[int, ...]
    overlap: float = 0.25
    gaussian: bool = True
    batch_size: int = 1
    padding: str = "constant"


@dataclass(frozen=True)
class Preprocessing:
    """Model grid and intensity steps."""

    axcodes: str
    pixdim: tuple[float, float, float]
    intensity: tuple[Intensity, ...]
    divisible: tuple[int, int, int] = (1, 1, 1)
    size: tuple[int, int, int] = (-1, -1, -1)


def read_preprocessing(config: BundleConfig) -> Preprocessing:
    """Interpret the package's `preprocessing` transforms.

    Raises:
        ModelError: names the transform or argument that is not supported.
    """
    axcodes, pixdim, size = "RAS", (-1.0, -1.0, -1.0), (-1, -1, -1)
    intensity: list[Intensity] = []
    divisible = (1, 1, 1)
    for name, arguments in _steps(config, "preprocessing"):
        unsupported = next((a for a in _UNSUPPORTED if arguments.get(a)), None)
        if unsupported:
            raise ModelError(f"{config.source} asks for {unsupported} of {name}, which is not supported.")
        try:
            if name in _PLUMBING:
                continue
            if name == "Orientationd":
                axcodes = read.axcodes(arguments["axcodes"])
            elif name == "Spacingd":
                pixdim = read.pixdim(arguments)
            elif name == "Resized":
                size = read.size(arguments)
            elif name == "DivisiblePadd":
                divisible = read.divisible(arguments)
            elif name in read.INTENSITY:
                intensity.append(read.INTENSITY[name](arguments))
            else:
                raise ModelError(
                    f"{config.source} asks for the transform {one_line(name, 60)}, which is not supported."
                )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise _wrong(config, name, error) from error
    if any(n > 0 and mm > 0 for n, mm in zip(size, pixdim, strict=True)):
        raise ModelError(f"{config.source} asks for both a spacing and a size of one axis, which is not supported.")
    return Preprocessing(axcodes, pixdim, tuple(intensity), divisible, size)


def read_postprocessing(config: BundleConfig) -> tuple[bool, bool]:
    """Whether probabilities, and whether labels (nearest neighbour), are what is brought back.

    Raises:
        ModelError: names the transform that is not supported.
    """
    softmax = nearest = inverted = False
    if "postprocessing" not in config:
        return softmax, nearest
    for name, arguments in _steps(config, "postprocessing"):
        if name == "Activationsd":
            if arguments.get("sigmoid"):
                raise ModelError(f"{config.source} ends in sigmoid channels; only softmax classes are supported.")
            softmax = softmax or (bool(arguments.get("softmax")) and not inverted)
        elif name == "AsDiscreted":
            if not arguments.get("argmax"):
                raise ModelError(f"{config.source} ends in thresholds; only argmax classes are supported.")
            nearest = nearest or not inverted
        elif name == "Invertd":
            inverted = True
            interpolation = arguments.get("nearest_interp", True)  # MONAI's default
            if isinstance(interpolation, list) and interpolation:
                interpolation = interpolation[0]
            nearest = nearest or bool(interpolation)
        elif name not in _POST_PLUMBING and name != "KeepLargestConnectedComponentd":
            raise ModelError(f"{config.source} asks for the transform {one_line(name, 60)}, which is not supported.")
    return softmax, nearest and inverted


def read_inferer(config: BundleConfig) -> Inferer:
    """Interpret the package's sliding window.

    Raises:
        ModelError: another inferer, or impossible numbers.
    """
    found = config.data.get("inferer")
    # The window's device and progress are ours to choose; their expressions are never looked at.
    wanted = (
        "_target_",
        "roi_size",
        "sw_batch_size",
        "overlap",
        "mode",
        "padding_mode",
        "spatial_dim",
        "sigma_scale",
        "cval",
    )
    if not isinstance(found, dict):
        raise ModelError(f"{config.source} has no inferer; it is not a package that can be run.")
    arguments = config.resolve({k: v for k, v in found.items() if k in wanted}, "inferer")
    name = _short_name(str(arguments.get("_target_", "")), config)
    if name not in ("SlidingWindowInferer", "SliceInferer"):
        raise ModelError(
            f"{config.source} asks for the inferer {one_line(name or 'nothing', 60)}, which is not supported."
        )
    dims = 2 if name == "SliceInferer" else 3
    try:
        roi = _window(arguments["roi_size"], dims)
        overlap = _overlap(arguments.get("overlap", 0.25))
        batch = read.whole(arguments.get("sw_batch_size", 1), "sw_batch_size", 1, 256)
        dim = read.whole(arguments.get("spatial_dim", 0), "spatial_dim", 0, 2)  # MONAI's default
        blending = _one_of(arguments, "mode", ("constant", "gaussian"))
        padding = _one_of(arguments, "padding_mode", ("constant", "replicate", "reflect", "circular"))
        if arguments.get("sigma_scale", 0.125) != 0.125 or arguments.get("cval", 0) != 0:
            raise ValueError("only a sigma_scale of 0.125 and a cval of 0 are supported")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise _wrong(config, "the inferer", error) from error
    if dims == 2 and dim != 2:
        raise ModelError(f"{config.source} slices along axis {dim}; only the last axis (2) is supported.")
    return Inferer(roi, overlap, blending == "gaussian", batch, padding)


def _wrong(config: BundleConfig, what: str, error: Exception) -> ModelError:
    return ModelError(f"{config.source}: {what} has a missing or wrong argument: {one_line(error, 300)}.")


def _window(value: Any, dims: int) -> tuple[int, ...]:
    """Size of the sliding window in voxels; -1 means the whole image along that axis."""
    if not isinstance(value, list) or len(value) != dims:
        raise ValueError(f"the window roi_size {shown(value)} is impossible, it needs {dims} sizes")
    roi = tuple(read.whole(n, "roi_size", -1, _MAX_WINDOW) for n in value)
    if 0 in roi or math.prod(abs(n) for n in roi) > _MAX_WINDOW_VOXELS:
        raise ValueError(f"the window {roi} of roi_size is impossible, it has none or too many voxels")
    return roi


def _overlap(value: Any) -> float:
    """How much of a window its neighbour covers; of several numbers the largest."""
    numbers = value if isinstance(value, list) and value else [value]
    return max(read.number(float(n) if type(n) is int else n, "overlap", 0, _MAX_OVERLAP) for n in numbers)


def _one_of(arguments: dict[str, Any], key: str, known: tuple[str, ...]) -> str:
    """The argument `key`, one of `known`, of which the first is MONAI's default."""
    value = str(arguments.get(key, known[0])).lower()
    if value not in known:
        raise ValueError(f"{key} {shown(value)} is none of {', '.join(known)}")
    return value


def _short_name(target: str, config: BundleConfig) -> str:
    """The class name of a _target_, which must be MONAI's own."""
    module, _, name = target.rpartition(".")
    if module and module.partition(".")[0] != "monai":
        raise ModelError(f"{config.source} asks for {one_line(target, 60)}, which is not supported.")
    return name


def _steps(config: BundleConfig, key: str) -> list[tuple[str, dict[str, Any]]]:
    found = config.data.get(key)
    if not isinstance(found, dict) or not isinstance(found.get("transforms"), list):
        raise ModelError(f"{config.source} has no list of transforms in {key}; it cannot be run.")
    if len(found["transforms"]) > _MAX_STEPS:
        raise ModelError(f"{config.source} has {len(found['transforms'])} transforms in {key}; {_MAX_STEPS} are run.")
    steps: list[tuple[str, dict[str, Any]]] = []
    for step in found["transforms"]:
        if not isinstance(step, dict) or not isinstance(step.get("_target_"), str):
            raise ModelError(f"{config.source}: a step of {key} names no transform by _target_.")
        name = _short_name(step["_target_"], config)
        # Arguments of what we do ourselves (output folders and such) may hold expressions; they stay unread.
        if name in _PLUMBING | _POST_PLUMBING:
            steps.append((name, {}))
            continue
        where = f"{key}.{name}"
        # MONAI takes the text "true" for true here.
        if str(config.resolve(step.get("_disabled_", False), f"{where}._disabled_")).strip().lower() == "true":
            continue
        needed = {"nearest_interp"} & step.keys() if name == "Invertd" else step.keys() - _IGNORED
        if name == "Resized":  # its default is another interpolation than ours
            needed |= {"mode", "align_corners"} & step.keys()
        arguments = {k: config.resolve(step[k], f"{where}.{k}") for k in sorted(needed)}
        steps.append((name, arguments))
    return steps


_IGNORED = {
    "_target_",
    "keys",
    "mode",
    "allow_missing_keys",
    "device",
    "dtype",
    "track_meta",
    "align_corners",
    "method",
}
