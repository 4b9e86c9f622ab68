"""configs/metadata.json, read and written: what a package tells of its model, in MONAI's schema."""

from __future__ import annotations

import re
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from LiverSegLib import __version__
from LiverSegLib.errors import InputError, ModelError
from LiverSegLib.labels import labels_for
from LiverSegLib.models.intensity import intensity_text
from LiverSegLib.models.spec import MODEL_NAME, NOT_STATED, WIDEST_MARGIN, Guide, ModelDescription
from LiverSegLib.models.text import is_name, one_line, shown
from LiverSegLib.networks import canonical_name
from LiverSegLib.networks.registry import OURS
from LiverSegLib.plain_data import from_plain
from LiverSegLib.quality import EVIDENCE, Calibration

if TYPE_CHECKING:
    from LiverSegLib.labels import Label
    from LiverSegLib.models.spec import ModelSpec

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
_MOST_INPUTS = 64
_MAX_CHANNELS = 256
"""Labels are stored as uint8."""
_LONGEST_NAME = 100
_A_NAME = f"a text of at most {_LONGEST_NAME} characters in one line is needed, beginning with a letter or a digit"
_LARGEST_INTEGER = 10**15
_MOST_VOTERS = 4
_QUALITY = "liverseg_quality"
_CHAIN = "liverseg_chain"
"""Where the other models of a chain are named; MONAI does not look there and runs this one alone."""


def read_metadata(data: dict[str, Any], package: str) -> ModelDescription:
    """What the file says.

    Args:
        data: the file's content, plain text only.
        package: what errors call the package, and the model's name where it has none.

    Raises:
        ModelError: its channels, names or metrics are not what they are taken for.
    """
    labels, modality = _read_channels(data, package)
    inputs = _read_inputs(data)
    changelog = data.get("changelog")
    return ModelDescription(
        name=_read_name(data, "name", package) or package,
        version=_read_name(data, "version", package),
        modality=modality,
        inputs=inputs,
        labels=labels,
        license=one_line(data.get("license") or NOT_STATED),
        data_source=one_line(data.get("data_source", NOT_STATED)),
        intended_use=one_line(data.get("intended_use", NOT_STATED)),
        metrics=_read_metrics(data, package),
        changelog={key: one_line(text) for key, text in changelog.items()} if isinstance(changelog, dict) else {},
        **_read_chain(data.get(_CHAIN, {}), package),
        calibration=_read_calibration(data.get(_QUALITY), package),
    )


def _read_channels(data: dict[str, Any], package: str) -> tuple[tuple[Label, ...], str]:
    """Labels and modality."""
    try:
        output = next(iter(data["network_data_format"]["outputs"].values()))
        channels = output["channel_def"] if "channel_def" in output else output["label_def"]
        modality = next(iter(data["network_data_format"]["inputs"].values())).get("modality", "")
        named = {int(key): value for key, value in channels.items()}
    except (KeyError, StopIteration, AttributeError, TypeError, ValueError) as error:
        raise ModelError(f"The package {package} does not say in metadata.json what its channels are.") from error
    if sorted(named) != list(range(len(named))) or not 2 <= len(named) <= _MAX_CHANNELS:
        raise ModelError(f"The package {package} numbers its channels with gaps; repair its channel_def.")
    for value, text in sorted(named.items()):
        if not isinstance(text, str) or (value and not is_name(text.strip(), _LONGEST_NAME)):
            raise ModelError(f"The package {package} calls channel {value} {shown(text)} in channel_def; {_A_NAME}.")
    if modality and not is_name(modality, _LONGEST_NAME):
        raise ModelError(f"The package {package} has the modality {shown(modality)}; repair its metadata.json.")
    labels = labels_for({value: text for value, text in named.items() if value})
    names = [label.name for label in labels]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice is not None:
        raise ModelError(f"The package {package} has two channels that mean {twice}; repair its channel_def.")
    return labels, str(modality).upper()


def _read_inputs(data: dict[str, Any]) -> tuple[str, ...]:
    """Names of the images of a case; one where no names are told that can be shown."""
    named = next(iter(data["network_data_format"]["inputs"].values())).get("channel_def")
    names = [named.get(str(n)) for n in range(min(len(named), _MOST_INPUTS))] if isinstance(named, dict) else []
    right = all(isinstance(name, str) and is_name(name, _LONGEST_NAME) for name in names)
    return tuple(map(str, names)) if names and right and len({*names}) == len(names) else ("image",)


def _read_chain(chain: Any, package: str) -> dict[str, Any]:
    """`guide`, `voters` and `divides`: which other models work with this one."""
    try:
        guide, divides, voters = chain.get("guide"), chain.get("divides", ""), tuple(chain.get("voters", ()))
        found = None if guide is None else Guide(guide["model"], float(guide.get("margin_mm", Guide.margin_mm)))
        names = [*([found.model] if found else []), *([divides] if divides != "" else []), *voters]
        right = all(re.fullmatch(MODEL_NAME, name) for name in names)
        right &= found is None or 0 <= found.margin_mm <= WIDEST_MARGIN
        right &= len(voters) <= _MOST_VOTERS and (found is not None or not voters)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        right = False
    if not right:
        raise ModelError(
            f"The package {package} names other models by {shown(chain)} in metadata.json; {_CHAIN} needs plain names "
            f"of packages, voters only beside a guide, and a margin_mm of 0 to {WIDEST_MARGIN:g}."
        )
    return {"guide": found, "voters": voters, "divides": divides}


