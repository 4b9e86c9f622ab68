"""The sliding window of a model as a value: what a package asks for, and how MONAI writes it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from LiverSegLib.models.arguments import Arguments, number, one_of, whole
from LiverSegLib.models.text import shown

_MAX_WINDOW = 1024
_MAX_WINDOW_VOXELS = 1 << 26
"""No network is run on larger windows: 1024x1024x64."""
_MAX_OVERLAP = 0.95
_DIMENSIONS = {"SlidingWindowInferer": 3, "SliceInferer": 2, "SlidingWindowInfererAdapt": 3}
INFERERS = tuple(_DIMENSIONS)
"""MONAI's classes that are understood."""
_READ = ("roi_size", "sw_batch_size", "overlap", "mode", "padding_mode", "spatial_dim", "sigma_scale", "cval")
INFERER_ARGUMENTS = ("_target_", *_READ)
"""What is read of them; the window's device and progress are ours to choose."""


@dataclass(frozen=True, kw_only=True)
class Inferer:
    """The sliding window.

    Args:
        roi_size: size in model voxels, 2 or 3 numbers; -1 for a whole axis.
        overlap: how much of a window its neighbor covers, 0 to 1.
        gaussian: windows are blended with a Gaussian instead of evenly.
        batch_size: windows that go through the network at once.
        padding: how an image smaller than the window is filled up, a mode of torch's `pad`.
        evenly: windows are spread evenly, and a Gaussian peaks at a voxel, as in nnU-Net; else they lie a step apart
            but for the last, and it peaks in the middle, as in MONAI.
        mirror: axes of the window along which the network sees it mirrored, too, in all combinations; the mean counts.
    """

    roi_size: tuple[int, ...]
    overlap: float = 0.25
    gaussian: bool = True
    batch_size: int = 1
    padding: str = "constant"
    evenly: bool = False
    mirror: tuple[int, ...] = ()

    @classmethod
    def from_monai(cls, name: str, arguments: Arguments) -> Inferer:
        """The window with these arguments of MONAI's class `name`, one of `INFERERS`.

        Raises:
            KeyError, TypeError, ValueError, OverflowError: an argument is missing or wrong.
        """
        dims = _DIMENSIONS[name]
        roi = _window(arguments["roi_size"], dims)
        overlap = _overlap(arguments.get("overlap", 0.25))
        batch = whole(arguments.get("sw_batch_size", 1), "sw_batch_size", 1, 256)
        axis = whole(arguments.get("spatial_dim", 0), "spatial_dim", 0, 2)  # MONAI's default
        blending = one_of(arguments, "mode", ("constant", "gaussian"))
        padding = one_of(arguments, "padding_mode", ("constant", "replicate", "reflect", "circular"))
        if arguments.get("sigma_scale", 0.125) != 0.125 or arguments.get("cval", 0) != 0:
            raise ValueError("only a sigma_scale of 0.125 and a cval of 0 are supported")
        if dims == 2 and axis != 2:
            raise ValueError(f"it slices along axis {axis}; only the last axis (2) is supported")
        return cls(roi_size=roi, overlap=overlap, gaussian=blending == "gaussian", batch_size=batch, padding=padding)

    def to_monai(self) -> dict[str, Any]:
        """The window as MONAI's configuration."""
        name = next(name for name, dims in _DIMENSIONS.items() if dims == len(self.roi_size))
        mode = "gaussian" if self.gaussian else "constant"
        found: dict[str, Any] = {"_target_": name, "roi_size": list(self.roi_size), "sw_batch_size": self.batch_size}
        found |= {"overlap": self.overlap, "mode": mode}
        if self.padding != "constant":
            found["padding_mode"] = self.padding
        if len(self.roi_size) == 2:
            found["spatial_dim"] = 2
        return found


def _window(value: Any, dims: int) -> tuple[int, ...]:
    """Size of the sliding window in voxels; -1 means the whole image along that axis."""
    if not isinstance(value, list) or len(value) != dims:
        raise ValueError(f"the window roi_size {shown(value)} is impossible, it needs {dims} sizes")
    roi = tuple(whole(n, "roi_size", -1, _MAX_WINDOW) for n in value)
    if 0 in roi or math.prod(abs(n) for n in roi) > _MAX_WINDOW_VOXELS:
        raise ValueError(f"the window {roi} of roi_size is impossible, it has none or too many voxels")
    return roi


def _overlap(value: Any) -> float:
    """How much of a window its neighbor covers; of several numbers the largest."""
    numbers = value if isinstance(value, list) and value else [value]
    return max(number(float(n) if type(n) is int else n, "overlap", 0, _MAX_OVERLAP) for n in numbers)
