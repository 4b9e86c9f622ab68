"""What can be wrong with data, told before training begins."""

from __future__ import annotations

from collections import Counter

import numpy as np

from Training.data.findings import Facts, Finding
from Training.data.readers import Entry, RawCase
from Training.errors import listed
from Training.recipe import Recipe

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
        shown_window: the source's grey values stand for a window, so they tell nothing about HU.
    """
    case, array = f"{entry.source}_{entry.name}", raw.volume.array
    found: list[Finding] = []
    if array.dtype.kind == "f":
        bad = array.size - int(np.isfinite(array).sum())
        if bad:
            return [Finding("error", case, file, f"{bad} voxels are NaN or infinite; repair or exclude the image.")]
    low, high = float(array.min()), float(array.max())
    if low == high:
        return [Finding("error", case, file, f"The image is constant ({low:g} everywhere); exclude it.")]
    is_hu = recipe.in_hounsfield and not shown_window
    if is_hu and low >= _CT_FAT:
        found.append(
            Finding("warning", case, file, f"No value lies below {_CT_FAT} (least {low:g}); is this really in HU?")
        )
    if is_hu and high > _HU_MOST:
        found.append(Finding("warning", case, file, f"Values reach {high:g}, which HU do not; is the scale right?"))
    odd = [s for s in raw.volume.spacing if raw.spacing_told and not _SPACING[0] <= s <= _SPACING[1]]
    if odd:
        found.append(Finding("warning", case, file, f"A voxel spacing of {odd[0]:g} mm is unlikely; check the header."))
    return found + _check_axes(raw, case, file) + _check_place(raw, case, file, is_hu)


def _check_axes(raw: RawCase, case: str, file: str) -> list[Finding]:
    """A sheared grid, such as that of a tilted gantry, is taken as it lies."""
    axes = raw.volume.affine[:3, :3] / np.linalg.norm(raw.volume.affine[:3, :3], axis=0)
    cosine = float(np.abs(axes.T @ axes - np.eye(3)).max())
    if cosine < _SQUARE:
        return []
    degrees = 90 - np.degrees(np.arccos(min(cosine, 1.0)))
    message = (
        f"The grid is sheared by {degrees:.0f} degrees, as with a tilted gantry; the model will see it sheared. "
        "Resample the image and its label to a grid with right angles, or exclude it."
    )
    return [Finding("warning", case, file, message)]


def _check_place(raw: RawCase, case: str, file: str, is_hu: bool) -> list[Finding]:
    inside = raw.label > 0
    marked = int(inside.sum())
    if not marked:
        return []
    if marked > _NEARLY_ALL * inside.size:
        return [Finding("warning", case, file, f"Labels cover {marked / inside.size:.0%} of it; is the mask inverted?")]
    if is_hu:
        air = float((raw.volume.array[inside] < _CT_AIR).mean())
        if air > _IN_AIR:
            return [Finding("warning", case, file, f"{air:.0%} of the label lies in air; is it this image's?")]
    return []


def check_set(facts: list[Facts], recipe: Recipe) -> list[Finding]:
    """What only shows when the cases are seen together: empty labels, odd ones out, sizes."""
    found: list[Finding] = []
    for source in recipe.sources:
        mine = [f for f in facts if f.source == source.name]
        if source.targets:
            found += [Finding("warning", f.case, f.file, "The label is empty.") for f in mine if not any(f.voxels[1:])]
        found += _odd_ones(mine, source.name)
    return found + _patch(facts, recipe)


def _odd_ones(facts: list[Facts], source: str) -> list[Finding]:
    found = []
    axes = Counter(f.axes for f in facts)
    if len(axes) > 1:
        usual = axes.most_common(1)[0][0]
        counts = ", ".join(f"{count} {name}" for name, count in axes.most_common())
        odd = listed(f.file or f.case for f in facts if f.axes != usual)
        found.append(Finding("warning", source, "", f"Orientations differ ({counts}): {odd}; all are turned alike."))
    told = [f for f in facts if f.spacing is not None]
    if len(told) > 2:
        median = np.median([sorted(f.spacing or ()) for f in told], axis=0)
        for f in told:
            ratio = np.array(sorted(f.spacing or ())) / median
            if max(ratio.max(), 1 / ratio.min()) > _SPACING_FACTOR:
                size = " x ".join(f"{s:g}" for s in f.spacing or ())
                found.append(Finding("warning", f.case, f.file, f"The spacing {size} mm is far from the others'."))
    return found


def _patch(facts: list[Facts], recipe: Recipe) -> list[Finding]:
    if not facts:
        return []
    largest = np.max([f.grid for f in facts], axis=0)[: recipe.spatial_dims]
    return [
        Finding("warning", "", "", f"patch_size {size} is larger than every case along axis {axis} ({most}); padded.")
        for axis, (size, most) in enumerate(zip(recipe.patch_size, largest, strict=True))
        if size > most
    ]


def check_split(part: dict[str, str], facts: list[Facts]) -> list[Finding]:
    """Empty parts, copies, leaks.

    Args:
        part: patient -> "train", "val" or "test".
        facts: the cases that could be read.
    """
    found = _copies(facts, part)
    if len(part) == 1:
        return [*found, Finding("error", "", "", "There is one patient only; a model needs others to be tested on.")]
    ways = {"train": "change split", "val": "raise split.validation_fraction, set split.val or use split.folds"}
    empty = [name for name in ways if name not in part.values()]
    return found + [Finding("error", "", "", f"No patient is left for {name}; {ways[name]}.") for name in empty]


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
            found.append(Finding("error", "", "", f"No case has {label}; check the values that sources map to it."))
        elif "train" not in having and "train" in part.values():
            found.append(Finding("error", "", "", f"No training case has {label}; change split or seed."))
        elif "val" not in having and "val" in part.values():
            found.append(Finding("warning", "", "", f"No validation case has {label}; its Dice will tell nothing."))
    return found


def _copies(facts: list[Facts], part: dict[str, str]) -> list[Finding]:
    """Images that are there twice: a leak where they lie on both sides of the split."""
    first: dict[str, Facts] = {}
    found = []
    for f in facts:
        same = first.setdefault(f.digest, f)
        if same is f:
            continue
        there, mine, other = same.file or same.case, part[f.patient], part[same.patient]
        if mine == other:
            found.append(Finding("warning", f.case, f.file, f"The image is the same as {there}."))
        else:
            message = f"The same image is in {mine} and, as {there}, in {other}; exclude one or give both one patient."
            found.append(Finding("error", f.case, f.file, message))
    return found
