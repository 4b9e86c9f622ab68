"""The package's inference.json, for `python -m monai.bundle run` and for our reader."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from LiverSegLib.networks import target_path

if TYPE_CHECKING:
    from LiverSegLib.models.write import PackageSpec


def _grid(spec: PackageSpec) -> list[dict[str, Any]]:
    """Resampling by mm, by number of voxels, or some axes by each."""
    steps: list[dict[str, Any]] = []
    size = spec.size or (-1, -1, -1)
    if max(spec.pixdim) > 0 or max(size) <= 0:
        steps.append({"_target_": "Spacingd", "keys": "image", "pixdim": list(spec.pixdim), "mode": "bilinear"})
    if max(size) > 0:
        steps.append({"_target_": "Resized", "keys": "image", "spatial_size": list(size), "mode": "bilinear"})
    return steps


def _intensity(spec: PackageSpec) -> dict[str, Any]:
    if spec.normalize == "zscore":
        return {"_target_": "NormalizeIntensityd", "keys": "image", "nonzero": True}
    to = {"b_min": 0.0, "b_max": 1.0, "clip": True}
    if spec.normalize == "percentiles":
        lower, upper = spec.percentiles
        return {"_target_": "ScaleIntensityRangePercentilesd", "keys": "image", "lower": lower, "upper": upper, **to}
    low, high = spec.window
    return {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": low, "a_max": high, **to}


def inference(spec: PackageSpec) -> dict[str, Any]:
    """The package's inference.json; its `$` expressions are for MONAI and are never needed by our reader."""
    dims = len(spec.roi_size)
    preprocessing: list[dict[str, Any]] = [
        {"_target_": "LoadImaged", "keys": "image"},
        {"_target_": "EnsureChannelFirstd", "keys": "image"},
        {"_target_": "Orientationd", "keys": "image", "axcodes": spec.axcodes},
        *_grid(spec),
        _intensity(spec),
        {"_target_": "DivisiblePadd", "keys": "image", "k": list(spec.divisible)},
        {"_target_": "EnsureTyped", "keys": "image"},
    ]
    inferer: dict[str, Any] = {
        "_target_": "SlidingWindowInferer" if dims == 3 else "SliceInferer",
        "roi_size": list(spec.roi_size),
        "sw_batch_size": spec.batch_size,
        "overlap": spec.overlap,
        "mode": "gaussian",
    }
    if dims == 2:
        inferer["spatial_dim"] = 2
    save = {
        "_target_": "SaveImaged",
        "keys": "pred",
        "output_dir": "@output_dir",
        "output_ext": ".nii.gz",
        "output_dtype": "$numpy.uint8",
        "output_postfix": "seg",
        "separate_folder": False,
    }
    return {
        "imports": ["$import glob", "$import numpy", "$import torch", "$from safetensors.torch import load_file"],
        "bundle_root": ".",
        "checkpoint": "$@bundle_root + '/models/model.safetensors'",
        "dataset_dir": "$@bundle_root + '/data'",
        "output_dir": "$@bundle_root + '/eval'",
        "datalist": "$sorted(glob.glob(@dataset_dir + '/*.nii*'))",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": {"_target_": target_path(spec.network), **spec.arguments},
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": preprocessing},
        "dataset": {"_target_": "Dataset", "data": "$[{'image': i} for i in @datalist]", "transform": "@preprocessing"},
        "dataloader": {
            "_target_": "DataLoader",
            "dataset": "@dataset",
            "batch_size": 1,
            "shuffle": False,
            "num_workers": 0,
        },
        "inferer": inferer,
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {
                    "_target_": "Invertd",
                    "keys": "pred",
                    "transform": "@preprocessing",
                    "orig_keys": "image",
                    "nearest_interp": False,
                    "to_tensor": True,
                },
                {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
                save,
            ],
        },
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "amp": False,
        },
        "initialize": ["$@network.load_state_dict(load_file(@checkpoint))"],
        "run": ["$@evaluator.run()"],
    }
