"""Models of MONAI's Auto3DSeg (SegResNet) as they are shared: a folder with model.pt and labels.csv.

The checkpoint holds the configuration of its training beside the weights. Both are read as data, and run as
`auto3dseg_segresnet_inference.py` of https://github.com/lassoan/SlicerMONAIAuto3DSeg runs them, with one difference:
where it turns the image, it cuts out the foreground by the box of the image as it lay before.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from LiverSegLib.errors import ModelError
from LiverSegLib.labels import Label
from LiverSegLib.models.arguments import flag, number, whole
from LiverSegLib.models.auto3dseg_labels import read_labels
from LiverSegLib.models.crop import ForegroundCrop
from LiverSegLib.models.expressions import NoValueError
from LiverSegLib.models.folder import MAX_WEIGHTS, PackageFolder
from LiverSegLib.models.inferer import Inferer
from LiverSegLib.models.intensity import Intensity, Normalize, ScaleRange
from LiverSegLib.models.resampling import OWN_AXES, Resampling
from LiverSegLib.models.sidecar import Sidecar, read_sidecar
from LiverSegLib.models.spec import NOT_STATED, ModelDescription, ModelPackage
from LiverSegLib.models.squash import AboveLeast, Sigmoid, SoftLimit
from LiverSegLib.models.text import is_name, one_line, shown
from LiverSegLib.models.torch_file import read_values
from LiverSegLib.networks import canonical_name, check_arguments

LABELS, CHECKPOINT = "labels.csv", "model.pt"
_WRONG = (KeyError, TypeError, ValueError, OverflowError, AttributeError)
_LONGEST_NAME = 100
_VERSION = re.compile(r"(?P<name>.+?)-v(?P<version>\d+(?:\.\d+)*)(?:-[0-9a-f]{16})?")
"""How the folders are called: with the version behind the name; unpacked ones have a checksum there, too."""
_MODALITIES = {"ct": "CT", "mri": "MR", "mr": "MR"}
_OVERLAP = 0.625
_MARGIN = 10
_KEPT = (0.75, 1.25)
"""An axis of the image whose spacing is within these parts of the wanted one is not resampled."""
_HERE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "@input_channels": lambda config: config.get("input_channels", 1),
    "@output_classes": lambda config: config["output_classes"],
    "@resample_resolution": lambda config: config["resample_resolution"],
}
"""References that the configuration of the network may hold."""


def read_auto3dseg(folder: Path) -> ModelPackage:
    """The model in a folder that holds both files; its weights are not read yet.

    Raises:
        ModelError: it is damaged or unsafe, or needs something that is not supported.
    """
    files = PackageFolder(folder)
    files.check_listed(weights=False)
    path = files.path / CHECKPOINT
    with files.peek(CHECKPOINT, MAX_WEIGHTS) as file:
        values = read_values(file, path)
    config, sidecar = values.get("config"), read_sidecar(files)
    if not isinstance(config, dict):
        raise ModelError(f"{path} holds no configuration; it is not a checkpoint of Auto3DSeg's SegResNet.")
    try:
        network, arguments = _network(config)
        classes = arguments["out_channels"] - (0 if flag(config, "sigmoid") else 1)
        spec = _spec(config, sidecar)
    except _WRONG as error:
        what = f"lacks {one_line(error, 60)}" if isinstance(error, KeyError) else one_line(error, 300)
        raise ModelError(f"The configuration in {path} cannot be used: it {what}.") from error
    labels = read_labels(files, LABELS, classes, sidecar.names)
    regions = tuple(label.value for label in labels) if flag(config, "sigmoid") else ()
    described = _description(files, config, labels, sidecar)
    return ModelPackage(
        path=files.path,
        weights=(CHECKPOINT,),
        **vars(described),
        **spec,
        network=network,
        arguments=arguments,
        regions=regions,
    )


def _description(
    files: PackageFolder, config: dict[str, Any], labels: tuple[Label, ...], sidecar: Sidecar
) -> ModelDescription:
    match = _VERSION.fullmatch(files.path.name)
    name, version = (match["name"], match["version"]) if match else (files.path.name, "")
    found = next((text for text in (sidecar.title, name) if is_name(text, _LONGEST_NAME)), "Auto3DSeg")
    modality = _MODALITIES.get(str(config.get("modality", "")).lower(), "")
    return ModelDescription(
        name=found,
        version=sidecar.version or version,
        modality=sidecar.modality or modality,
        labels=labels,
        license=sidecar.license or NOT_STATED,
        data_source=sidecar.data_source or NOT_STATED,
        intended_use=sidecar.intended_use or NOT_STATED,
        guide=sidecar.guide,
    )


def _network(config: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Registry name and arguments."""
    definition = config["network"]
    name = canonical_name(str(definition["_target_"]))
    if name != "SegResNetDS":
        raise ValueError(f"asks for the network {name}; only SegResNetDS is run")
    arguments = {key: _plain(value, config) for key, value in definition.items() if not key.startswith("_")}
    arguments.setdefault("spatial_dims", 3)
    arguments.setdefault("in_channels", 1)
    arguments["out_channels"] = whole(arguments["out_channels"], "out_channels", 1, 256)
    if arguments["in_channels"] != 1 or config.get("extra_modalities"):
        raise ValueError(f"wants {arguments['in_channels']} images at once; only models of one image are run")
    if arguments["spatial_dims"] != 3:
        raise ValueError(f"has spatial_dims {shown(arguments['spatial_dims'])}; only 3D networks are run")
    check_arguments(name, arguments)
    return name, arguments


