"""Intensity normalisation, as data: what a package asks for and its arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class ScaleRange:
    """Map [low, high] linearly to [out_low, out_high] (MONAI's `ScaleIntensityRanged`)."""

    low: float
    high: float
    out_low: float = 0.0
    out_high: float = 1.0
    clip: bool = True

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Scale a float tensor of any shape in place and return it."""
        x.sub_(self.low).mul_((self.out_high - self.out_low) / (self.high - self.low)).add_(self.out_low)
        return x.clamp_(self.out_low, self.out_high) if self.clip else x


@dataclass(frozen=True)
class Normalize:
    """Subtract a mean and divide by a standard deviation (MONAI's `NormalizeIntensityd`).

    Without numbers, those of the image itself are taken, over its non-zero voxels where `nonzero`.
    """

    mean: float | None = None
    std: float | None = None
    nonzero: bool = False

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise a float tensor of any shape in place and return it."""
        import torch  # not above: reading a package's configuration needs no torch

        chosen = x != 0 if self.nonzero else torch.ones_like(x, dtype=torch.bool)
        if not bool(chosen.any()):
            return x
        values = x[chosen]
        mean = values.mean() if self.mean is None else torch.tensor(self.mean, device=x.device)
        std = values.std(unbiased=False) if self.std is None else torch.tensor(self.std, device=x.device)
        std = std if float(std) != 0.0 else torch.ones_like(std)
        x[chosen] = (values - mean) / std
        return x


@dataclass(frozen=True)
class ScalePercentiles:
    """Map two percentiles of the image linearly to [out_low, out_high] (`ScaleIntensityRangePercentilesd`)."""

    lower: float
    upper: float
    out_low: float = 0.0
    out_high: float = 1.0
    clip: bool = True

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Scale a float tensor of any shape in place and return it."""
        flat = x.flatten()
        low, high = (_percentile(flat, q) for q in (self.lower, self.upper))
        return ScaleRange(low, max(high, low + 1e-6), self.out_low, self.out_high, self.clip)(x)


def _percentile(flat: torch.Tensor, q: float) -> float:
    """Between the two nearest values, as in NumPy; torch's quantile() refuses more than 2^24 values."""
    rank = q / 100 * (flat.numel() - 1)
    low = int(rank)
    value = float(flat.kthvalue(low + 1).values)
    if rank == low:
        return value
    return value + (rank - low) * (float(flat.kthvalue(low + 2).values) - value)


Intensity = ScaleRange | Normalize | ScalePercentiles
