"""What can be segmented at all, and what the user should be warned of."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from LiverSegLib.errors import InputError
from LiverSegLib.labels import LARGEST_ML
from LiverSegLib.models.spec import ModelPackage
from LiverSegLib.volume import Volume

AIR_HU = -1024.0
_SAMPLE = 200_000
_FEW_SLICES = 5


def usable_array(volume: Volume) -> tuple[npt.NDArray[Any], list[str]]:
    """The voxels [i, j, k] with values that are not finite replaced by air, and what to tell of that.

    Raises:
        InputError: nothing finite, or the same value everywhere.
    """
    array = volume.array
    low, high = array.min(), array.max()  # one pass each; NaN and inf show up in them
    notes: list[str] = []
    if not (np.isfinite(low) and np.isfinite(high)):
        finite = np.isfinite(array)
        count = array.size - int(finite.sum())
        if count > array.size // 2:
            raise InputError(f"{volume.name} holds NaN or infinity in most voxels; export or load it again.")
        low, high = array[finite].min(), array[finite].max()
        array = np.where(finite, array, min(float(low), AIR_HU)).astype(np.float32)
        notes.append(f"{volume.name} holds {count} voxels of NaN or infinity; they were taken as air.")
    if low == high:
        raise InputError(f"{volume.name} has the value {low} everywhere; there is nothing to segment.")
    return array, notes


def usable_channels(volume: Volume, package: ModelPackage) -> tuple[list[npt.NDArray[Any]], list[str]]:
    """`usable_array` of each channel that the model takes, and what to tell of them.

    Raises:
        InputError: there are more or fewer channels than the model takes, or one cannot be used.
    """
    if len(volume.channels) != len(package.inputs):
        have, want = len(volume.channels), len(package.inputs)
        wanted = f"{want} images of a case ({', '.join(package.inputs)})" if want > 1 else "one image of a case"
        raise InputError(
            f"{package.name} takes {wanted}, but {volume.name} has {have} channel{'s' if have > 1 else ''}; "
            "give exactly these, in this order."
        )
    arrays, notes = [], list[str]()
    for channel, name in zip(volume.channels, package.inputs, strict=True):
        one = volume if len(package.inputs) == 1 else Volume(channel, volume.affine, f"{name} of {volume.name}")
        array, told = usable_array(one)
        arrays.append(array)
        notes += told
    return arrays, notes


def warnings_for(volume: Volume, package: ModelPackage) -> list[str]:
    """Sentences on what the model was not made for (another modality or unit), and on sizes that mean little."""
    notes = [*volume.notes]
    wanted = package.modality
    if wanted and volume.modality and volume.modality != wanted:
        notes.append(
            f"{volume.name} is {volume.modality} but {package.name} was trained on {wanted}; "
            "do not trust the result, choose another model."
        )
    elif wanted == "CT" and not looks_like_ct(volume.array):
        notes.append(
            f"{volume.name} does not look like a CT in Hounsfield units (no fat or air values); "
            f"{package.name} was trained on CT, so do not trust the result unless it is one."
        )
    count = min(volume.array.shape)
    if count == 1 and wanted in ("DX", ""):
        notes.append(f"{volume.name} is a single picture; its sizes in mL and mm mean nothing.")
    elif count < _FEW_SLICES:
        slices = "1 slice" if count == 1 else f"{count} slices"
        notes.append(f"{volume.name} has only {slices}; volumes are of what is shown.")
    return notes


def implausible(found_ml: float, organ: str, volume: Volume, package: ModelPackage) -> list[str]:
    """What to tell of an organ that is larger than patients have it.

    Raises:
        InputError: so it is in an image that the model was not made for.
    """
    if found_ml <= LARGEST_ML.get(organ, np.inf):
        return []
    wanted = package.modality
    foreign = bool(wanted) and (
        volume.modality not in (None, wanted) or (wanted == "CT" and not looks_like_ct(volume.array))
    )
    what = f"{package.name} marked {found_ml / 1000:.1f} liters of {volume.name} as {organ}, which no patient has"
    if foreign:
        raise InputError(f"{what}; it was trained on {wanted}, which this image is not. Choose a model made for it.")
    return [f"{what}; check orientation, spacing and units of the image, and do not trust the result."]


def looks_like_ct(array: npt.NDArray[Any]) -> bool:
    """Whether the values can be Hounsfield units of a trunk: fat or air below -50 and tissue around 0 to 200."""
    flat = array.reshape(-1, order="A")
    sample = flat[:: max(1, flat.size // _SAMPLE)]
    sample = sample[np.isfinite(sample)] if sample.dtype.kind == "f" else sample
    if not sample.size:
        return False
    low = float((sample < -50).mean())
    tissue = float(((sample > -20) & (sample < 250)).mean())
    return low > 0.01 and tissue > 0.01