def _plain(value: Any, config: dict[str, Any]) -> Any:
    """An argument of the network as lists and values."""
    if isinstance(value, str) and value in _HERE:
        return _HERE[value](config)
    if isinstance(value, str) and value[:1] in ("@", "$"):
        raise NoValueError(f"holds the expression {shown(value)}; expressions are not executed")
    if isinstance(value, str) and value.upper() == "INSTANCE_NVFUSER":
        return "INSTANCE"  # the same on other devices
    if isinstance(value, tuple | list):
        return [_plain(part, config) for part in value]
    return value


def _spec(config: dict[str, Any], sidecar: Sidecar) -> dict[str, Any]:
    """Grid, intensities, foreground and window, by the names of `ModelSpec`."""
    wanted = config.get("resample_resolution")
    pixdim = (-1.0,) * 3 if wanted is None else tuple(number(n, "resample_resolution", 0.1, 100) for n in wanted)
    roi = [whole(n, "roi_size", 1, 1024) for n in config["roi_size"]]
    if len(pixdim) != 3 or len(roi) != 3:
        raise ValueError(f"has the resample_resolution {shown(wanted)} and the roi_size {shown(roi)}; each needs 3")
    turned = flag(config, "orientation_ras")
    foreground = config.get("crop_foreground", True)
    crop = ForegroundCrop(margin=_MARGIN, normalized=True, by_input=True)
    window = {"roi_size": roi, "overlap": _OVERLAP, "mode": "gaussian"}
    return {
        "axcodes": "RAS" if turned else sidecar.axcodes or OWN_AXES,
        "pixdim": pixdim,
        "intensity": _intensity(config),
        "crop": crop if foreground else None,
        "inferer": Inferer.from_monai("SlidingWindowInferer", window),
        "nearest": True,
        "resampling": Resampling(normalize_first=True, keep_within=_KEPT),
    }


def _range(config: dict[str, Any]) -> tuple[Intensity, ...]:
    low, high = config["intensity_bounds"]
    scale = {"a_min": float(low), "a_max": float(high), "b_min": -1.0, "b_max": 1.0, "clip": False}
    return ScaleRange.from_monai(scale), Sigmoid()


_MODES: dict[str, Callable[[dict[str, Any]], tuple[Intensity, ...]]] = {
    "none": lambda _: (),
    "range": _range,
    "ct": _range,
    "meanstd": lambda _: (Normalize(nonzero=True),),
    "mri": lambda _: (Normalize(nonzero=True),),
    "meanstdtanh": lambda _: (Normalize(nonzero=True), SoftLimit(3.0)),
    "pet": lambda _: (AboveLeast(), Sigmoid()),
}
"""The ways of normalizing, by what the configuration calls them."""


def _intensity(config: dict[str, Any]) -> tuple[Intensity, ...]:
    mode = config["normalize_mode"]
    if not isinstance(mode, str) or mode not in _MODES:
        raise ValueError(f"has the normalize_mode {shown(mode)}, which is none of {', '.join(_MODES)}")
    return _MODES[mode](config)
