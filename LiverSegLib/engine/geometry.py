"""Where voxels are: axis order, resampling onto the model's grid and back onto the input's.

The grids are those of MONAI's `Orientationd`, `Spacingd` (first voxel center kept, size
round((n - 1) * spacing / new_spacing) + 1) and `Resized` (outer edges kept), so that a package gives the same
labels here and under `python -m monai.bundle run`; for models of nnU-Net they are nnU-Net's (see `Resampling`). Two
things are not repeated: a sheared grid (tilted gantry)
stays sheared, and the first voxel stays in place also where MONAI aligns the centers instead because float32
rounding in the header of an oblique image made its axes not quite orthogonal. Resampling is separable linear
interpolation with border padding.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from LiverSegLib.boxes import Box, whole_of
from LiverSegLib.engine.axes import AxisOrder, axis_order, three
from LiverSegLib.models.resampling import MONAI, Resampling
from LiverSegLib.volume import Volume, spacing_of

Affine = npt.NDArray[np.float64]

_PART_VOXELS = 1 << 20
"""Voxels of the input's layers that are resampled at a time."""


@dataclass(frozen=True, kw_only=True)
class ModelGrid:
    """The model's grid over one input volume, and the way there and back.

    Args:
        axes: axis order of the model's arrays.
        input_shape: shape of the input viewed in that order.
        step: model voxel size in input voxels, per model axis.
        shape: model grid size.
        spacing: model voxel size in mm.
        offset: input index of the first model voxel's center, per model axis.
        window: the input voxels that the grid covers, in its axis order; the others are background.
        thick, thick_back: the axis along which the nearest voxels are taken, on the way to the grid and back from it;
            None for none.
    """

    axes: AxisOrder
    input_shape: tuple[int, int, int]
    step: tuple[float, float, float]
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    offset: tuple[float, float, float]
    window: Box
    thick: int | None = None
    thick_back: int | None = None

    def positions(self, axis: int) -> npt.NDArray[np.float64]:
        """Input index (fractional) of each model index along `axis`, within the window."""
        at = np.arange(self.shape[axis]) * self.step[axis] + self.offset[axis]
        if axis == self.thick:
            at = _nearest(at)
        return np.clip(at, self.window[axis].start, self.window[axis].stop - 1)

    def model_positions(self, axis: int) -> npt.NDArray[np.float64]:
        """Model index (fractional) of each input index along `axis`; the grid's ends go on outside."""
        at = (np.arange(self.input_shape[axis]) - self.offset[axis]) / self.step[axis]
        if axis == self.thick_back:
            at = _nearest(at)
        return np.clip(at, 0, self.shape[axis] - 1)

    def input_box(self, box: Box) -> Box | None:
        """The input voxels of the window whose model positions fall within the model `box` (its outer voxel centers),
        if any."""
        sides = []
        for axis, side in enumerate(box):
            at = self.model_positions(axis)
            covered = _within(self.window[axis], at.size)
            inside = np.flatnonzero(covered & (at >= side.start) & (at <= side.stop - 1))
            if not inside.size:
                return None
            sides.append(slice(int(inside[0]), int(inside[-1]) + 1))
        return three(sides)

    def part(self, box: Box, nearest: bool) -> ModelGrid:
        """The grid of a model `box` alone, with background around it.

        Between the box's last voxels and the background around them, labels that are interpolated reach up to the
        next voxel: less and less of a class is still more than nothing. With `nearest` they end halfway.
        """
        offset, window = [], []
        for axis, side in enumerate(box):
            at = np.round(self.model_positions(axis)) if nearest else self.model_positions(axis)
            inside = _within(self.window[axis], at.size) & (at > side.start - 1) & (at < side.stop)
            found = np.flatnonzero(inside)
            first, last = (int(found[0]), int(found[-1])) if found.size else (0, -1)
            offset.append(self.offset[axis] + side.start * self.step[axis])
            window.append(slice(first, last + 1))
        shape = three([side.stop - side.start for side in box])
        return replace(self, shape=shape, offset=three(offset), window=three(window))


@dataclass(frozen=True)
class GridLabels:
    """Labels uint8 [X, Y, Z] of one model on its own grid, and how sure it is of them (see `Certainty`)."""

    labels: torch.Tensor
    grid: ModelGrid
    certainty: float | None = None


