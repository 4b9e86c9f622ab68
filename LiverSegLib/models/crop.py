"""The foreground that a network is shown as a value: what a package asks for, and how MONAI writes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from LiverSegLib.models.arguments import Arguments, three, whole
from LiverSegLib.models.text import shown

CROP_ARGUMENTS = {"select_fn", "channel_indices", "margin", "allow_smaller", "k_divisible"}
"""What is read of MONAI's `CropForegroundd`."""
_WIDEST = 1024
# How packages say what foreground is, with single spaces: expressions of MONAI that are known and never evaluated.
_SELECTIONS = {
    "$lambda x: x > 0": False,
    "$lambda x: x>0": False,
    "$monai.transforms.utils.is_positive": False,
    "$lambda x: x != 0": True,
    "$lambda x: x!=0": True,
}


@dataclass(frozen=True, kw_only=True)
class ForegroundCrop:
    """Only the box around an image's foreground is shown to the network; what lies outside is background.

    Args:
        nonzero: foreground is what is not 0, instead of what is above 0.
        margin: voxels by which the box is widened on each side, inside the image.
        resampled: the box is cut out of the model's grid, instead of the input's own voxels before resampling.
        normalized: it is cut after the intensity steps, which then are of the whole image.
        by_input: the input's own values say where the foreground is also where it is cut after the intensity steps;
            else what these have made of them.
    """

    nonzero: bool = False
    margin: int = 0
    resampled: bool = False
    normalized: bool = False
    by_input: bool = False

    @classmethod
    def from_monai(cls, arguments: Arguments, *, resampled: bool, normalized: bool) -> ForegroundCrop:
        """The box with these arguments of MONAI's `CropForegroundd`, after these steps of the preprocessing.

        Raises:
            KeyError, TypeError, ValueError, OverflowError: an argument is missing or wrong.
        """
        margins = {whole(n, "margin", 0, _WIDEST) for n in three({"margin": 0} | dict(arguments), "margin")}
        if len(margins) > 1:
            raise ValueError(f"margin {shown(arguments['margin'])} is not the same for all axes")
        if margins != {0} and not arguments.get("allow_smaller"):
            raise ValueError("a margin is only supported with allow_smaller true: inside the image")
        if arguments.get("k_divisible", 1) not in (1, [1, 1, 1]):
            raise ValueError(f"k_divisible {shown(arguments['k_divisible'])} is not supported, only 1 is")
        if arguments.get("channel_indices") not in (None, 0, [0]):
            raise ValueError(f"channel_indices {shown(arguments['channel_indices'])} is not supported: images have one")
        selection = arguments.get("select_fn")
        if selection is not None and _spaced(selection) not in _SELECTIONS:
            raise ValueError(f"select_fn {shown(selection)} is none of {', '.join(_SELECTIONS)}")
        nonzero = selection is not None and _SELECTIONS[_spaced(selection)]
        return cls(nonzero=nonzero, margin=max(margins), resampled=resampled, normalized=normalized)

    def to_monai(self) -> dict[str, Any]:
        """The box as MONAI's configuration, for its place among the steps."""
        found: dict[str, Any] = {"_target_": "CropForegroundd", "keys": "image", "source_key": "image"}
        if self.nonzero:
            found["select_fn"] = "$lambda x: x != 0"
        return found | {"margin": self.margin, "allow_smaller": True}


def _spaced(text: Any) -> str:
    return " ".join(str(text).split())
