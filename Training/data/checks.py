"""What can be wrong with data, told before training begins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from Training.data.findings import Facts, Finding, error, warning
from Training.data.readers import Entry, RawCase
from Training.errors import listed
from Training.recipe import Recipe
from Training.recipe.sources import IGNORE

# Every CT shows fat or air; values that never fall below this are no HU.
_CT_FAT = -50
_CT_AIR = -500
_HU_MOST = 30000
# mm; beyond these a header is more likely wrong than a scanner.
_SPACING = (0.1, 12.0)
_SPACING_FACTOR = 3.0
_IN_AIR = 0.5
# Cosine between axes: header rounding stays below, a gantry tilt of two degrees does not.
_SQUARE = 0.02
_NEARLY_ALL = 0.9


def check_image(raw: RawCase, entry: Entry, file: str, recipe: Recipe, shown_window: bool) -> list[Finding]:
    """Values that no image has, and those that are strange.

    Args:
        raw, entry: the case.
        file: how to name it.
        recipe: its modality decides what is strange.
        shown_window: the source's gray values stand for a window, so they tell nothing about HU.
    """
    if len(raw.volume.channels) != recipe.in_channels:
        have, want = (f"{n} channel{'s' if n > 1 else ''}" for n in (len(raw.volume.channels), recipe.in_channels))
        return [error(f"The case has {have} but the recipe {want}; name them in its channels.", entry.id, file)]
    for number, array in enumerate(raw.volume.channels):
        if bad := _bad_values(array):
            which = f"Channel {recipe.channels[number]} of the image" if recipe.channels else "The image"
            return [error(f"{which} {bad}", entry.id, file)]
    array = raw.volume.array
    low, high = float(array.min()), float(array.max())
    is_hu = recipe.in_hounsfield and not shown_window
    odd = [*(_odd_values(low, high) if is_hu else ()), *_odd_grid(raw), *_odd_place(raw, is_hu)]
    return [warning(message, entry.id, file) for message in odd]


def _bad_values(array: npt.NDArray[Any]) -> str:
    """What no image has; nothing where it is well."""
    bad = array.size - int(np.isfinite(array).sum()) if array.dtype.kind == "f" else 0
    if bad:
        return f"has {bad} voxels that are NaN or infinite; repair or exclude it."
    low, high = float(array.min()), float(array.max())
    return f"is constant ({low:g} everywhere); exclude it." if low == high else ""


def _odd_values(low: float, high: float) -> Iterator[str]:
    """What HU do not do."""
    if low >= _CT_FAT:
        yield f"No value lies below {_CT_FAT} (least {low:g}); is this really in HU?"
    if high > _HU_MOST:
        yield f"Values reach {high:g}, which HU do not; is the scale right?"


def _odd_grid(raw: RawCase) -> Iterator[str]:
    """Unlikely voxels, and a sheared grid, such as that of a tilted gantry, which is taken as it lies."""
    odd = [s for s in raw.volume.spacing if raw.spacing_told and not _SPACING[0] <= s <= _SPACING[1]]
    if odd:
        yield f"A voxel spacing of {odd[0]:g} mm is unlikely; check the header."
    axes = raw.volume.affine[:3, :3] / np.linalg.norm(raw.volume.affine[:3, :3], axis=0)
    cosine = float(np.abs(axes.T @ axes - np.eye(3)).max())
    if cosine >= _SQUARE:
        degrees = 90 - np.degrees(np.arccos(min(cosine, 1.0)))
        yield (
            f"The grid is sheared by {degrees:.0f} degrees, as with a tilted gantry; the model will see it sheared. "
            "Resample the image and its label to a grid with right angles, or exclude it."
        )


def _odd_place(raw: RawCase, is_hu: bool) -> Iterator[str]:
    """A label that is nearly everywhere, or in air."""
    inside = (raw.label > 0) & (raw.label != IGNORE)
    marked = int(inside.sum())
    if marked > _NEARLY_ALL * inside.size:
        yield f"Labels cover {marked / inside.size:.0%} of it; is the mask inverted?"
    elif marked and is_hu:
        air = float((raw.volume.array[inside] < _CT_AIR).mean())
        if air > _IN_AIR:
            yield f"{air:.0%} of the label lies in air; is it this image's?"


def check_set(facts: list[Facts], recipe: Recipe) -> list[Finding]:
    """What only shows when the cases are seen together: empty labels, odd ones out, sizes."""
    found: list[Finding] = []
    for source in recipe.sources:
        mine = [f for f in facts if f.source == source.name]
        if source.targets:
            found += [warning("The label is empty.", f.case, f.file) for f in mine if not any(f.voxels[1:])]
        found += _odd_ones(mine, source.name)
    return [*found, *_patch(facts, recipe)]


def _odd_ones(facts: list[Facts], source: str) -> Iterator[Finding]:
    axes = Counter(f.axes for f in facts)
    if len(axes) > 1:
        usual = axes.most_common(1)[0][0]
        counts = ", ".join(f"{count} {name}" for name, count in axes.most_common())
        odd = listed(f.file or f.case for f in facts if f.axes != usual)
        yield warning(f"Orientations differ ({counts}): {odd}; all are turned alike.", source)
    told = [(f, f.spacing) for f in facts if f.spacing is not None]
    if len(told) > 2:
        median = np.median([sorted(spacing) for _, spacing in told], axis=0)
        for f, spacing in told:
            ratio = np.array(sorted(spacing)) / median
            if max(ratio.max(), 1 / ratio.min()) > _SPACING_FACTOR:
                size = " x ".join(f"{s:g}" for s in spacing)
                yield warning(f"The spacing {size} mm is far from the others'.", f.case, f.file)


def _patch(facts: list[Facts], recipe: Recipe) -> Iterator[Finding]:
    largest = np.max([f.grid for f in facts], axis=0)[: recipe.spatial_dims]
    for axis, (size, most) in enumerate(zip(recipe.patch_size, largest, strict=True)):
        if size > most:
            yield warning(f"patch_size {size} is larger than every case along axis {axis} ({most}); padded.")


def check_split(part: dict[str, str], facts: list[Facts]) -> list[Finding]:
    """Empty parts, copies, leaks.

    Args:
        part: patient -> "train", "val" or "test".
        facts: the cases that could be read.
    """
    found = list(_copies(facts, part))
    if len(part) == 1:
        return [*found, error("There is one patient only; a model needs others to be tested on.")]
    ways = {"train": "change split", "val": "raise split.validation_fraction, set split.val or use split.folds"}
    empty = [name for name in ways if name not in part.values()]
    return found + [error(f"No patient is left for {name}; {ways[name]}.") for name in empty]


def check_labels(part: dict[str, str], facts: list[Facts], recipe: Recipe) -> list[Finding]:
    """Labels that nobody has, or nobody on one side of the split.

    Args:
        part: patient -> "train", "val" or "test".
        facts: all cases.
        recipe: its labels.
    """
    found = []
    for value, label in recipe.labels.items():
        having = {part[f.patient] for f in facts if f.voxels[value]}
        if not having:
            found.append(error(f"No case has {label}; check the values that sources map to it."))
        elif "train" not in having and "train" in part.values():
            found.append(error(f"No training case has {label}; change split or seed."))
        elif "val" not in having and "val" in part.values():
            found.append(warning(f"No validation case has {label}; its Dice will tell nothing."))
    return found


def _copies(facts: list[Facts], part: dict[str, str]) -> Iterator[Finding]:
    """Images that are there twice: a leak where they lie on both sides of the split."""
    first: dict[str, Facts] = {}
    for f in facts:
        same = first.setdefault(f.digest, f)
        if same is f:
            continue
        there, mine, other = same.file or same.case, part[f.patient], part[same.patient]
        if mine == other:
            yield warning(f"The image is the same as {there}.", f.case, f.file)
        else:
            message = f"The same image is in {mine} and, as {there}, in {other}; exclude one or give both one patient."
            yield error(message, f.case, f.file)