def model_grid(
    volume: Volume,
    axcodes: str,
    pixdim: tuple[float, float, float],
    size: tuple[int, int, int] | None = None,
    window: Box | None = None,
    resampling: Resampling = MONAI,
) -> ModelGrid:
    """The model's grid over `volume`.

    Args:
        volume: the image.
        axcodes: the model's axis order, for example "LPS".
        pixdim: voxel size in mm along the model's axes; a value <= 0 keeps the image's.
        size: voxels along the model's axes into which the field of view is divided, edge to edge, whatever its
            mm; a value <= 0 leaves that axis to `pixdim`.
        window: the voxels [i, j, k] that the grid covers, as if the image were no more than that; None for all.
        resampling: how many voxels a `pixdim` makes, where they lie, and which axis is not interpolated.

    Raises:
        ValueError: `axcodes` does not name each of the three axes once.
    """
    axes = axis_order(volume.affine, axcodes)
    source = spacing_of(volume.affine)
    covered = axes.box_of(window or whole_of(volume.array), volume.array.shape)
    mm = three([float(source[axis]) for axis in axes.order])
    sides = [
        _side(side, old, resampling.spacing(old, mm_wanted), 0 if size is None else size[axis], resampling.edges)
        for axis, (side, old, mm_wanted) in enumerate(zip(covered, mm, pixdim, strict=True))
    ]
    step, shape, spacing, offset = zip(*sides, strict=True)
    return ModelGrid(
        axes=axes,
        input_shape=three([volume.array.shape[n] for n in axes.order]),
        step=three(step),
        shape=three(shape),
        spacing=three(spacing),
        offset=three(offset),
        window=covered,
        thick=resampling.thick_axis(mm, three(spacing)),
        thick_back=resampling.thick_axis(three(spacing), mm),
    )


def _within(side: slice, size: int) -> npt.NDArray[np.bool_]:
    """Which of the indices of an axis of `size` lie in `side`."""
    at = np.arange(size)
    return (at >= side.start) & (at < side.stop)


def _side(covered: slice, old: float, pixdim: float, size: int, edges: bool) -> tuple[float, int, float, float]:
    """Step, number, millimeters and first place of a model's voxels along one axis; see `ModelGrid`.

    Args:
        covered: the input voxels.
        old: their size in mm.
        pixdim, size: as of `model_grid`.
        edges: as of `Resampling`.
    """
    have, start = covered.stop - covered.start, float(covered.start)
    new = pixdim if pixdim > 0 else old
    if size > 0 or edges:
        # Halves are rounded to even, as in nnU-Net, also where the last bit of a spacing is of its square root.
        count = size if size > 0 else max(1, round(round(old / new * have, 8)))
        step = have / count
        return step, count, old * step if size > 0 else new, start + 0.5 * step - 0.5
    # Halves are rounded to even, as in MONAI.
    return new / old, max(1, int(np.round((have - 1) * old / new + 1))), new, start


