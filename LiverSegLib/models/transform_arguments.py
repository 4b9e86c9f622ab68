"""Arguments of a package's transforms as plain checked values; a ValueError says what is wrong with one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from LiverSegLib.engine.intensity import Intensity, Normalize, ScalePercentiles, ScaleRange
from LiverSegLib.models.text import shown

_LARGEST_SIZE = 2048
_LARGEST_INTENSITY = 1e9
_SMALLEST_RANGE = 1e-6
"""Grey values that lie closer together cannot be told apart in float32."""


def number(value: Any, key: str, low: float, high: float) -> float:
    """A number from `low` to `high`: no text, no true or false."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{key} {shown(value)} is impossible, a number from {low:g} to {high:g} is needed")
    return float(value)


def whole(value: Any, key: str, low: int, high: int) -> int:
    """A whole number from `low` to `high`."""
    found = number(value, key, low, high)
    if found != int(found):
        raise ValueError(f"{key} {shown(value)} is not a whole number")
    return int(found)


def flag(arguments: dict[str, Any], key: str) -> bool:
    """true or false; false where it is missing."""
    value = arguments.get(key, False)
    if value is None or isinstance(value, bool) or value in (0, 1):
        return bool(value)
    raise ValueError(f"{key} {shown(value)} is neither true nor false")


def three(value: Any) -> list[Any]:
    """One value for each axis, of a list or of one value for all."""
    return value if isinstance(value, list) else [value] * 3


def axcodes(value: Any) -> str:
    """Axis codes such as "LPS", upper case."""
    pairs = ("LR", "AP", "IS")
    if not isinstance(value, str) or len(value) != 3:
        raise ValueError(f"axcodes {shown(value)} do not name three axes")
    if any(sum(c in pair for c in value.upper()) != 1 for pair in pairs):
        raise ValueError(f"axcodes {shown(value)} do not name three different axes")
    return value.upper()


def pixdim(arguments: dict[str, Any]) -> tuple[float, float, float]:
    """Voxel size in mm of Spacingd; a value <= 0 keeps the image's."""
    value = arguments["pixdim"]
    numbers = [number(n, "pixdim", -1e9, 100) for n in three(value)]
    if len(numbers) != 3 or any(0 < n < 0.1 for n in numbers):
        raise ValueError(f"pixdim {shown(value)} is not three sizes in mm")
    return numbers[0], numbers[1], numbers[2]


def size(arguments: dict[str, Any]) -> tuple[int, int, int]:
    """Voxels of Resized; a value <= 0 keeps the image's. Only the interpolation that the engine has."""
    value = arguments["spatial_size"]
    numbers = [int(number(n, "spatial_size", -1e9, 1e9)) for n in three(value)]
    if len(numbers) != 3 or any(n > _LARGEST_SIZE for n in numbers):
        raise ValueError(f"spatial_size {shown(value)} is not three sizes of at most {_LARGEST_SIZE} voxels")
    if arguments.get("mode", "area") not in ("bilinear", "trilinear") or arguments.get("align_corners"):
        raise ValueError("only the mode bilinear without align_corners is supported")
    if arguments.get("anti_aliasing") or arguments.get("size_mode", "all") != "all":
        raise ValueError("anti_aliasing and size_mode longest are not supported")
    return numbers[0], numbers[1], numbers[2]


def divisible(arguments: dict[str, Any]) -> tuple[int, int, int]:
    """Multiples of DivisiblePadd."""
    value = arguments["k"]
    numbers = [whole(n, "k", 1, 256) for n in three(value)]
    if len(numbers) != 3:
        raise ValueError(f"k {shown(value)} is not three sizes in voxels")
    return numbers[0], numbers[1], numbers[2]


def _grey(value: Any, key: str, default: float | None = None) -> float:
    """A grey value that float32 arithmetic can take; `default` where there is none."""
    if value is None and default is not None:
        return default
    return number(value, key, -_LARGEST_INTENSITY, _LARGEST_INTENSITY)


def _scale_range(a: dict[str, Any]) -> Intensity:
    low, high = a["a_min"], a["a_max"]
    if isinstance(low, int | float) and isinstance(high, int | float) and not low < high:
        raise ValueError(f"a_min {shown(low)} is not below a_max {shown(high)}")
    low, high = _grey(low, "a_min"), _grey(high, "a_max")
    if high - low < _SMALLEST_RANGE:
        raise ValueError(f"a_min {low:g} and a_max {high:g} lie too close together")
    b_min, b_max = _grey(a.get("b_min"), "b_min", 0.0), _grey(a.get("b_max"), "b_max", 1.0)
    return ScaleRange(low, high, b_min, b_max, flag(a, "clip"))


def _normalize(a: dict[str, Any]) -> Intensity:
    mean, std = a.get("subtrahend"), a.get("divisor")
    std = None if std is None else _grey(std, "divisor")
    if std is not None and 0 < abs(std) < _SMALLEST_RANGE:
        raise ValueError(f"divisor {std:g} is too small")
    return Normalize(None if mean is None else _grey(mean, "subtrahend"), std, flag(a, "nonzero"))


def _min_max(a: dict[str, Any]) -> Intensity:
    return ScalePercentiles(0, 100, _grey(a.get("minv", 0.0), "minv"), _grey(a.get("maxv", 1.0), "maxv"), clip=False)


def _percentiles(a: dict[str, Any]) -> Intensity:
    lower, upper = (number(a[key], key, 0, 100) for key in ("lower", "upper"))
    if not lower < upper:
        raise ValueError(f"percentiles {lower} and {upper} are impossible")
    return ScalePercentiles(lower, upper, _grey(a["b_min"], "b_min"), _grey(a["b_max"], "b_max"), flag(a, "clip"))


INTENSITY: dict[str, Callable[[dict[str, Any]], Intensity]] = {
    "ScaleIntensityRanged": _scale_range,
    "NormalizeIntensityd": _normalize,
    "ScaleIntensityd": _min_max,
    "ScaleIntensityRangePercentilesd": _percentiles,
}
