"""Writing a package that both our engine and `python -m monai.bundle run` execute."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from LiverSegLib import __version__
from LiverSegLib.models.checksums import write_checksums
from LiverSegLib.models.inference_config import inference
from LiverSegLib.models.weights import write_safetensors
from LiverSegLib.networks import target_path

if TYPE_CHECKING:
    import torch

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"


@dataclass(frozen=True)
class PackageSpec:
    """Everything a package says of a model except its weights.

    Args:
        labels: value -> name, 1, 2, ... without gaps.
        network, arguments: registry name and keyword arguments, with in_channels 1 and out_channels.
        axcodes, pixdim: the model's grid, mm; a pixdim <= 0 keeps the image's voxel size.
        size: voxels into which the field of view is divided, for images that do not tell their mm; None for none.
        normalize: "window" maps `window` to [0, 1], "percentiles" those of the image, "zscore" subtracts the mean
            and divides by the standard deviation of its voxels that are not 0.
        roi_size: sliding window in voxels; -1 for a whole axis.
        divisible: what the grid is padded to multiples of.
        card: model card in Markdown.
        license_text: goes to LICENSE.
    """

    name: str
    title: str
    version: str
    license: str
    license_text: str
    data_source: str
    intended_use: str
    labels: dict[int, str]
    network: str
    arguments: dict[str, Any]
    axcodes: str
    pixdim: tuple[float, float, float]
    window: tuple[float, float]
    roi_size: tuple[int, ...]
    overlap: float
    batch_size: int
    divisible: tuple[int, int, int]
    card: str
    metrics: dict[str, float] = field(default_factory=dict)
    changelog: dict[str, str] = field(default_factory=dict)
    modality: str = "CT"
    size: tuple[int, int, int] | None = None
    normalize: str = "window"
    percentiles: tuple[float, float] = (0.5, 99.5)


def write_package(
    folder: Path, spec: PackageSpec, state: dict[str, torch.Tensor], *, half: bool = False, torch_file: bool = True
) -> None:
    """Write the package folder `folder` (created; files in it are replaced).

    Args:
        folder: where to.
        spec: what the package says.
        state: the network's weights.
        half: store kernels as float16, half the size; they are loaded into float32 networks.
        torch_file: also write models/model.pt, for tools that read nothing else; our engine and MONAI's bundle
            runner take models/model.safetensors.
    """
    import torch

    for name in ("configs", "models", "docs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    if half:
        state = {k: _halved(v) for k, v in state.items()}
    _write_json(folder / "configs" / "metadata.json", metadata(spec))
    _write_json(folder / "configs" / "inference.json", inference(spec))
    (folder / "docs" / "README.md").write_text(spec.card, encoding="utf-8")
    (folder / "LICENSE").write_text(spec.license_text, encoding="utf-8")
    write_safetensors(folder / "models" / "model.safetensors", state, {"name": spec.name, "version": spec.version})
    if torch_file:
        torch.save(state, folder / "models" / "model.pt")
    write_checksums(folder)


def _halved(tensor: torch.Tensor) -> torch.Tensor:
    """Kernels in float16; vectors (biases, norms) are small and their variances can exceed its range."""
    if tensor.ndim < 2 or not tensor.is_floating_point():
        return tensor
    half = tensor.half()
    return half if bool(half.isfinite().all()) else tensor


def _write_json(path: Path, data: dict[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def metadata(spec: PackageSpec) -> dict[str, Any]:
    """The package's metadata.json in MONAI's schema."""
    dims = len(spec.roi_size)
    channels = {"0": "background", **{str(k): v for k, v in sorted(spec.labels.items())}}
    shape = [n if n > 0 else f"{spec.divisible[axis]}*n" for axis, n in enumerate(spec.roi_size)]
    image: dict[str, Any] = {"dtype": "float32", "spatial_shape": shape, "is_patch_data": -1 not in spec.roi_size}
    return {
        "schema": SCHEMA,
        "version": spec.version,
        "changelog": spec.changelog or {spec.version: "first version"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").split("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {
            "nibabel": version("nibabel"),
            "pytorch-ignite": "0.5.0",
            "safetensors": "0.4.0",
            **_our_package(spec),
        },
        "name": spec.title,
        "task": f"{dims}D segmentation of {', '.join(spec.labels.values())}",
        "description": spec.title,
        "authors": "The LiverSeg contributors",
        "copyright": "The LiverSeg contributors",
        "license": spec.license,
        "data_source": spec.data_source,
        "data_type": "nibabel",
        "image_classes": ", ".join(part for part in (spec.modality, intensity_text(spec)) if part),
        "label_classes": ", ".join(f"{k} is {v}" for k, v in channels.items()),
        "pred_classes": f"{len(channels)} channels of logits, one a label",
        "eval_metrics": spec.metrics,
        "intended_use": spec.intended_use,
        "references": [],
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "hounsfield" if spec.modality == "CT" else "magnitude",
                    "modality": spec.modality,
                    "num_channels": 1,
                    "channel_def": {"0": "image"},
                    "value_range": [] if spec.normalize == "zscore" else [0, 1],
                    **image,
                }
            },
            "outputs": {
                "pred": {
                    "type": "image",
                    "format": "segmentation",
                    "num_channels": len(channels),
                    "value_range": [0, len(channels) - 1],
                    "channel_def": channels,
                    **image,
                }
            },
        },
    }


def _our_package(spec: PackageSpec) -> dict[str, str]:
    """LiverSeg itself, which MONAI needs only for networks that are ours."""
    return {"liverseg": __version__} if "." in target_path(spec.network) else {}


def intensity_text(spec: PackageSpec) -> str:
    """How intensities are normalised, for people."""
    if spec.normalize == "zscore":
        return "mean 0 and standard deviation 1 over voxels that are not 0"
    low, high = spec.window if spec.normalize == "window" else spec.percentiles
    unit = "percentiles" if spec.normalize == "percentiles" else "HU" if spec.modality == "CT" else "grey values"
    return f"{unit} {low:g} to {high:g} mapped to 0 to 1"
