"""Arguments of a package's transforms as plain checked values; a ValueError says what is wrong with one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from LiverSegLib.engine.intensity import Intensity, Normalize, ScalePercentiles, ScaleRange

_LARGEST_SIZE = 2048


def axcodes(value: Any) -> str:
    """Axis codes such as "LPS", upper case."""
    pairs = ("LR", "AP", "IS")
    if not isinstance(value, str) or len(value) != 3:
        raise ValueError(f"axcodes {value!r} do not name three axes")
    if any(sum(c in pair for c in value.upper()) != 1 for pair in pairs):
        raise ValueError(f"axcodes {value!r} do not name three different axes")
    return value.upper()


def pixdim(arguments: dict[str, Any]) -> tuple[float, float, float]:
    """Voxel size in mm of Spacingd; a value <= 0 keeps the image's."""
    value = arguments["pixdim"]
    numbers = [float(n) for n in (value if isinstance(value, list) else [value] * 3)]
    if len(numbers) != 3 or any(not n <= 100 or 0 < n < 0.1 for n in numbers):
        raise ValueError(f"pixdim {value!r} is not three sizes in mm")
    return numbers[0], numbers[1], numbers[2]


def size(arguments: dict[str, Any]) -> tuple[int, int, int]:
    """Voxels of Resized; a value <= 0 keeps the image's. Only the interpolation that the engine has."""
    value = arguments["spatial_size"]
    numbers = [int(n) for n in (value if isinstance(value, list) else [value] * 3)]
    if len(numbers) != 3 or any(n > _LARGEST_SIZE for n in numbers):
        raise ValueError(f"spatial_size {value!r} is not three sizes of at most {_LARGEST_SIZE} voxels")
    if arguments.get("mode", "area") not in ("bilinear", "trilinear") or arguments.get("align_corners"):
        raise ValueError("only the mode bilinear without align_corners is supported")
    if arguments.get("anti_aliasing") or arguments.get("size_mode", "all") != "all":
        raise ValueError("anti_aliasing and size_mode longest are not supported")
    return numbers[0], numbers[1], numbers[2]


def divisible(arguments: dict[str, Any]) -> tuple[int, int, int]:
    """Multiples of DivisiblePadd."""
    value = arguments["k"]
    numbers = [int(n) for n in (value if isinstance(value, list) else [value] * 3)]
    if len(numbers) != 3 or any(not 1 <= n <= 256 for n in numbers):
        raise ValueError(f"k {value!r} is not three sizes in voxels")
    return numbers[0], numbers[1], numbers[2]


def _scale_range(a: dict[str, Any]) -> Intensity:
    low, high = float(a["a_min"]), float(a["a_max"])
    if not -math.inf < low < high < math.inf:
        raise ValueError(f"a_min {low} is not below a_max {high}")
    out_low, out_high = a.get("b_min"), a.get("b_max")
    return ScaleRange(
        low, high,
        0.0 if out_low is None else float(out_low),
        1.0 if out_high is None else float(out_high),
        bool(a.get("clip", False)),
    )  # fmt: skip


def _normalize(a: dict[str, Any]) -> Intensity:
    mean, std = a.get("subtrahend"), a.get("divisor")
    return Normalize(
        None if mean is None else float(mean),
        None if std is None else float(std),
        bool(a.get("nonzero", False)),
    )


def _min_max(a: dict[str, Any]) -> Intensity:
    return ScalePercentiles(0, 100, float(a.get("minv", 0.0)), float(a.get("maxv", 1.0)), clip=False)


def _percentiles(a: dict[str, Any]) -> Intensity:
    lower, upper = float(a["lower"]), float(a["upper"])
    if not 0 <= lower < upper <= 100:
        raise ValueError(f"percentiles {lower} and {upper} are impossible")
    return ScalePercentiles(lower, upper, float(a["b_min"]), float(a["b_max"]), bool(a.get("clip", False)))


INTENSITY: dict[str, Callable[[dict[str, Any]], Intensity]] = {
    "ScaleIntensityRanged": _scale_range,
    "NormalizeIntensityd": _normalize,
    "ScaleIntensityd": _min_max,
    "ScaleIntensityRangePercentilesd": _percentiles,
}
