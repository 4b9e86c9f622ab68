"""The model package: what a network needs to be run exactly as it was trained, read as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from LiverSegLib.engine.intensity import Intensity
from LiverSegLib.errors import ModelError
from LiverSegLib.labels import Label, labels_for
from LiverSegLib.models.archive import extracted
from LiverSegLib.models.config import BundleConfig, read_json
from LiverSegLib.models.folder import INFERENCE, LICENSE, METADATA, PackageFolder
from LiverSegLib.models.text import is_name, one_line, shown
from LiverSegLib.models.transforms import Inferer, read_inferer, read_postprocessing, read_preprocessing
from LiverSegLib.networks import canonical_name, check_arguments

_ANY_DTYPE_MAX_LABELS = 255
_LONGEST_NAME = 100
_LONGEST_TEXT = 2000
_LARGEST_INTEGER = 10**15


@dataclass(frozen=True)
class ModelPackage:
    """One model, ready to be built.

    Args:
        path: the package's folder.
        name, version, license, data_source, intended_use: as its metadata tell.
        modality: "CT", "MR", "DX" (X-ray) or "".
        labels: what it segments, in rising order of value; the network has one channel more.
        spatial_dims: 2 (run slice by slice along the last model axis) or 3.
        network, arguments: registry name and keyword arguments.
        axcodes, pixdim: the grid it works on; a pixdim <= 0 keeps the image's spacing.
        size: voxels into which the field of view is divided; a value <= 0 leaves the axis to pixdim.
        intensity: the normalisation steps, in order.
        divisible: the grid is padded with zeros, half on each side, to multiples of these sizes.
        inferer: the sliding window.
        softmax: probabilities instead of logits are brought back to the input grid.
        nearest: labels instead of logits are brought back (nearest neighbour).
        metadata: everything that metadata.json says.
    """

    path: Path
    name: str
    version: str
    modality: str
    labels: tuple[Label, ...]
    spatial_dims: int
    network: str
    arguments: dict[str, Any]
    axcodes: str
    pixdim: tuple[float, float, float]
    intensity: tuple[Intensity, ...]
    divisible: tuple[int, int, int]
    inferer: Inferer
    size: tuple[int, int, int] = (-1, -1, -1)
    softmax: bool = False
    nearest: bool = False
    license: str = "not stated"
    data_source: str = "not stated"
    intended_use: str = "not stated"
    metadata: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def title(self) -> str:
        """Name and version for people."""
        return f"{self.name} {self.version}".strip()

    @property
    def channels(self) -> int:
        """Output channels of the network, background included."""
        return len(self.labels) + 1


def read_package(path: Path | str) -> ModelPackage:
    """Read a package folder or `.zip`; nothing of it is executed and its weights are not loaded yet.

    Raises:
        ModelError: the package is incomplete or unsafe, or needs something that is not supported.
    """
    folder = extracted(Path(path))
    files = PackageFolder(folder)
    files.check_listed(weights=False)
    metadata = read_json(files, METADATA)
    name = one_line(folder.name, _LONGEST_NAME)
    config = BundleConfig(read_json(files, INFERENCE), f"The package {name}")
    network, arguments = _read_network(config)
    labels, modality = _read_channels(metadata, name)
    grid = read_preprocessing(config)
    softmax, nearest = read_postprocessing(config)
    license_line = _license_line(files)
    spatial_dims = _spatial_dims(arguments, name)
    inferer = read_inferer(config)
    if len(inferer.roi_size) != spatial_dims:
        raise ModelError(
            f"The package {name} has a {spatial_dims}D network but a window of {len(inferer.roi_size)} "
            "sizes; repair the package."
        )
    declared = arguments.get("out_channels")
    if declared != len(labels) + 1:
        raise ModelError(
            f"The package {name} names {len(labels) + 1} channels in metadata.json but its network "
            f"has {declared}; repair the package."
        )
    return ModelPackage(
        path=folder,
        name=_name(metadata, "name", name) or name,
        version=_name(metadata, "version", name),
        modality=modality,
        labels=labels,
        spatial_dims=spatial_dims,
        network=network,
        arguments=arguments,
        axcodes=grid.axcodes,
        pixdim=grid.pixdim,
        size=grid.size,
        intensity=grid.intensity,
        divisible=grid.divisible,
        inferer=inferer,
        softmax=softmax,
        nearest=nearest,
        license=one_line(metadata.get("license") or license_line, _LONGEST_TEXT),
        data_source=one_line(metadata.get("data_source", "not stated"), _LONGEST_TEXT),
        intended_use=one_line(metadata.get("intended_use", "not stated"), _LONGEST_TEXT),
        metadata=_checked_metrics(metadata, name),
    )


def _read_network(config: BundleConfig) -> tuple[str, dict[str, Any]]:
    key = "network_def" if "network_def" in config else "network"
    definition = config.get(key)
    if not isinstance(definition, dict) or not isinstance(definition.get("_target_"), str):
        raise ModelError(f"{config.source}: {key} does not name a network by _target_; repair the package.")
    arguments = {k: v for k, v in definition.items() if not k.startswith("_")}
    name = canonical_name(definition["_target_"])
    if name == "SwinUNETR":
        arguments.pop("img_size", None)  # older MONAI wanted it, newer refuses it
    check_arguments(name, arguments)
    return name, arguments


def _spatial_dims(arguments: dict[str, Any], name: str) -> int:
    dims = arguments.get("spatial_dims", 3)
    if dims not in (2, 3):
        raise ModelError(f"The package {name} has spatial_dims {dims!r}; 2 or 3 is needed.")
    if arguments.get("in_channels") != 1:
        raise ModelError(
            f"The package {name} takes {arguments.get('in_channels')} input channels; only one is supported."
        )
    return int(dims)


def _read_channels(metadata: dict[str, Any], name: str) -> tuple[tuple[Label, ...], str]:
    try:
        data_format = metadata["network_data_format"]
        channels = next(iter(data_format["outputs"].values()))["channel_def"]
        modality = next(iter(data_format["inputs"].values())).get("modality", "")
        named = {int(key): value for key, value in channels.items()}
    except (KeyError, StopIteration, AttributeError, TypeError, ValueError) as error:
        raise ModelError(f"The package {name} does not say in metadata.json what its channels are.") from error
    if sorted(named) != list(range(len(named))) or not 2 <= len(named) <= _ANY_DTYPE_MAX_LABELS + 1:
        raise ModelError(f"The package {name} numbers its channels with gaps; repair its channel_def.")
    for value, text in sorted(named.items()):
        if not isinstance(text, str) or (value and not is_name(text.strip(), _LONGEST_NAME)):
            raise ModelError(
                f"The package {name} calls channel {value} {shown(text)} in channel_def; a name of at most "
                f"{_LONGEST_NAME} characters in one line is needed, beginning with a letter or a digit."
            )
    if modality and not is_name(modality, _LONGEST_NAME):
        raise ModelError(f"The package {name} has the modality {shown(modality)}; repair its metadata.json.")
    labels = labels_for({value: text for value, text in named.items() if value})
    names = [label.name for label in labels]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice is not None:
        raise ModelError(f"The package {name} has two channels that mean {twice}; repair its channel_def.")
    return labels, str(modality).upper()


def _name(metadata: dict[str, Any], key: str, package: str) -> str:
    """A text of metadata.json that is shown in lists and titles; "" where it is missing or empty."""
    value = metadata.get(key)
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)  # a version such as 1.0 without its quotes
    if value is None or value == "":
        return ""
    if not is_name(value, _LONGEST_NAME):
        raise ModelError(
            f"The package {package} has the {key} {shown(value)} in metadata.json; a text of at most "
            f"{_LONGEST_NAME} characters in one line is needed, beginning with a letter or a digit."
        )
    return str(value)


def _checked_metrics(metadata: dict[str, Any], package: str) -> dict[str, Any]:
    """The metadata, once its eval_metrics are what they are taken for: numbers by name."""
    metrics = metadata.get("eval_metrics", {})
    if not isinstance(metrics, dict):
        raise ModelError(
            f"The package {package} has the eval_metrics {shown(metrics)} in metadata.json; numbers by name are needed."
        )
    for key, value in metrics.items():
        if not _is_number(value) or not key.isprintable() or len(key) > _LONGEST_NAME:
            raise ModelError(
                f"The package {package} has {shown(value)} as {shown(key)} in eval_metrics of metadata.json; "
                "a number by name is needed."
            )
    return metadata


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return True  # also NaN, which a score without any case has
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LARGEST_INTEGER


def _license_line(files: PackageFolder) -> str:
    if not files.has(LICENSE):
        return "not stated"
    lines = files.read(LICENSE).decode("utf-8", "replace").splitlines()
    return next((one_line(line) for line in lines if one_line(line)), "not stated")


def grid_text(pixdim: tuple[float, float, float], size: tuple[int, int, int]) -> str:
    """The model's grid for people, for example "1.5 mm x 1.5 mm x as in the image".

    Args:
        pixdim: mm along the model's axes; a value <= 0 keeps the image's.
        size: voxels along them; a value <= 0 leaves that axis to `pixdim`.
    """
    axes = zip(pixdim, size, strict=True)
    return " x ".join(f"{n} voxels" if n > 0 else f"{mm:g} mm" if mm > 0 else "as in the image" for mm, n in axes)