def _read_calibration(data: Any, package: str) -> Calibration | None:
    if data is None:
        return None
    try:
        found = from_plain(Calibration, data, _QUALITY)
        unknown = [name for name in found.weights if name not in EVIDENCE]
        if unknown:
            raise InputError(f"{_QUALITY} weighs {shown(unknown[0])}, which is none of {', '.join(EVIDENCE)}.")
    except InputError as error:
        raise ModelError(f"The package {package} cannot be used: in metadata.json {error}") from error
    return found


def calibration_entry(calibration: Calibration) -> dict[str, Any]:
    """What metadata.json says of a calibration, by its key."""
    return {_QUALITY: asdict(calibration)}


def _write_chain(spec: ModelSpec) -> dict[str, Any]:
    guide = {} if spec.guide is None else {"guide": {"model": spec.guide.model, "margin_mm": spec.guide.margin_mm}}
    voters = {"voters": list(spec.voters)} if spec.voters else {}
    chain = guide | voters | ({"divides": spec.divides} if spec.divides else {})
    return {_CHAIN: chain} if chain else {}


def _read_name(data: dict[str, Any], key: str, package: str) -> str:
    """A text that is shown in lists and titles; "" where it is missing or empty."""
    value = data.get(key)
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)  # a version such as 1.0 without its quotes
    if value is None or value == "":
        return ""
    if not is_name(value, _LONGEST_NAME):
        raise ModelError(f"The package {package} has the {key} {shown(value)} in metadata.json; {_A_NAME}.")
    return str(value)


def _read_metrics(data: dict[str, Any], package: str) -> dict[str, float]:
    """The eval_metrics: numbers by name."""
    metrics = data.get("eval_metrics", {})
    if isinstance(metrics, dict):
        wrong = [{key: value} for key, value in metrics.items() if not _is_metric(key, value)]
    else:
        wrong = [metrics]
    if wrong:
        what = f"eval_metrics {shown(wrong[0])} in metadata.json; numbers by name are needed."
        raise ModelError(f"The package {package} has the {what}")
    return metrics


def _is_metric(name: str, value: Any) -> bool:
    if isinstance(value, int):
        known = not isinstance(value, bool) and abs(value) < _LARGEST_INTEGER
    else:
        known = isinstance(value, float)  # also NaN, which a score without any case has
    return known and name.isprintable() and len(name) <= _LONGEST_NAME


def write_metadata(spec: ModelSpec) -> dict[str, Any]:
    """The package's metadata.json."""
    channels = {"0": "background", **{str(label.value): label.name for label in spec.labels}}
    required = {"nibabel": version("nibabel"), "pytorch-ignite": "0.5.0", "safetensors": "0.4.0"}
    if canonical_name(spec.network) in OURS:  # MONAI finds its own networks without LiverSeg
        required["liverseg"] = __version__
    return {
        "schema": SCHEMA,
        "version": spec.version,
        "changelog": spec.changelog,
        "monai_version": version("monai"),
        "pytorch_version": version("torch").split("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": required,
        "name": spec.name,
        "task": f"{spec.spatial_dims}D segmentation of {', '.join(label.name for label in spec.labels)}",
        "description": spec.name,
        "authors": "The LiverSeg contributors",
        "copyright": "The LiverSeg contributors",
        "license": spec.license,
        "data_source": spec.data_source,
        "data_type": "nibabel",
        "image_classes": ", ".join(filter(None, (spec.modality, intensity_text(spec.intensity, spec.modality)))),
        "label_classes": ", ".join(f"{k} is {v}" for k, v in channels.items()),
        "pred_classes": f"{len(channels)} channels of logits, one a label",
        "eval_metrics": spec.metrics,
        "intended_use": spec.intended_use,
        "references": [],
        **_write_chain(spec),
        **({} if spec.calibration is None else calibration_entry(spec.calibration)),
        "network_data_format": _data_format(spec, channels),
    }


def _data_format(spec: ModelSpec, channels: dict[str, str]) -> dict[str, Any]:
    """What goes into the network and what comes out of it."""
    roi = spec.inferer.roi_size
    shared = {
        "dtype": "float32",
        "spatial_shape": [n if n > 0 else f"{spec.divisible[axis]}*n" for axis, n in enumerate(roi)],
        "is_patch_data": -1 not in roi,
    }
    image = {
        "type": "image",
        "format": "hounsfield" if spec.modality == "CT" else "magnitude",
        "modality": spec.modality,
        "num_channels": len(spec.inputs),
        "channel_def": {str(number): name for number, name in enumerate(spec.inputs)},
        "value_range": spec.intensity[-1].value_range if spec.intensity else [],
    }
    prediction = {
        "type": "image",
        "format": "segmentation",
        "num_channels": len(channels),
        "value_range": [0, len(channels) - 1],
        "channel_def": channels,
    }
    return {"inputs": {"image": image | shared}, "outputs": {"pred": prediction | shared}}
