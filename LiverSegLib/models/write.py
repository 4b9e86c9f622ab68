"""Writing a package that both our engine and `python -m monai.bundle run` execute."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from LiverSegLib.models.checksums import write_checksums
from LiverSegLib.models.weights import write_safetensors

if TYPE_CHECKING:
    import torch

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"


@dataclass(frozen=True)
class PackageSpec:
    """Everything a package says of a model except its weights.

    Args:
        labels: value -> name, 1, 2, ... without gaps.
        network, arguments: registry name and keyword arguments, with in_channels 1 and out_channels.
        axcodes, pixdim, window: model grid and HU window.
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


def write_package(folder: Path, spec: PackageSpec, state: dict[str, torch.Tensor], half: bool = False) -> None:
    """Write the package folder `folder` (created; files in it are replaced).

    Args:
        folder: where to.
        spec: what the package says.
        state: the network's weights.
        half: store kernels as float16, half the size; they are loaded into float32 networks.
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
    image: dict[str, Any] = {
        "dtype": "float32",
        "spatial_shape": shape,
        "is_patch_data": -1 not in spec.roi_size,
    }
    return {
        "schema": SCHEMA,
        "version": spec.version,
        "changelog": spec.changelog or {spec.version: "first version"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").split("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {"nibabel": version("nibabel"), "pytorch-ignite": "0.5.0"},
        "name": spec.title,
        "task": f"{dims}D segmentation of {', '.join(spec.labels.values())}",
        "description": spec.title,
        "authors": "The LiverSeg contributors",
        "copyright": "The LiverSeg contributors",
        "license": spec.license,
        "data_source": spec.data_source,
        "data_type": "nibabel",
        "image_classes": f"{spec.modality}, HU {spec.window[0]:g} to {spec.window[1]:g} mapped to 0 to 1",
        "label_classes": ", ".join(f"{k} is {v}" for k, v in channels.items()),
        "pred_classes": f"{len(channels)} channels of logits, one a label",
        "eval_metrics": spec.metrics,
        "intended_use": spec.intended_use,
        "references": [],
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image", "format": "hounsfield", "modality": spec.modality, "num_channels": 1,
                    "value_range": [0, 1], "channel_def": {"0": "image"}, **image,
                }
            },
            "outputs": {
                "pred": {
                    "type": "image", "format": "segmentation", "num_channels": len(channels),
                    "value_range": [0, len(channels) - 1], "channel_def": channels, **image,
                }
            },
        },
    }  # fmt: skip


def inference(spec: PackageSpec) -> dict[str, Any]:
    """The package's inference.json; its `$` expressions are for MONAI and are never needed by our reader."""
    dims = len(spec.roi_size)
    preprocessing: list[dict[str, Any]] = [
        {"_target_": "LoadImaged", "keys": "image"},
        {"_target_": "EnsureChannelFirstd", "keys": "image"},
        {"_target_": "Orientationd", "keys": "image", "axcodes": spec.axcodes},
        {"_target_": "Spacingd", "keys": "image", "pixdim": list(spec.pixdim), "mode": "bilinear"},
        {
            "_target_": "ScaleIntensityRanged", "keys": "image", "a_min": spec.window[0], "a_max": spec.window[1],
            "b_min": 0.0, "b_max": 1.0, "clip": True,
        },
        {"_target_": "DivisiblePadd", "keys": "image", "k": list(spec.divisible)},
        {"_target_": "EnsureTyped", "keys": "image"},
    ]  # fmt: skip
    inferer: dict[str, Any] = {
        "_target_": "SlidingWindowInferer" if dims == 3 else "SliceInferer",
        "roi_size": list(spec.roi_size),
        "sw_batch_size": spec.batch_size,
        "overlap": spec.overlap,
        "mode": "gaussian",
    }
    if dims == 2:
        inferer["spatial_dim"] = 2
    save = {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir", "output_ext": ".nii.gz",
            "output_dtype": "$numpy.uint8", "output_postfix": "seg", "separate_folder": False}  # fmt: skip
    return {
        "imports": ["$import glob", "$import numpy", "$import torch"],
        "bundle_root": ".",
        "checkpoint": "$@bundle_root + '/models/model.pt'",
        "dataset_dir": "$@bundle_root + '/data'",
        "output_dir": "$@bundle_root + '/eval'",
        "datalist": "$sorted(glob.glob(@dataset_dir + '/*.nii*'))",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": {"_target_": spec.network, **spec.arguments},
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": preprocessing},
        "dataset": {"_target_": "Dataset", "data": "$[{'image': i} for i in @datalist]",
                    "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "shuffle": False,
                       "num_workers": 0},
        "inferer": inferer,
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image",
                 "nearest_interp": False, "to_tensor": True},
                {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
                save,
            ],
        },
        "evaluator": {
            "_target_": "SupervisedEvaluator", "device": "@device", "val_data_loader": "@dataloader",
            "network": "@network", "inferer": "@inferer", "postprocessing": "@postprocessing", "amp": False,
        },
        "checkpointloader": {"_target_": "CheckpointLoader", "load_path": "@checkpoint",
                             "load_dict": {"model": "@network"}},
        "initialize": ["$@checkpointloader(@evaluator)"],
        "run": ["$@evaluator.run()"],
    }  # fmt: skip
