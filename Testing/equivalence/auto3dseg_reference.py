"""A model of Auto3DSeg as Slicer's MONAIAuto3DSeg extension runs it, without any code of ours.

The steps are those of Scripts/auto3dseg_segresnet_inference.py in https://github.com/lassoan/SlicerMONAIAuto3DSeg for
one image, done with MONAI's own transforms.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch


def auto3dseg_labels(folder: Path, image: Path) -> npt.NDArray[np.uint8]:
    """Labels [i, j, k] of the image file, on its own grid.

    Args:
        folder: of model.pt; what it says is handed to MONAI, so it must be one that is trusted.
        image: a file that MONAI reads.
    """
    with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
        warnings.simplefilter("ignore")  # MONAI's about its own defaults
        return _labels(folder, image)


def _labels(folder: Path, image: Path) -> npt.NDArray[np.uint8]:
    from monai.bundle import ConfigParser
    from monai.data import decollate_batch, list_data_collate
    from monai.inferers import SlidingWindowInfererAdapt
    from monai.transforms import Compose, Invertd, LoadImaged
    from monai.utils import convert_to_dst_type

    checkpoint = torch.load(folder / "model.pt", map_location="cpu", weights_only=True)
    config = checkpoint["config"]
    network = ConfigParser(dict(config["network"])).get_parsed_content()
    network.load_state_dict(checkpoint["state_dict"], strict=True)
    network.eval()
    load = LoadImaged(keys=["image1"], ensure_channel_first=True, dtype=None, image_only=False)
    transform = Compose(_steps(config))
    batch = list_data_collate([transform([load({"image1": str(image)})])])
    inferer = SlidingWindowInfererAdapt(
        roi_size=config["roi_size"], sw_batch_size=1, overlap=0.625, mode="gaussian", cache_roi_weight_map=False
    )
    logits: Any = inferer(inputs=batch["image"].as_subclass(torch.Tensor), network=network)
    logits = logits[0] if isinstance(logits, list | tuple) else logits
    found = _predicted(logits, bool(config.get("sigmoid", False)))
    batch["pred"] = convert_to_dst_type(found, batch["image"], dtype=found.dtype, device=found.device)[0]
    invert = Invertd(keys="pred", orig_keys="image", transform=transform, nearest_interp=True)
    back = [invert(sample)["pred"] for sample in decollate_batch(batch)]
    return np.asarray(back[0][0].cpu().numpy()).astype(np.uint8)


def _steps(config: dict[str, Any]) -> list[Any]:
    from monai.transforms import ConcatItemsd, CropForegroundd, EnsureTyped, Orientationd, Spacingd

    steps = [
        ConcatItemsd(keys=["image1"], name="image", dim=0),
        EnsureTyped(keys="image", data_type="tensor", dtype=torch.float),
        *_normalization(config["normalize_mode"], config["intensity_bounds"]),
    ]
    if config.get("orientation_ras", False):
        steps.append(Orientationd(keys="image", axcodes="RAS"))
    if config.get("crop_foreground", True):
        steps.append(CropForegroundd(keys="image", source_key="image1", margin=10, allow_smaller=True))
    if config.get("resample_resolution") is not None:
        pixdim = list(config["resample_resolution"])
        limits: dict[str, Any] = {
            "dtype": torch.float,
            "min_pixdim": np.array(pixdim) * 0.75,
            "max_pixdim": np.array(pixdim) * 1.25,
        }
        steps.append(Spacingd(keys=["image"], pixdim=pixdim, mode=["bilinear"], **limits))
    return steps


def _normalization(mode: str, bounds: Any) -> list[Any]:
    from monai.transforms import Lambdad, NormalizeIntensityd, ScaleIntensityRanged

    if mode in ("range", "ct"):
        scale = ScaleIntensityRanged(keys="image", a_min=bounds[0], a_max=bounds[1], b_min=-1, b_max=1, clip=False)
        return [scale, Lambdad(keys="image", func=lambda x: torch.sigmoid(x))]
    if mode in ("meanstd", "mri"):
        return [NormalizeIntensityd(keys="image", nonzero=True, channel_wise=True)]
    if mode == "meanstdtanh":
        normalize = NormalizeIntensityd(keys="image", nonzero=True, channel_wise=True)
        return [normalize, Lambdad(keys="image", func=lambda x: 3 * torch.tanh(x / 3))]
    if mode == "pet":
        return [Lambdad(keys="image", func=lambda x: torch.sigmoid((x - x.min()) / x.std()))]
    return []


def _predicted(logits: torch.Tensor, sigmoid: bool) -> torch.Tensor:
    if sigmoid:
        return torch.sigmoid(logits) >= 0.5
    return torch.argmax(torch.softmax(logits, dim=1), dim=1, keepdim=True).to(dtype=torch.uint8)
