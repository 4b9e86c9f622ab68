"""What the benchmark runs: packages of random weights, large enough to be like real ones, and the built-in models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

NETWORKS: dict[str, dict[str, Any]] = {
    "UNet": {"channels": [16, 32, 64, 128, 256], "strides": [2, 2, 2, 2], "num_res_units": 2, "norm": "batch"},
    "SegResNet": {"init_filters": 16, "blocks_down": [1, 2, 2, 4], "blocks_up": [1, 1, 1]},
}


def random_package(folder: Path, name: str, window: int = 96, voxel_mm: float = 1.5) -> Path:
    """A 3D package of random weights in `folder`: cubic voxels and windows, an overlap of a quarter."""
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
    write_package(folder, spec, build_network(name, arguments).state_dict(), card="", license_text="none")
    return folder


def has_baseline(package: Path) -> bool:
    """Whether MONAI's pipeline can run all of a package: a model with helpers is more than its network."""
    from LiverSegLib.models import read_package

    found = read_package(package)
    return found.guide is None and not found.divides
