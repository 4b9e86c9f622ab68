"""What a model takes of main memory for one volume, and how that is kept within what there is.

A prediction adds up what lies in memory at once: the image on the model's grid, the logits of some of its slices, the
layers of one batch of windows, and the labels. Fewer slices of logits are kept where that is too much, which changes no
label; then windows are made smaller, which a result tells.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch

from LiverSegLib.engine.slabs import kept_slices
from LiverSegLib.errors import DeviceError
from LiverSegLib.models.inferer import Inferer
from LiverSegLib.models.spec import ModelPackage
from LiverSegLib.system import resident_bytes
from LiverSegLib.volume import Volume

_FLOAT = 4
ROOM = 192 << 20
"""Libraries that are loaded when they are needed, and volumes that are worked on piece by piece."""
_LAYERS = 16
"""Layers of a network's widest that are never all there at once: more than any network needs."""
_limit: ContextVar[int | None] = ContextVar("memory limit", default=None)


@contextmanager
def limited_to(limit: int | None) -> Iterator[None]:
    """What is done inside keeps this process below so many bytes of main memory; None for what is free.

    As a limit of the system would, it holds for all that is done, however deep.
    """
    before = _limit.set(limit)
    try:
        yield
    finally:
        _limit.reset(before)


def left(free: int | None) -> int | None:
    """Bytes that may still be taken, of so many that are free; None where nobody knows."""
    limit = _limit.get()
    if limit is None:
        return free
    allowed = max(0, limit - (resident_bytes() or 0) - ROOM)
    return allowed if free is None else min(allowed, free)


class TooLittleError(MemoryError):
    """So many bytes are needed, and so many allowed: told before anything is tried."""

    def __init__(self, needed: int, allowed: int) -> None:
        super().__init__(f"{needed} bytes are needed and {allowed} allowed")
        self.needed, self.allowed = needed, allowed


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """How the network goes over a grid.

    Args:
        grid: voxels [X, Y, Z], padded to what the network can divide.
        window: voxels of a window, 3 or 2.
        batch: windows, or slices, at a time.
    """

    grid: tuple[int, ...]
    window: tuple[int, ...]
    batch: int

    @property
    def padded(self) -> tuple[int, ...]:
        """The grid, where a window is larger: that."""
        sides = (*self.window, *self.grid[len(self.window) :])
        return tuple(max(n, w) for n, w in zip(self.grid, sides, strict=True))

    def shape(self, package: ModelPackage) -> tuple[int, ...]:
        """Of a batch as the network gets it: [N, C, ...]."""
        batch = min(self.batch, self.grid[2]) if len(self.window) == 2 else self.batch
        return (batch, len(package.inputs), *self.window)


def tiles(package: ModelPackage, inferer: Inferer, shape: Sequence[int], device: str, shrink: int = 1) -> Tiles:
    """The tiles of a model's grid [X, Y, Z] on a type of device, with windows `shrink` times smaller."""
    grid = tuple(-(-n // k) * k for n, k in zip(shape, package.divisible, strict=True))
    dims = package.spatial_dims
    window = tuple(n if w == -1 else w for w, n in zip(inferer.roi_size[:dims], grid[:dims], strict=True))
    window = tuple(max(w // shrink // 32 * 32, min(w, 32)) for w in window) if shrink > 1 else window
    batch = 1 if shrink > 1 or (device == "cpu" and dims == 3) else inferer.batch_size
    return Tiles(grid=grid, window=window, batch=batch)


@dataclass(frozen=True, kw_only=True)
class Need:
    """Bytes of main memory that a model takes on the CPU, beside the volume and what is loaded.

    Args:
        image: the channels on the model's grid.
        slices: the logits of one slice, with their weights.
        values: numbers of each voxel's logits.
        kept: how many slices are kept.
        layers: of one batch of windows.
        labels: the label map.
    """

    image: int
    slices: int
    values: int
    kept: int
    layers: int
    labels: int

    @property
    def most(self) -> int:
        """At the worst moment: while the network runs, or while the labels are cleaned and measured by masks."""
        return max(self.image + self.slices * self.kept + self.layers + self.labels, 3 * self.labels)


def need(package: ModelPackage, cut: Tiles, volume: Volume, layers: int, most: int | None = None) -> Need:
    """What segmenting takes.

    Args:
        package: the model.
        cut: how its network goes over the grid.
        volume: the image.
        layers: bytes of one batch of windows, from `outline.live_bytes` or `rough_layers`.
        most: as for `kept_slices`.
    """
    channels, voxels = len(package.inputs), math.prod(cut.padded)
    copies = 2 if math.prod(cut.grid) < voxels else 1  # padded to the windows
    image = _FLOAT * channels * (voxels + (copies - 1) * math.prod(cut.grid))
    if package.resampling.normalize_first or package.resampling.cubic:
        image += _FLOAT * volume.array.size  # its own voxels as floats
    values = 1 if package.channels == 2 and not package.regions and not package.softmax else package.channels
    is_3d = len(cut.window) == 3
    kept = kept_slices(cut.padded, values, cut.window[2] if is_3d else cut.batch, most)
    # In 3D the weights of the windows lie beside the logits.
    slices = _FLOAT * math.prod(cut.padded[:2]) * (values + (1 if is_3d else 0))
    return Need(image=image, slices=slices, values=values, kept=kept, layers=layers, labels=volume.array.size)


def rough_layers(package: ModelPackage, network: torch.nn.Module, cut: Tiles) -> int:
    """Bytes of the layers that a batch of windows has in memory at once: at a glance, and never too few."""
    widest = max((int(getattr(m, "out_channels", 1) or 1) for m in network.modules()), default=1)
    return _FLOAT * math.prod(cut.shape(package)[2:]) * cut.batch * widest * _LAYERS


def most_kept(package: ModelPackage, cut: Tiles, volume: Volume, layers: int, allowed: int) -> int | None:
    """How many numbers of logits may be kept at once, see `kept_slices`; None for as many as usual.

    Args:
        package, cut, volume, layers: as of `need`.
        allowed: bytes that may be taken, from `left`.

    Raises:
        TooLittleError: even with the fewest it is too much.
    """
    if need(package, cut, volume, layers).most <= allowed:
        return None
    least = need(package, cut, volume, layers, most=1)
    if least.most > allowed:
        raise TooLittleError(least.most, allowed)
    spare = allowed - (least.most - least.slices * least.kept)
    return max(1, spare // least.slices * math.prod(cut.padded[:2]) * least.values)


def refusal(package: ModelPackage, volume: Volume, short: TooLittleError) -> DeviceError:
    """The error for what does not fit, with its numbers and the way out."""
    limit, used, needed, allowed = _limit.get(), resident_bytes() or 0, short.needed, short.allowed
    way = "crop the image to a region of interest, use a smaller model, or close other programs"
    has = f"{_gb(allowed)} are free"
    if limit is not None and limit - used < 2 * (allowed + ROOM):
        way = f"raise the limit to {_gb(needed + used + ROOM, up=True)} or crop the image to a region of interest"
        has = f"the memory limit of {_gb(limit)} leaves {_gb(allowed)} beside the program"
    return DeviceError(f"{package.name} needs {_gb(needed, up=True)} of memory for {volume.name}, but {has}; {way}.")


def _gb(size: int, up: bool = False) -> str:
    hundredths = math.ceil(size / 1e7) if up else size // 10**7
    return f"{hundredths / 100:.2f} GB"
