"""Levels and arguments of a planned network, for the families that can be planned."""

from __future__ import annotations

from typing import Any

import numpy as np

from Training.recipe import Recipe

Stride = tuple[int, ...]

# nnU-Net's rules (version 2): an axis is halved while this many voxels are left; the last one alone while three times
# as many are there.
_SMALLEST_EDGE = 4
_ALONE = 3 * _SMALLEST_EDGE
_MOST_FILTERS = 320
# Axes that differ less than this are treated alike.
_ALIKE = 2.0
# SegResNetDS as Auto3DSeg uses it; it doubles its filters at every level, so a sixth would be enormous.
_BLOCKS_DOWN = (1, 2, 2, 4, 4)

PLANNED = ("DynUNet", "SegResNetDS", "UNet")


def strides_for(name: str, size: list[float], spacing: list[float]) -> list[Stride]:
    """Strides from the finest to the deepest level of a patch of `size` voxels of `spacing` mm.

    A coarse axis is left out until the others have become as coarse.
    """
    if name == "SegResNetDS":
        return _segresnet_strides(size, spacing)
    strides: list[Stride] = []
    left, mm = np.array(size, float), np.array(spacing, float)
    while True:
        able = left >= 2 * _SMALLEST_EDGE
        if not able.any():
            return strides
        able &= mm < _ALIKE * mm[able].min()
        if able.sum() == 1 and left[able][0] < _ALONE:
            return strides
        stride = np.where(able, 2, 1)
        strides.append(tuple(int(n) for n in stride))
        left, mm = np.ceil(left / stride), mm * stride


def _segresnet_strides(size: list[float], spacing: list[float]) -> list[Stride]:
    """SegResNetDS derives its strides from the voxel size alone; only their number is free."""
    from monai.networks.nets.segresnet_ds import scales_for_resolution

    most = len(_BLOCKS_DOWN) - 1
    scales = [tuple(int(n) for n in s) for s in scales_for_resolution(spacing, n_stages=most)]
    count = 0
    while count < most and (np.array(size) / divisor(scales[: count + 1]) >= _SMALLEST_EDGE).all():
        count += 1
    return scales[:count]


def divisor(strides: list[Stride]) -> Stride:
    """What a patch must be a multiple of, for each axis."""
    return tuple(int(n) for n in np.prod(np.array([*strides, (1, 1, 1)]), axis=0))


def network_arguments(recipe: Recipe, spacing: list[float], strides: list[Stride]) -> dict[str, Any]:
    """Keyword arguments of the recipe's network with these levels; what levels do not decide stays the recipe's."""
    given = dict(recipe.network.arguments)
    levels = len(strides) + 1
    # nnU-Net supervises every output but those of the two coarsest levels.
    heads = max(1, levels - 2)
    steps = [list(stride) for stride in strides]
    if recipe.network.name == "SegResNetDS":
        # The voxel size is an argument only where an axis is coarse: it makes kernels flat.
        coarse = {"resolution": spacing} if max(spacing) >= _ALIKE * min(spacing) else {}
        given.pop("resolution", None)
        given.pop("blocks_up", None)
        blocks = list(_BLOCKS_DOWN[:levels])
        return {**given, "blocks_down": blocks, "dsdepth": heads, **coarse}
    first = (given.get("channels") or given.get("filters") or [32])[0]
    filters = [min(_MOST_FILTERS, first * 2**level) for level in range(levels)]
    if recipe.network.name == "UNet":
        return {**given, "channels": filters, "strides": steps}
    return {
        **given,
        "kernel_size": _kernels(spacing, strides),
        "strides": [[1, 1, 1], *steps],
        "upsample_kernel_size": steps,
        "filters": filters,
        "deep_supervision": levels > 2,
        "deep_supr_num": heads,
    }


def _kernels(spacing: list[float], strides: list[Stride]) -> list[list[int]]:
    """3 voxels, but 1 along an axis that is still coarse at that level."""
    kernels, mm = [], np.array(spacing, float)
    for stride in [(1, 1, 1), *strides]:
        mm = mm * stride
        kernels.append([3 if n < _ALIKE * mm.min() else 1 for n in mm])
    return kernels
