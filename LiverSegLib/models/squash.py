"""Intensity steps that bend gray values into a range without a corner, as MONAI's Auto3DSeg has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Sigmoid:
    """1 / (1 + exp(-x)), here of gray values that were scaled to about -1 to 1 before."""

    value_range: ClassVar[list[float]] = [0.0, 1.0]
    outside = 0.0
    extent = 2.0

    def to_monai(self) -> dict[str, Any]:
        """The step as MONAI's configuration."""
        return _lambda("torch.sigmoid(x)")

    def text(self, unit: str) -> str:  # noqa: ARG002 (what comes in has no unit any more; every step is asked alike)
        """The step for people."""
        return "bent into 0 to 1"

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Change a float tensor of any shape in place and return it."""
        return x.sigmoid_()


@dataclass(frozen=True)
class SoftLimit:
    """limit * tanh(x / limit): small values stay as they are, none leaves -limit to limit."""

    limit: float = 3.0

    outside = 0.0
    extent = 4.0

    @property
    def value_range(self) -> list[float]:
        """Least and largest value that it gives."""
        return [-self.limit, self.limit]

    def to_monai(self) -> dict[str, Any]:
        """The step as MONAI's configuration."""
        return _lambda(f"{self.limit} * torch.tanh(x / {self.limit})")

    def text(self, unit: str) -> str:  # noqa: ARG002 (as above)
        """The step for people."""
        return f"bent into {-self.limit:g} to {self.limit:g}"

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Change a float tensor of any shape in place and return it."""
        return x.div_(self.limit).tanh_().mul_(self.limit)


@dataclass(frozen=True)
class AboveLeast:
    """How many standard deviations of the image a value lies above its least one."""

    value_range: ClassVar[list[float]] = []
    outside = 0.0
    extent = 4.0

    def to_monai(self) -> dict[str, Any]:
        """The step as MONAI's configuration."""
        return _lambda("(x - x.min()) / x.std()")

    def text(self, unit: str) -> str:
        """The step for people."""
        return f"{unit} above the least, divided by the standard deviation"

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Change a float tensor of any shape in place and return it."""
        low, deviation = x.min(), x.std()
        return x.sub_(low).div_(deviation)


def _lambda(text: str) -> dict[str, Any]:
    return {"_target_": "Lambdad", "keys": "image", "func": f"$lambda x: {text}"}