def _nearest(at: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """Whole indices; halves, which sums of floats may miss by a bit, go up."""
    return np.asarray(np.floor(at + 0.5 + 1e-9))


@dataclass(frozen=True)
class Taps:
    """What linear interpolation takes at each place along an axis.

    Args:
        lower: index of the voxel below, int64 [n].
        weight: of the voxel above, float32 [n]; None where the voxels themselves are taken.
    """

    lower: npt.NDArray[np.int64]
    weight: npt.NDArray[np.float32] | None

    @classmethod
    def at(cls, positions: npt.NDArray[np.float64], size: int) -> Taps:
        """Those at fractional indices within [0, size - 1]."""
        whole = np.round(positions)
        if np.abs(positions - whole).max(initial=0.0) < 1e-6:
            return cls(whole.astype(np.int64), None)
        lower = np.minimum(np.floor(positions).astype(np.int64), size - 2)
        return cls(lower, (positions - lower).astype(np.float32))

    def part(self, some: slice) -> tuple[slice, Taps]:
        """The voxels that a range of places needs, and what is taken of these."""
        lower = self.lower[some]
        reach = 1 if self.weight is None else 2
        needed = slice(int(lower.min()), int(lower.max()) + reach)
        return needed, Taps(lower - needed.start, None if self.weight is None else self.weight[some])

    def take(self, x: torch.Tensor, axis: int) -> torch.Tensor:
        """Interpolate along an axis; float32 unless nothing is."""
        if self.weight is None:
            if np.array_equal(self.lower, np.arange(x.shape[axis])):
                return x
            return x.index_select(axis, torch.from_numpy(self.lower).to(x.device))
        shape = [1] * x.ndim
        shape[axis] = -1
        # Gather in the stored type (int16 for most CTs): half the traffic of converting first.
        low = x.index_select(axis, torch.from_numpy(self.lower).to(x.device)).float()
        high = x.index_select(axis, torch.from_numpy(self.lower + 1).to(x.device)).float()
        return low.lerp_(high, torch.from_numpy(self.weight).to(x.device).view(shape))


def resample_axis(x: torch.Tensor, axis: int, positions: npt.NDArray[np.float64]) -> torch.Tensor:
    """Linear interpolation of `x` at fractional indices along one axis; float32 unless nothing moves.

    Args:
        x: tensor of any shape and real type.
        axis: which axis.
        positions: indices within [0, size - 1].
    """
    return Taps.at(positions, x.shape[axis]).take(x, axis)


def as_tensor(array: npt.NDArray[np.generic]) -> torch.Tensor:
    """A tensor that shares `array`'s memory where torch can hold its type and strides."""
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:  # torch cannot index these
        array = array.astype(np.int32 if array.dtype.itemsize == 2 else np.float32)
    if array.dtype == np.float16 or not array.dtype.isnative or array.dtype.itemsize > 8:
        array = array.astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # read-only arrays are welcome: nobody writes here
        return torch.from_numpy(array)


def to_model_grid(array: npt.NDArray[np.generic], grid: ModelGrid, device: torch.device) -> torch.Tensor:
    """Resample the input [i, j, k] array onto the model grid.

    Returns:
        float32 tensor of `grid.shape` on `device`, in memory of its own: it may be written to.
    """
    # torch has no negative strides: walk the array as it lies in memory and reverse positions instead.
    lying = array.transpose(grid.axes.order)
    by_stride = np.argsort([-abs(s) for s in lying.strides], kind="stable")
    walked = _plain_strides(lying.transpose(by_stride))
    taps = []
    for axis in by_stride:
        positions = grid.positions(int(axis))
        if grid.axes.flip[axis]:
            positions = grid.input_shape[axis] - 1 - positions
        taps.append(Taps.at(positions, grid.input_shape[axis]))
    x = torch.empty([tap.lower.size for tap in taps], device=device)
    # A few layers at a time: the voxels between these layers and the grid's are never all there as floats.
    depth = max(1, _PART_VOXELS // max(1, walked.shape[1] * walked.shape[2]))
    for first in range(0, x.shape[0], depth):
        needed, outer = taps[0].part(slice(first, first + depth))
        piece = outer.take(as_tensor(walked[needed]).to(device), 0)
        x[first : first + depth] = taps[2].take(taps[1].take(piece, 1), 2)
    return x.permute([int(n) for n in np.argsort(by_stride)])


def on_own_voxels(array: npt.NDArray[np.generic], grid: ModelGrid, device: torch.device) -> torch.Tensor:
    """The window of the input [i, j, k] in the axis order of `grid`, not resampled: float32, in memory of its own."""
    viewed = np.asarray(grid.axes.apply(array)[grid.window], np.float32, order="C")
    viewed = viewed.copy() if np.may_share_memory(viewed, array) else viewed
    return torch.from_numpy(viewed).to(device)


def resample_window(x: torch.Tensor, axis: int, grid: ModelGrid) -> torch.Tensor:
    """What comes from `on_own_voxels`, brought to the model grid along one axis by linear interpolation."""
    return resample_axis(x, axis, grid.positions(axis) - grid.window[axis].start)


def _plain_strides(array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """`array`, copied where torch cannot view it: strides that are negative or not of whole voxels."""
    plain = all(s > 0 and s % array.itemsize == 0 for s in array.strides)
    return array if plain else np.ascontiguousarray(array)
