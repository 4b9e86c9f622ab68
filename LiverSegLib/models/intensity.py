"""Intensity normalization as values: what a package asks for, how MONAI writes it, and its arithmetic.

Each step is a frozen dataclass. It is read by `from_monai`, written by `to_monai`, told to people by `text`, and
changes a tensor when it is called; nothing else needs to know which steps there are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from LiverSegLib.models.arguments import Arguments, flag, number
from LiverSegLib.models.squash import AboveLeast, Sigmoid, SoftLimit

if TYPE_CHECKING:
    import torch

_LARGEST_INTENSITY = 1e9
_SMALLEST_RANGE = 1e-6
"""Gray values that lie closer together cannot be told apart in float32."""


class _Scale:
    """What both steps share that map to [out_low, out_high]."""

    out_low: float
    out_high: float
    clip: bool

    @property
    def value_range(self) -> list[float]:
        """Least and largest value that it gives; empty where they have no bounds."""
        return [self.out_low, self.out_high] if self.clip else []

    @property
    def _to(self) -> dict[str, Any]:
        return {"b_min": self.out_low, "b_max": self.out_high, "clip": self.clip}

    @property
    def _to_text(self) -> str:
        return f"mapped to {self.out_low:g} to {self.out_high:g}"


@dataclass(frozen=True)
class ScaleRange(_Scale):
    """Map [low, high] linearly to [out_low, out_high] (MONAI's `ScaleIntensityRanged`)."""

    low: float
    high: float
    out_low: float = 0.0
    out_high: float = 1.0
    clip: bool = True

    @classmethod
    def from_monai(cls, arguments: Arguments) -> ScaleRange:
        """The step with these arguments of MONAI's transform; a ValueError names a wrong one."""
        low, high = _gray(arguments["a_min"], "a_min"), _gray(arguments["a_max"], "a_max")
        if not low < high:
            raise ValueError(f"a_min {low:g} is not below a_max {high:g}")
        if high - low < _SMALLEST_RANGE:
            raise ValueError(f"a_min {low:g} and a_max {high:g} lie too close together")
        b_min, b_max = _gray(arguments.get("b_min"), "b_min", 0.0), _gray(arguments.get("b_max"), "b_max", 1.0)
        return cls(low, high, b_min, b_max, flag(arguments, "clip"))

    def to_monai(self) -> dict[str, Any]:
        """The step as MONAI's configuration."""
        return _step("ScaleIntensityRanged", a_min=self.low, a_max=self.high, **self._to)

    def text(self, unit: str) -> str:
        """The step for people; `unit` is that of the image's values."""
        return f"{unit} {self.low:g} to {self.high:g} {self._to_text}"

    @property
    def outside(self) -> float:
        """What lies outside the image, in the values that training augments: those before the window."""
        return self.low

    @property
    def extent(self) -> float:
        """How far apart dark and bright tissue lie in the values that training augments."""
        return self.high - self.low

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Scale a float tensor of any shape in place and return it."""
        x.sub_(self.low).mul_((self.out_high - self.out_low) / (self.high - self.low)).add_(self.out_low)
        return x.clamp_(self.out_low, self.out_high) if self.clip else x


@dataclass(frozen=True)
class Normalize:
    """Subtract a mean and divide by a standard deviation (MONAI's `NormalizeIntensityd`).

    Without numbers, those of the image itself are taken, over its non-zero voxels where `nonzero`, and with `filled`
    (which MONAI lacks) over what these enclose, too. Other voxels stay as they are.
    """

    mean: float | None = None
    std: float | None = None
    nonzero: bool = False
    filled: bool = False

    outside = 0.0
    extent = 4.0
    """Two standard deviations to either side."""
    value_range: ClassVar[list[float]] = []
    """What it gives has no bounds."""

    @classmethod
    def from_monai(cls, arguments: Arguments) -> Normalize:
        """The step with these arguments of MONAI's transform; a ValueError names a wrong one."""
        mean, std = arguments.get("subtrahend"), arguments.get("divisor")
        std = None if std is None else _gray(std, "divisor")
        if std is not None and 0 < abs(std) < _SMALLEST_RANGE:
            raise ValueError(f"divisor {std:g} is too small")
        return cls(None if mean is None else _gray(mean, "subtrahend"), std, flag(arguments, "nonzero"))

    def to_monai(self) -> dict[str, Any]:
        """The step as MONAI's configuration."""
        given = {"subtrahend": self.mean, "divisor": self.std}
        numbers = {key: value for key, value in given.items() if value is not None}
        return _step("NormalizeIntensityd", **numbers, nonzero=self.nonzero)

    def text(self, unit: str) -> str:
        """The step for people; `unit` is that of the image's values."""
        where = " over voxels that are not 0" if self.nonzero else ""
        where += " and those that they enclose" if self.filled else ""
        if self.mean is None and self.std is None:
            return f"mean 0 and standard deviation 1{where}"
        mean = "their mean" if self.mean is None else f"{self.mean:g}"
        std = "their standard deviation" if self.std is None else f"{self.std:g}"
        return f"{unit} less {mean}, divided by {std}{where}"

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Normalize a float tensor of any shape in place and return it."""
        import torch  # not above: reading a package's configuration needs no torch

        chosen = x != 0 if self.nonzero else torch.ones_like(x, dtype=torch.bool)
        chosen = _filled(chosen) if self.filled else chosen
        if not bool(chosen.any()):
            return x
        values = x[chosen]
        mean = values.mean() if self.mean is None else torch.tensor(self.mean, device=x.device)
        std = values.std(unbiased=False) if self.std is None else torch.tensor(self.std, device=x.device)
        std = std if float(std) != 0.0 else torch.ones_like(std)
        x[chosen] = (values - mean) / std
        return x


@dataclass(frozen=True)
class ScalePercentiles(_Scale):
    """Map two percentiles of the image linearly to [out_low, out_high] (`ScaleIntensityRangePercentilesd`)."""

    lower: float
    upper: float
    out_low: float = 0.0
    out_high: float = 1.0
    clip: bool = True

    @property
    def outside(self) -> float:
        """What lies outside the image, in the values that training augments: the darkest."""
        return self.out_low

    @classmethod
    def from_monai(cls, arguments: Arguments) -> ScalePercentiles:
        """The step with these arguments of MONAI's transform; a ValueError names a wrong one."""
        lower, upper = (number(arguments[key], key, 0, 100) for key in ("lower", "upper"))
        if not lower < upper:
            raise ValueError(f"percentiles {lower} and {upper} are impossible")
        b_min, b_max = _gray(arguments["b_min"], "b_min"), _gray(arguments["b_max"], "b_max")
        return cls(lower, upper, b_min, b_max, flag(arguments, "clip"))

    @classmethod
    def from_monai_extremes(cls, arguments: Arguments) -> ScalePercentiles:
        """MONAI's `ScaleIntensityd`, which maps the least and the largest value of the image."""
        out_low, out_high = _gray(arguments.get("minv", 0.0), "minv"), _gray(arguments.get("maxv", 1.0), "maxv")
        return cls(0, 100, out_low, out_high, clip=False)

    def to_monai(self) -> dict[str, Any]:
        """The step as MONAI's configuration."""
        return _step("ScaleIntensityRangePercentilesd", lower=self.lower, upper=self.upper, **self._to)

    def text(self, unit: str) -> str:  # noqa: ARG002 (percentiles have no unit; every step is asked alike)
        """The step for people."""
        return f"percentiles {self.lower:g} to {self.upper:g} {self._to_text}"

    @property
    def extent(self) -> float:
        """How far apart dark and bright tissue lie."""
        return self.out_high - self.out_low

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Scale a float tensor of any shape in place and return it."""
        flat = x.flatten()
        low, high = (_percentile(flat, q) for q in (self.lower, self.upper))
        return ScaleRange(low, max(high, low + 1e-6), self.out_low, self.out_high, self.clip)(x)


Intensity = ScaleRange | Normalize | ScalePercentiles | Sigmoid | SoftLimit | AboveLeast
INTENSITY: dict[str, Callable[[Arguments], Intensity]] = {
    "ScaleIntensityRanged": ScaleRange.from_monai,
    "NormalizeIntensityd": Normalize.from_monai,
    "ScaleIntensityd": ScalePercentiles.from_monai_extremes,
    "ScaleIntensityRangePercentilesd": ScalePercentiles.from_monai,
}
"""How a step is read, by the name of MONAI's transform."""


def intensity_text(steps: tuple[Intensity, ...], modality: str) -> str:
    """How intensities are normalized, for people."""
    unit = "HU" if modality == "CT" else "gray values"
    return ", then ".join(step.text(unit) for step in steps) or "as they are"


def _step(name: str, **arguments: Any) -> dict[str, Any]:
    return {"_target_": name, "keys": "image", **arguments}


def _gray(value: Any, key: str, default: float | None = None) -> float:
    """A gray value that float32 arithmetic can take; `default` where there is none."""
    if value is None and default is not None:
        return default
    return number(value, key, -_LARGEST_INTENSITY, _LARGEST_INTENSITY)


def _filled(mask: torch.Tensor) -> torch.Tensor:
    """A mask with its holes filled."""
    import torch
    from scipy.ndimage import binary_fill_holes

    return torch.from_numpy(binary_fill_holes(mask.cpu().numpy())).to(mask.device)


def _percentile(flat: torch.Tensor, q: float) -> float:
    """Between the two nearest values, as in NumPy; torch's quantile() refuses more than 2^24 values."""
    rank = q / 100 * (flat.numel() - 1)
    low = int(rank)
    value = float(flat.kthvalue(low + 1).values)
    if rank == low:
        return value
    return value + (rank - low) * (float(flat.kthvalue(low + 2).values) - value)
