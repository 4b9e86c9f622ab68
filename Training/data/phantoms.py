"""A folder of phantoms, laid out like the Medical Segmentation Decathlon's liver task."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from LiverSegLib.phantom import make_phantom

Progress = Callable[[int, int], None]

# How converters and registries store CTs most often, with odds.
_ORIENTATIONS = {"LPS": 0.4, "RAS": 0.2, "LAS": 0.2, "RPI": 0.1, "LIP": 0.05, "ASR": 0.05}


def write_dataset(
    folder: Path, count: int, seed: int = 0, *, easy: bool = False, progress: Progress | None = None, **options: Any
) -> Path:
    """Write `count` labeled phantoms in the MSD layout: imagesTr, labelsTr and dataset.json.

    Every case differs in anatomy, spacing, orientation, contrast phase and noise. The same arguments write
    the same voxels.

    Args:
        folder: created where it is missing; existing cases of the same name are replaced.
        count: training cases, each an image and a label map (1 liver, 2 cancer).
        seed: the whole data set's.
        easy: plain scans around the liver with up to four lesions of 20 to 60 mm, which a small network learns in
            minutes; without it there are trunks, masses, ascites, arms and lesions from 6 mm on.
        progress: called with (cases done, cases in all) after every case.
        **options: passed to `make_phantom`, for all cases alike.

    Returns:
        The path of dataset.json.

    Raises:
        ValueError: the count is negative, or an option is refused by `make_phantom`.
    """
    if count < 0:
        raise ValueError(f"count is {count}; it must be 0 or more.")
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for index in range(count):
        drawn = _case_options(seed, index) | (_easy_options(seed, index) if easy else {}) | options
        phantom = make_phantom(_case_seed(seed, index), **drawn)
        name = f"liver_{index:03d}.nii.gz"
        _save(folder / "imagesTr" / name, phantom.volume.array, phantom.volume.affine)
        _save(folder / "labelsTr" / name, phantom.labelmap, phantom.volume.affine)
        if progress is not None:
            progress(index + 1, count)
    return _describe(folder, count)


def _case_seed(seed: int, index: int) -> int:
    """Far-apart seeds, so that data sets with neighboring seeds share no patient."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1)[0])


def _case_options(seed: int, index: int) -> dict[str, Any]:
    """What varies from scan to scan: voxel storage, coverage and rarer findings."""
    rng = np.random.default_rng([seed, index, 1])
    orientation = rng.choice(list(_ORIENTATIONS), p=list(_ORIENTATIONS.values()))
    in_plane = float(rng.uniform(1.9, 2.6))
    return {
        "orientation": str(orientation),
        "spacing": (in_plane, in_plane, float(rng.uniform(2.5, 4.0))),
        "coverage": str(rng.choice(["liver", "abdomen", "trunk"], p=[0.7, 0.2, 0.1])),
        "oblique_degrees": 4.0 if rng.uniform() < 0.1 else 0.0,
        "mass": bool(rng.uniform() < 0.1),
        "ascites": bool(rng.uniform() < 0.1),
        "arms": bool(rng.uniform() < 0.08),
    }


def _easy_options(seed: int, index: int) -> dict[str, Any]:
    """What the easy kind has instead: few and large lesions, and nothing beside the liver that looks like it."""
    rng = np.random.default_rng([seed, index, 2])
    lesions, noise = int(rng.integers(0, 5)), float(rng.uniform(5, 15))
    alone = {"coverage": "liver", "oblique_degrees": 0.0, "mass": False, "ascites": False, "arms": False}
    return {**alone, "lesions": lesions, "lesion_mm": (20.0, 60.0), "noise": noise}


def _save(path: Path, array: npt.NDArray[Any], affine: npt.NDArray[np.float64]) -> None:
    import nibabel as nib

    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    nib.save(image, path)


def _describe(folder: Path, count: int) -> Path:
    """dataset.json as the Medical Segmentation Decathlon writes it."""
    names = [f"liver_{index:03d}.nii.gz" for index in range(count)]
    description = {
        "name": "Liver phantoms",
        "description": "Procedural abdomen CTs with liver and tumor labels; no patient data",
        "reference": "LiverSeg",
        "licence": "CC0-1.0",
        "release": "1.0",
        "tensorImageSize": "3D",
        "modality": {"0": "CT"},
        "labels": {"0": "background", "1": "liver", "2": "cancer"},
        "numTraining": count,
        "numTest": 0,
        "training": [{"image": f"./imagesTr/{n}", "label": f"./labelsTr/{n}"} for n in names],
        "test": [],
    }
    path = folder / "dataset.json"
    path.write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    return path
