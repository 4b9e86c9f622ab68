"""Folders as MONAI's Auto3DSeg models are shared, made here: the same files, keys and columns, random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

HEAD = "LabelValue,Name," + ",".join(
    f"{part}.{key}"
    for part in (
        "SegmentedPropertyCategoryCodeSequence",
        "SegmentedPropertyTypeCodeSequence",
        "SegmentedPropertyTypeModifierCodeSequence",
        "AnatomicRegionSequence",
        "AnatomicRegionModifierSequence",
    )
    for key in ("CodingSchemeDesignator", "CodeValue", "CodeMeaning")
)
STRUCTURE = "SCT,123037004,Anatomical Structure"
ROWS = (
    f"1,liver,{STRUCTURE},SCT,10200004,Liver,,,,,,,,,",
    f"2,left_kidney,{STRUCTURE},SCT,64033007,Kidney,SCT,7771000,Left,,,,,,",
)
CONFIG: dict[str, Any] = {
    "modality": "ct",
    "normalize_mode": "range",
    "intensity_bounds": [-250, 250],
    "resample_resolution": [2.1, 1.9, 2.6],
    "roi_size": [16, 16, 16],
    "crop_foreground": True,
    "network": {
        "_target_": "SegResNetDS",
        "init_filters": 4,
        "blocks_down": [1, 1],
        "norm": "INSTANCE",
        "in_channels": 1,
        "out_channels": 3,
        "dsdepth": 2,
    },
    "output_classes": 3,
}


def write_model(folder: Path, rows: tuple[str, ...] = ROWS, **changes: Any) -> Path:
    """A model in the form of the real ones, with random weights; `changes` of its configuration."""
    from monai.bundle import ConfigParser

    config = CONFIG | changes
    torch.manual_seed(3)
    network = ConfigParser(dict(config["network"])).get_parsed_content()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3) if parameter.ndim > 1 else None
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = {"state_dict": network.state_dict(), "config": config, "epoch": 5, "best_metric": 0.9}
    torch.save(checkpoint, folder / "model.pt")
    (folder / "labels.csv").write_text("\n".join((HEAD, *rows)) + "\n", encoding="utf-8")
    return folder
