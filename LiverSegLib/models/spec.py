"""What a model is, apart from its weights: one description for those who write a package and those who read it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from LiverSegLib.labels import Label, label_for, of_main_organ
from LiverSegLib.models.crop import ForegroundCrop
from LiverSegLib.models.inferer import Inferer
from LiverSegLib.models.intensity import Intensity
from LiverSegLib.models.resampling import MONAI, Resampling
from LiverSegLib.quality import Calibration

NOT_STATED = "not stated"
MANY_LABELS = 6
"""A model of more is about a whole body, of which most users want one organ."""
MODEL_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
"""How a package names another: no path, so that the other can only lie beside it or ship with LiverSeg."""
WIDEST_MARGIN = 500.0


@dataclass(frozen=True)
class Guide:
    """Another model that tells where this one looks.

    Args:
        model: the name of its package: one that lies beside this one's, or a built-in one.
        margin_mm: how far from what it finds this model's labels may reach.
    """

    model: str
    margin_mm: float = 15.0


@dataclass(frozen=True, kw_only=True)
class ModelDescription:
    """What a package tells of its model in configs/metadata.json.

    Args:
        name, version, license, data_source, intended_use: for people; the version may be "".
        modality: "CT", "MR", "DX" (X-ray) or "" for any.
        inputs: names of the images of a case, such as T1 and T2, in the order that the network takes them.
        labels: what it segments, in rising order of value; the network has one channel more.
        metrics: results of its evaluation by name.
        changelog: what changed, by version.
        guide: the model that says where this one looks; None: it looks at the whole image by itself.
        voters: names of packages that have a say in what the organ is, found as a guide is; only with a guide.
        divides: the name of the package whose organ is divided among this one's labels, found as a guide is; "":
            the labels are drawn as the network has them.
        calibration: how well its results are believed to be, from what is seen in them; None: not calibrated.
        targets: names of the labels that are segmented unless others are asked for; (): see `default_targets`.
    """

    name: str
    version: str = ""
    modality: str = ""
    inputs: tuple[str, ...] = ("image",)
    labels: tuple[Label, ...]
    license: str = NOT_STATED
    data_source: str = NOT_STATED
    intended_use: str = NOT_STATED
    metrics: dict[str, float] = field(default_factory=dict)
    changelog: dict[str, str] = field(default_factory=dict)
    guide: Guide | None = None
    voters: tuple[str, ...] = ()
    divides: str = ""
    calibration: Calibration | None = None
    targets: tuple[str, ...] = ()

    @property
    def default_targets(self) -> tuple[str, ...]:
        """Names of the labels that are segmented unless others are asked for.

        What the package says; where it says nothing and has many labels, what belongs to the liver; else all.
        """
        stated = {label_for(1, name).name for name in self.targets}
        found = [label for label in self.labels if label.name in stated]
        if not found and len(self.labels) > MANY_LABELS:
            found = of_main_organ(self.labels)
        return tuple(label.name for label in found or self.labels)

    @property
    def title(self) -> str:
        """Name and version for people."""
        return f"{self.name} {self.version}".strip()

    @property
    def channels(self) -> int:
        """Output channels of the network, background included."""
        return len(self.labels) + 1


@dataclass(frozen=True, kw_only=True)
class ModelSpec(ModelDescription):
    """Everything that a package says of a model: what a network needs to be run exactly as it was trained.

    Args:
        network, arguments: registry name and keyword arguments, with in_channels and out_channels.
        axcodes, pixdim: the grid it works on, mm; a pixdim <= 0 keeps the image's spacing. Axes are named by where they
            point ("RAS"), or, whatever way they point, by the image's own ("ijk" leaves them as they are).
        size: voxels into which the field of view is divided; a value <= 0 leaves the axis to pixdim.
        intensity: the normalization steps, in order; of each channel by itself.
        intensities: those of each channel, where they differ; () where they do not.
        crop: the part of the image that the network is shown; None: all of it.
        divisible: the grid is padded with zeros, half on each side, to multiples of these sizes.
        inferer: the sliding window; of two sizes where the network runs slice by slice along the last model axis.
        softmax: probabilities instead of logits are brought back to the input grid.
        nearest: labels instead of logits are brought back (nearest neighbor).
        resampling: how images are brought to the grid and logits back.
        regions: the network's channels are independent of each other (sigmoid) and paint these values one after the
            other; () where they exclude each other, background first (softmax).
        mirror_axes: axes of the window along which its training saw images mirrored, so that mirrored ones may be
            shown to it when it is run (`Inferer.mirror`); () where none are known.
    """

    network: str
    arguments: dict[str, Any]
    axcodes: str
    pixdim: tuple[float, float, float]
    size: tuple[int, int, int] = (-1, -1, -1)
    intensity: tuple[Intensity, ...]
    intensities: tuple[tuple[Intensity, ...], ...] = ()
    crop: ForegroundCrop | None = None
    divisible: tuple[int, int, int] = (1, 1, 1)
    inferer: Inferer
    softmax: bool = False
    nearest: bool = False
    resampling: Resampling = MONAI
    regions: tuple[int, ...] = ()
    mirror_axes: tuple[int, ...] = ()

    @property
    def channels(self) -> int:
        """Output channels of the network, background included unless they are regions."""
        return len(self.regions) or super().channels

    def steps(self, channel: int) -> tuple[Intensity, ...]:
        """The normalization steps of a channel, counted from 0."""
        return self.intensities[channel] if self.intensities else self.intensity

    @property
    def spatial_dims(self) -> int:
        """2 or 3."""
        return len(self.inferer.roi_size)

    @property
    def grid_text(self) -> str:
        """The model's grid for people, for example "1.5 mm x 1.5 mm x as in the image"."""
        axes = zip(self.pixdim, self.size, strict=True)
        return " x ".join(f"{n} voxels" if n > 0 else f"{mm:g} mm" if mm > 0 else "as in the image" for mm, n in axes)


@dataclass(frozen=True, kw_only=True)
class ModelPackage(ModelSpec):
    """A model whose package lies in the folder `path`, ready to be built.

    Args:
        path: the folder.
        weights: names of the files in it that hold the weights, of networks whose mean is taken where there are
            several; () where they lie as MONAI's bundles have them.
        softmax_mean: of several networks the mean of their probabilities is taken, and not of their logits.
    """

    path: Path
    weights: tuple[str, ...] = ()
    softmax_mean: bool = False
