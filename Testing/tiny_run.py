"""A prepared folder and a recipe so small that a whole training run takes a second."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from Training.data.readers import Case
from Training.data.readers.prepared import write_index
from Training.recipe import Recipe, parse_recipe

NO_AUGMENT = dict.fromkeys(
    (
        "affine",
        "elastic",
        "blur",
        "low_resolution",
        "noise",
        "contrast",
        "organ_contrast",
        "lesion",
        "mass",
        "fluid",
        "arms",
        "crop_field",
    ),
    0.0,
)
RECIPE: dict[str, Any] = {
    "name": "tiny",
    "spatial_dims": 2,
    "labels": {1: "liver", 2: "tumor"},
    "seed": 4,
    "sources": [{"kind": "phantom", "count": 8, "labels": {1: 1, 2: 2}}],
    "split": {"validation_fraction": 0.25},
    "preprocess": {"pixdim": [3, 3, -1], "window": [-100, 300]},
    "network": {
        "name": "UNet",
        "arguments": {"channels": [4, 8], "strides": [2], "num_res_units": 1, "norm": "instance", "dropout": 0.1},
    },
    "patch_size": [32, 32],
    "augment": {**NO_AUGMENT, "noise": 0.5, "flip": {"x": 0.5}},
    "loss": {"batch": False},
    "optimization": {"max_epochs": 1, "samples_per_epoch": 4, "batch_size": 2, "learning_rate": 0.01, "ema_decay": 0.9},
    "inference": {"roi_size": [32, 32]},
    "card": {
        "title": "Tiny",
        "version": "1",
        "license": "CC0",
        "data_source": "made up",
        "intended_use": "tests",
        "limits": "all",
    },
}


def tiny_recipe(**changes: Any) -> Recipe:
    """The tiny recipe with changed sections: optimization={"max_epochs": 3}."""
    data = copy.deepcopy(RECIPE)
    for key, value in changes.items():
        merge = isinstance(value, dict) and isinstance(data.get(key), dict) and key != "network"
        data[key] = {**data[key], **value} if merge else value
    return parse_recipe(data, "tiny")


def write_recipe(recipe: Recipe, path: Path) -> Path:
    """The recipe as a file for the command line."""
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json")), "utf-8")
    return path


def write_prepared(folder: Path, size: int = 32) -> Path:
    """Eight slices of eight patients, two of them for validation: a liver, and in most a lesion, in noise."""
    rng = np.random.default_rng(0)
    (folder / "cases").mkdir(parents=True)
    cases = []
    grid = np.indices((size, size))
    for n in range(8):
        label = (np.hypot(*(grid - rng.uniform(0.4, 0.6, 2)[:, None, None] * size)) < 0.3 * size).astype(np.uint8)
        spot = np.hypot(*(grid - rng.uniform(0.35, 0.65, 2)[:, None, None] * size)) < 0.1 * size
        if n != 3:
            label[spot] = 2
        image = np.array([-80, 120, 250])[label] + rng.normal(0, 20, label.shape)
        name = f"phantom_{n:03d}"
        np.save(folder / "cases" / f"{name}_image.npy", image.astype(np.int16))
        np.save(folder / "cases" / f"{name}_label.npy", label)
        voxels = [int(v) for v in np.bincount(label.ravel(), minlength=3)]
        split = "val" if n in (2, 5) else "train"
        cases.append(Case(id=name, patient=name, source="phantom", split=split, voxels=voxels))
    write_index(folder, tiny_recipe(), folder, cases)
    return folder
