"""A MONAI bundle as MONAI itself runs it: its transforms, its network and its window, without any code of ours.

What `python -m monai.bundle run` adds to that are the loop over a list of images and the file that is written.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch


def bundle_labels(folder: Path, image: Path) -> npt.NDArray[np.uint8]:
    """Labels [i, j, k] of the image file, on its own grid.

    Args:
        folder: the bundle; its `$` expressions are evaluated by MONAI, so it must be one that is trusted.
        image: a file that MONAI reads.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI's about its own defaults
        return _labels(folder, image)


def _labels(folder: Path, image: Path) -> npt.NDArray[np.uint8]:
    parser = _parser(folder)
    sample = parser.get_parsed_content("preprocessing")({"image": str(image)})
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(_weights(folder))
    inferer = parser.get_parsed_content("inferer")
    with torch.inference_mode():
        sample["pred"] = inferer(sample["image"][None], network)[0]
    found = parser.get_parsed_content("postprocessing")(sample)["pred"]
    return np.asarray(found[0].cpu().numpy()).astype(np.uint8)


def _parser(folder: Path) -> Any:
    from monai.bundle import ConfigParser

    configs = folder / "configs"
    parser = ConfigParser()
    parser.read_config(next(path for path in sorted(configs.glob("inference.*")) if path.suffix in (".json", ".yaml")))
    parser.read_meta(configs / "metadata.json")
    parser["bundle_root"] = str(folder)
    if parser["network_def"]["_target_"].endswith("SwinUNETR"):
        parser["network_def"].pop("img_size", None)  # this MONAI does not want it any more
    for step in parser["preprocessing"]["transforms"]:
        if step["_target_"] == "LoadImaged":
            step.pop("reader", None)  # the one for NIfTI, whatever else is installed
    steps = parser["postprocessing"]["transforms"]
    parser["postprocessing"]["transforms"] = [step for step in steps if step["_target_"] != "SaveImaged"]
    parser["imports"] = [line for line in parser.get("imports", []) if "scripts" not in line]
    parser.get_parsed_content("imports")
    return parser


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    models = sorted((folder / "models").iterdir())
    safe = next((path for path in models if path.suffix == ".safetensors"), None)
    if safe is not None:
        from safetensors.torch import load_file

        return {name: value.float() if value.is_floating_point() else value for name, value in load_file(safe).items()}
    found: dict[str, torch.Tensor] = torch.load(models[0], map_location="cpu", weights_only=True)
    return found.get("model", found)  # type: ignore[return-value]
