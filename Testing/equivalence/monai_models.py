"""Small models with trained weights, made by MONAI's own code in the files in which such models are shared."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch

from LiverSegLib.phantom import make_phantom

SEEDS = (1, 2, 3)
ROI = [48, 48, 48]
SPACING = [4.0, 4.0, 5.0]
AUTO3DSEG: dict[str, dict[str, Any]] = {
    "auto3dseg-range": {"modality": "ct", "normalize_mode": "range", "intensity_bounds": [-150, 250]},
    "auto3dseg-meanstd": {"modality": "mri", "normalize_mode": "meanstd", "intensity_bounds": None},
    "auto3dseg-tanh-ras": {"normalize_mode": "meanstdtanh", "intensity_bounds": None, "orientation_ras": True},
}
LABELS = "LabelValue,Name\n1,liver\n2,tumor\n"
BUNDLES: dict[str, dict[str, Any]] = {
    "bundle-unet": {"_target_": "UNet", "channels": [16, 32, 64], "strides": [2, 2], "num_res_units": 2},
    "bundle-dynunet-yaml": {
        "_target_": "monai.networks.nets.DynUNet",
        "kernel_size": [3, 3, 3],
        "strides": [1, 2, 2],
        "upsample_kernel_size": [2, 2],
        "filters": [16, 32, 64],
        "norm_name": "instance",
        "res_block": True,
    },
}
SHAPE: dict[str, Any] = {"spatial_dims": 3, "in_channels": 1, "out_channels": 3}


def make_pairs(folder: Path, steps: int) -> Iterator[tuple[Path, Path]]:
    """Models and the images that each is compared on; those that are there already are taken as they are."""
    images = [_image(folder, seed) for seed in SEEDS]
    for name, config in AUTO3DSEG.items():
        if not (folder / name / "labels.csv").exists():
            _write_auto3dseg(folder / name, config, images[0], steps)
        # The script cuts a turned image by the box of the unturned one: only one that lies as wanted gives the same.
        for image in [_image(folder, 4, "RAS")] if config.get("orientation_ras") else images[1:]:
            yield folder / name, image
    for name, network in BUNDLES.items():
        if not (folder / name / "configs" / "metadata.json").exists():
            _write_bundle(folder / name, network, images[0], steps)
        for image in images[1:]:
            yield folder / name, image


def _image(folder: Path, seed: int, orientation: str = "LPS") -> Path:
    path = folder / "images" / f"phantom{seed}.nii.gz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        phantom = make_phantom(seed, spacing=(3.1, 3.1, 5.0), orientation=orientation, lesions=4, lesion_mm=(25, 50))
        nib.save(nib.Nifti1Image(phantom.volume.array, phantom.volume.affine), path)
        truth = nib.Nifti1Image(phantom.labelmap, phantom.volume.affine)
        nib.save(truth, path.with_name(f"truth{seed}.nii.gz"))
    return path


def _write_auto3dseg(folder: Path, changes: dict[str, Any], image: Path, steps: int) -> None:
    from monai.bundle import ConfigParser
    from monai.transforms import Compose

    from Testing.equivalence.auto3dseg_reference import _steps

    network = {
        "_target_": "SegResNetDS",
        "init_filters": 16,
        "blocks_down": [1, 2, 2],
        "norm": "INSTANCE",
        "dsdepth": 2,
    }
    config: dict[str, Any] = {
        "resample_resolution": SPACING,
        "roi_size": ROI,
        "sigmoid": False,
        "crop_foreground": True,
    }
    config |= {"network": network | SHAPE, "output_classes": 3} | changes
    built = ConfigParser(dict(config["network"])).get_parsed_content()
    same = [step for step in _steps(config | {"crop_foreground": False}) if type(step).__name__ != "ConcatItemsd"]
    _train(built, Compose(same), image, steps)
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(
        {"state_dict": built.state_dict(), "config": config, "epoch": 1, "best_metric": 0.5}, folder / "model.pt"
    )
    (folder / "labels.csv").write_text(LABELS)


def _write_bundle(folder: Path, network: dict[str, Any], image: Path, steps: int) -> None:
    from monai.bundle import ConfigParser
    from monai.transforms import Compose

    definition = {**network, **SHAPE}
    transforms: list[dict[str, Any]] = [
        {"_target_": "LoadImaged", "keys": "image"},
        {"_target_": "EnsureChannelFirstd", "keys": "image"},
        {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
        {"_target_": "Spacingd", "keys": "image", "pixdim": SPACING, "mode": "bilinear"},
        {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": -250, "a_max": 400, "b_min": 0, "b_max": 1}
        | {"clip": True},
        {"_target_": "CropForegroundd", "keys": "image", "source_key": "image"},
    ]
    back = {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image"}
    after = [{"_target_": "Activationsd", "keys": "pred", "softmax": True}, back | {"nearest_interp": False}]
    after.append({"_target_": "AsDiscreted", "keys": "pred", "argmax": True})
    window = {"_target_": "SlidingWindowInferer", "roi_size": ROI, "sw_batch_size": 4, "overlap": 0.5}
    path = "$@bundle_root + '/models/trained.pt'"
    config = {
        "bundle_root": ".",
        "network_def": definition,
        "preprocessing": {"_target_": "Compose", "transforms": transforms},
        "inferer": window,
        "postprocessing": {"_target_": "Compose", "transforms": after},
        "handlers": [{"_target_": "CheckpointLoader", "load_path": path, "load_dict": {"model": "@network"}}],
    }
    built = ConfigParser(dict(definition)).get_parsed_content()
    same = [ConfigParser(dict(step)).get_parsed_content() for step in transforms[2:5]]
    _train(built, Compose(same), image, steps)
    _save_bundle(folder, config, built)


def _save_bundle(folder: Path, config: dict[str, Any], network: torch.nn.Module) -> None:
    for part in ("models", "configs"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), folder / "models" / "trained.pt")
    if "yaml" in folder.name:
        import yaml

        (folder / "configs" / "inference.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    else:
        (folder / "configs" / "inference.json").write_text(json.dumps(config))
    channels = {"0": "background", "1": "liver", "2": "tumor"}
    data = {"inputs": {"image": {"modality": "CT"}}, "outputs": {"pred": {"channel_def": channels}}}
    metadata = {"name": folder.name, "version": "0.1.0", "network_data_format": data}
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))


def _train(network: torch.nn.Module, transform: Any, image: Path, steps: int) -> None:
    """Some steps of MONAI's loss on random windows of one phantom: enough for borders that are no noise."""
    from monai.losses import DiceCELoss
    from monai.transforms import LoadImage, ResampleToMatch

    torch.manual_seed(0)
    load = LoadImage(ensure_channel_first=True)
    sample = transform({"image": load(str(image))})["image"]
    truth = ResampleToMatch(mode="nearest")(load(str(image).replace("phantom", "truth")), sample)
    rng = np.random.default_rng(0)
    inside = np.argwhere(truth[0].numpy() > 0)
    loss, optimizer = DiceCELoss(to_onehot_y=True, softmax=True), torch.optim.AdamW(network.parameters(), 2e-3)
    size = torch.tensor(ROI).minimum(torch.tensor(sample.shape[1:]) // 8 * 8).tolist()
    network.train()
    for _ in range(steps):
        middle = inside[rng.integers(len(inside))]
        start = [int(np.clip(m - s // 2, 0, n - s)) for m, s, n in zip(middle, size, sample.shape[1:], strict=True)]
        window = (slice(None), *(slice(a, a + s) for a, s in zip(start, size, strict=True)))
        x, y = torch.Tensor(sample[window][None]).float(), torch.Tensor(truth[window][None])
        out = network(x)
        out = out[0] if isinstance(out, list | tuple) else out
        optimizer.zero_grad()
        loss(out, y).backward()
        optimizer.step()
    network.eval()
