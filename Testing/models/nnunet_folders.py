"""Folders as nnU-Net v2 leaves them after a training, made here: the same files, keys, names and kinds of pickle."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from LiverSegLib.networks import build_network

LABELS: dict[str, Any] = {"background": 0, "liver": 1, "tumor": 2}
CT = {
    "mean": 80.0,
    "std": 40.0,
    "percentile_00_5": -60.0,
    "percentile_99_5": 200.0,
    "max": 9.0,
    "min": -9.0,
    "median": 1.0,
}
_RESAMPLING = "resample_data_or_seg_to_shape"


def plan(dims: int = 3, **changes: Any) -> dict[str, Any]:
    """A configuration of plans.json in the form of nnU-Net 2.3 and later; a small plain network."""
    kwargs: dict[str, Any] = {
        "n_stages": 3,
        "features_per_stage": [4, 8, 8],
        "conv_op": f"torch.nn.modules.conv.Conv{dims}d",
        "kernel_sizes": [[3] * dims] * 3,
        "strides": [[1] * dims, [2] * dims, [2] * dims],
        "n_conv_per_stage": [1, 2, 1],
        "n_conv_per_stage_decoder": [1, 1],
        "conv_bias": True,
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dims}d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    kwargs |= changes.pop("arch_kwargs", {})
    name = changes.pop("network", "dynamic_network_architectures.architectures.unet.PlainConvUNet")
    found: dict[str, Any] = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": [16, 16, 16][:dims],
        "median_image_size_in_voxels": [40.0, 40.0, 40.0][:dims],
        "spacing": [3.0, 2.0, 2.0][-dims:],
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "architecture": {
            "network_class_name": name,
            "arch_kwargs": kwargs,
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
        "batch_dice": False,
    }
    for what, order in (("data", 3), ("seg", 1), ("probabilities", 1)):
        found[f"resampling_fn_{what}"] = _RESAMPLING
        found[f"resampling_fn_{what}_kwargs"] = {
            "is_seg": what == "seg",
            "order": order,
            "order_z": 0,
            "force_separate_z": None,
        }
    return found | changes


OLD_KEYS = {
    "UNet_class_name": "PlainConvUNet",
    "UNet_base_num_features": 4,
    "unet_max_num_features": 8,
    "n_conv_per_stage_encoder": [1, 2, 1],
    "n_conv_per_stage_decoder": [1, 1],
    "num_pool_per_axis": [2, 2, 2],
    "pool_op_kernel_sizes": [[1, 1, 1], [2, 2, 2], [2, 2, 2]],
    "conv_kernel_sizes": [[3, 3, 3]] * 3,
}
"""How plans from before nnU-Net 2.3 say what `plan` says of its network."""


def plans(configurations: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """plans.json with these configurations."""
    return {
        "dataset_name": "Dataset777_Toy",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": configurations or {"3d_fullres": plan()},
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": CT},
    } | changes


def dataset(labels: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """dataset.json."""
    found = {"channel_names": {"0": "CT"}, "labels": labels or LABELS, "numTraining": 3, "file_ending": ".nii.gz"}
    return found | changes


def checkpoint(
    arguments: dict[str, Any], *, name: str = "PlainConvUNet", seed: int = 1, **changes: Any
) -> dict[str, Any]:
    """What nnU-Net's trainer saves: weights with their twins, optimizer, log with NumPy's numbers, arguments."""
    torch.manual_seed(seed)
    network = build_network(name, arguments)
    state = dict(network.state_dict())
    last = max(key for key in state if key.startswith("decoder.seg_layers.") and key.endswith(".weight"))
    torch.nn.init.normal_(state[last])  # so that every label is somewhere
    torch.nn.init.zeros_(state[last.replace("weight", "bias")])
    state = with_twins(state)
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.99, nesterov=True)
    sum(parameter.sum() for parameter in network.parameters()).backward()  # type: ignore[union-attr]
    optimizer.step()
    return {
        "network_weights": state,
        "optimizer_state": optimizer.state_dict(),
        "grad_scaler_state": None,
        "logging": {"mean_fg_dice": [np.float32(0.5), np.float64(0.25)], "dice_per_class": [[np.float64(0.1)]]},
        "_best_ema": np.float64(0.5),
        "current_epoch": 7,
        "init_args": {
            "plans": plans(),
            "configuration": "3d_fullres",
            "fold": 0,
            "dataset_json": dataset(),
            "device": torch.device("cpu"),
        },
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 1, 2),
    } | changes


def with_twins(state: dict[str, Any]) -> dict[str, Any]:
    """Weights as nnU-Net names them: every layer twice, and the encoder once more in its decoder."""
    for place, layer in enumerate(("conv", "norm")):
        old, new = rf"convs\.(\d+)\.{layer}\.", rf"convs.\1.all_modules.{place}."
        state = state | {re.sub(old, new, key): value for key, value in state.items()}
    return state | {f"decoder.{key}": value for key, value in state.items() if key.startswith("encoder.")}


def write(folder: Path, plan_file: dict[str, Any], dataset_file: dict[str, Any], folds: dict[str, Any]) -> Path:
    """A folder of results with these files and folds."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plans.json").write_text(json.dumps(plan_file))
    (folder / "dataset.json").write_text(json.dumps(dataset_file))
    for name, content in folds.items():
        (folder / name).mkdir(exist_ok=True)
        torch.save(content, folder / name / "checkpoint_final.pth")
    return folder


def toy(folder: Path, folds: int = 1, **changes: Any) -> Path:
    """A whole model that can be run: 3D, plain, liver and tumor."""
    arguments = toy_arguments()
    found = {f"fold_{n}": checkpoint(arguments, seed=n + 1) for n in range(folds)}
    return write(folder, changes.get("plans", plans()), changes.get("dataset", dataset()), found)


def toy_arguments(outputs: int = 3) -> dict[str, Any]:
    """The arguments of the network of `plan`."""
    kwargs = plan()["architecture"]["arch_kwargs"]
    keys = ("features_per_stage", "kernel_sizes", "strides", "n_conv_per_stage", "n_conv_per_stage_decoder")
    return {"spatial_dims": 3, "in_channels": 1, "out_channels": outputs} | {key: kwargs[key] for key in keys}
