"""What the benchmark runs: large networks in the packages of others, and the built-in models.

Of each network all layers but the last have random weights, as what is measured is the time that they take. The last
is fitted, see `Testing/benchmarks/fitted_head.py`: labels of random weights are noise, and cleaning and measuring
noise takes many times as long as a liver.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from Testing.benchmarks.fitted_head import fit
from Testing.models import nnunet_folders

NETWORKS: dict[str, dict[str, Any]] = {
    "UNet": {"channels": [16, 32, 64, 128, 256], "strides": [2, 2, 2, 2], "num_res_units": 2, "norm": "batch"},
    "SegResNet": {"init_filters": 16, "blocks_down": [1, 2, 2, 4], "blocks_up": [1, 1, 1]},
}
"""Those of MONAI, in a bundle."""
NNUNET = "nnU-Net"
"""The folder that nnU-Net leaves of its plain U-Net, as it plans it for a liver."""
_FEATURES = (32, 64, 128, 256, 320, 320)
_HEADS = {"UNet": "model.2", "SegResNet": "conv_final.2"}


@dataclass(frozen=True)
class Size:
    """How large windows are, in voxels of so many mm; the networks are those that one would have for them."""

    window: int
    voxel_mm: float


MONAI_SIZE, NNUNET_SIZE, TINY_SIZE = Size(96, 1.5), Size(128, 1.5), Size(32, 10.0)


def made(folder: Path, name: str, *, tiny: bool) -> Path:
    """The package of a network in `folder`, with its last layer fitted unless it is a tiny one of MONAI; made once."""
    if folder.is_dir():
        return folder
    if name == NNUNET:
        return nnunet_folder(folder, TINY_SIZE if tiny else NNUNET_SIZE)
    size = TINY_SIZE if tiny else MONAI_SIZE
    return random_package(folder, name, size.window, size.voxel_mm, fitted=not tiny)


def random_package(folder: Path, name: str, window: int = 96, voxel_mm: float = 1.5, *, fitted: bool = False) -> Path:
    """A 3D package in `folder`: random weights, cubic voxels and windows, an overlap of a quarter."""
    import torch

    from LiverSegLib.labels import labels_for
    from LiverSegLib.models import ModelSpec
    from LiverSegLib.models.inferer import Inferer
    from LiverSegLib.models.intensity import ScaleRange
    from LiverSegLib.models.package import write_package
    from LiverSegLib.networks import build_network

    torch.manual_seed(0)
    arguments = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, **NETWORKS[name]}
    spec = ModelSpec(
        name=f"{name} of random weights",
        modality="CT",
        labels=labels_for({1: "liver"}),
        network=name,
        arguments=arguments,
        axcodes="RAS",
        pixdim=(voxel_mm,) * 3,
        intensity=(ScaleRange(-100, 250),),
        inferer=Inferer(roi_size=(window,) * 3, overlap=0.25),
    )
    network = build_network(name, arguments)
    if fitted:
        fit(network, _HEADS[name], spec.intensity, window, voxel_mm)
    write_package(folder, spec, network.state_dict(), card="", license_text="none")
    return folder


def nnunet_folder(folder: Path, size: Size) -> Path:
    """A folder of results of nnU-Net in `folder`: its plain U-Net of 32 to 320 features and normalization of CT."""
    import torch

    from LiverSegLib.models import read_package
    from LiverSegLib.networks import build_network

    stages = min(len(_FEATURES), int(math.log2(size.window)) - 1)  # the deepest one keeps 4 voxels a side
    each: dict[str, Any] = {"kernel_sizes": [[3] * 3] * stages, "strides": [[1] * 3, *[[2] * 3] * (stages - 1)]}
    each |= {"n_conv_per_stage": [2] * stages, "n_conv_per_stage_decoder": [2] * (stages - 1)}
    each |= {"features_per_stage": list(_FEATURES[:stages])}
    plan = nnunet_folders.plan(
        patch_size=[size.window] * 3, spacing=[size.voxel_mm] * 3, arch_kwargs={"n_stages": stages, **each}
    )
    plans = nnunet_folders.plans({"3d_fullres": plan}, dataset_name="nnU-Net of random weights")
    dataset = nnunet_folders.dataset({"background": 0, "liver": 1})
    arguments = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, **each}
    told = {"init_args": {"configuration": "3d_fullres"}, "trainer_name": "nnUNetTrainer", "network_weights": {}}
    nnunet_folders.write(folder, plans, dataset, {"fold_0": told})
    torch.manual_seed(0)
    network = build_network("PlainConvUNet", arguments)
    head = f"decoder.seg_layers.{stages - 2}"
    fit(network, head, read_package(folder).intensity, size.window, size.voxel_mm)
    weights = nnunet_folders.with_twins(dict(network.state_dict()))
    torch.save(told | {"network_weights": weights}, folder / "fold_0" / "checkpoint_final.pth")
    return folder
