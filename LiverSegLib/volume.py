"""What goes in and what comes out: `Volume` and `Result`.

Arrays are in ijk order (first axis i), as nibabel and `slicer.util.arrayFromVolume(...).transpose(2, 1, 0)`
give them. An affine is the 4x4 matrix that takes homogeneous voxel indices (i, j, k, 1) to RAS millimeters,
which is exactly what `vtkMRMLVolumeNode.GetIJKToRASMatrix` and `nibabel`'s `affine` hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from LiverSegLib.boxes import is_one_of
from LiverSegLib.errors import InputError
from LiverSegLib.labels import Label, values_of
from LiverSegLib.measure import Measurements, voxel_ml_of
from LiverSegLib.quality import Quality

# From a microscope's voxel to a meter: what lies outside is a damaged header, and a grid of such steps would not
# fit into memory.
_SPACINGS_MM = (1e-3, 1e3)
# Positions count from a scanner's center; no table moves that far.
_FAR_MM = 1e6


@dataclass(frozen=True)
class Volume:
    """One 3D image: scalar, or several channels on one grid.

    Args:
        array: voxel values, shape [i, j, k], any integer or floating type; never modified by us. Of an image of several
            channels the first, which is what is drawn and measured.
        affine: 4x4, voxel index -> RAS mm.
        name: how messages call it, usually the file or node name.
        modality: "CT", "MR" or None where the source does not tell.
        notes: sentences on what reading had to change; every result of this volume tells them.
        further: the other channels, for example further MR sequences, each like `array`, of the same shape.

    Raises:
        InputError: an array is not 3D or is empty, the channels differ in shape, or the affine does not span a volume
            of voxels from 0.001 to 1000 mm.
    """

    array: npt.NDArray[Any]
    affine: npt.NDArray[np.float64]
    name: str = "the image"
    modality: str | None = None
    notes: tuple[str, ...] = ()
    further: tuple[npt.NDArray[Any], ...] = ()

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        object.__setattr__(self, "affine", affine)
        check_array(self.array, self.name)
        for number, channel in enumerate(self.further, start=2):
            check_array(channel, f"channel {number} of {self.name}")
            if channel.shape != self.array.shape:
                mine, other = ("x".join(map(str, array.shape)) for array in (channel, self.array))
                raise InputError(f"channel {number} of {self.name} has {mine} voxels, the first {other}; resample it.")
        check_affine(affine, self.name)

    @property
    def channels(self) -> tuple[npt.NDArray[Any], ...]:
        """All channels [i, j, k] in their order; one for a scalar image."""
        return self.array, *self.further

    def mapped(self, change: Callable[[npt.NDArray[Any]], npt.NDArray[Any]], **others: Any) -> Volume:
        """The volume with every channel changed alike, and `others` of its fields replaced."""
        first, *further = (change(channel) for channel in self.channels)
        return replace(self, array=first, further=tuple(further), **others)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between neighboring voxel centers along i, j, k in mm."""
        return spacing_of(self.affine)

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel in mL."""
        return voxel_ml_of(self.affine)


def spacing_of(affine: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """Lengths of the affine's three columns: voxel distances along i, j, k in mm."""
    i, j, k = np.linalg.norm(affine[:3, :3], axis=0)
    return float(i), float(j), float(k)


def check_array(array: npt.NDArray[Any], name: str) -> None:
    """Refuse what is not one scalar 3D image, saying what it is instead."""
    shape = "x".join(str(n) for n in array.shape)
    is_color = array.ndim == 4 and array.shape[-1] in (3, 4) and array.dtype == np.uint8
    faults = {
        f"is a color image ({shape}); segment a scalar volume such as the original CT": array.dtype.names or is_color,
        f"is a 4D series ({shape}); extract one 3D volume of it first, or use a model that takes all of them as the "
        "images of a case": array.ndim == 4,
        f"is a {array.ndim}D image ({shape}); a 3D volume is needed": array.ndim != 3,
        f"is empty ({shape}); load it again or choose another volume": array.size == 0,
        f"holds {array.dtype} values; a volume of real numbers is needed": array.dtype.kind not in "iufb",
    }
    for fault, is_so in faults.items():
        if is_so:
            raise InputError(f"{name} {fault}.")


def check_affine(affine: npt.NDArray[np.float64], name: str) -> None:
    """Refuse an affine that does not place the voxels in space."""
    if affine.shape != (4, 4):
        raise InputError(f"{name} has an affine of shape {affine.shape}; a 4x4 matrix is needed.")
    if not np.isfinite(affine).all():
        raise InputError(f"{name} has an affine that is not finite; repair its header.")
    with np.errstate(over="ignore"):
        lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if (lengths <= 0).any():
        raise InputError(f"{name} has a voxel spacing of zero; repair its header.")
    if lengths.min() < _SPACINGS_MM[0] or lengths.max() > _SPACINGS_MM[1]:
        spacing = " x ".join(f"{length:.3g}" for length in lengths)
        raise InputError(
            f"{name} has a voxel spacing of {spacing} mm, far from that of any patient's image; repair its header."
        )
    if np.abs(affine[:3, 3]).max() > _FAR_MM:
        raise InputError(f"{name} lies {np.abs(affine[:3, 3]).max():.3g} mm from the origin; repair its header.")
    if abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-3:
        raise InputError(f"{name} has a singular affine (its axes do not span a volume); repair its header.")


@dataclass(frozen=True, kw_only=True)
class Result:
    """Everything a segmentation gives.

    Args:
        labelmap: uint8, shape [i, j, k] of the input; 0 is background.
        affine: the input's affine, bit for bit.
        labels: what the values mean, in rising order of value.
        measurements: volumes in mL and lesions.
        timings: seconds per stage, in order.
        warnings: sentences that the user should read (modality, device fallback, empty result).
        device: where the network ran, for example "cpu (fp32)".
        model: name and version of the package.
        quality: what is believed of it; None where nothing was looked at.
    """

    labelmap: npt.NDArray[np.uint8]
    affine: npt.NDArray[np.float64]
    labels: tuple[Label, ...]
    measurements: Measurements
    timings: dict[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    device: str = "cpu"
    model: str = ""
    quality: Quality | None = None

    def mask(self, name: str) -> npt.NDArray[np.bool_]:
        """Boolean [i, j, k] mask of the label called `name` with its parts: lesions count as their organ.

        Raises:
            KeyError: the model does not segment `name`.
        """
        wanted = values_of(name, self.labels)
        if not wanted:
            raise KeyError(f"{name} is not among {[label.name for label in self.labels]}")
        mask: npt.NDArray[np.bool_] = np.empty(self.labelmap.shape, bool, order="F")
        for k in range(self.labelmap.shape[2]):  # a slice at a time: a second mask costs as much as the first
            mask[:, :, k] = is_one_of(self.labelmap[:, :, k], wanted)
        return mask
