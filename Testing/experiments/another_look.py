"""The same patients on another scanner: thick slices and noise, so that a model has something to learn."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt

from LiverSegLib.io import read_label_map, read_volume
from LiverSegLib.volume import Volume

Labels = npt.NDArray[np.uint8]
Pair = tuple[Path, Path]
"""Image and label file of a case."""


@dataclass(frozen=True)
class Look:
    """How a scanner sees: thickness of a slice in mm, and the standard deviation of the noise in HU."""

    thick_mm: float
    noise_hu: float


def another_look(volume: Volume, label: Labels, look: Look, seed: int) -> tuple[Volume, Labels]:
    """Means of so many slices as make the thickness, with noise.

    Args:
        volume: a CT.
        label: 1 liver, 2 tumor, on its grid; each stays where it fills half of a thick slice.
        look: what the copy looks like.
        seed: of the noise.
    """
    axis = int(np.argmax(np.abs(volume.affine[2, :3])))
    joined = max(1, round(look.thick_mm / volume.spacing[axis]))
    image = _joined(np.asarray(volume.array, np.float32), axis, joined)
    image = image + np.random.default_rng(seed).normal(0, look.noise_hu, image.shape).astype(np.float32)
    liver, tumor = (_joined(part.astype(np.float32), axis, joined) >= 0.5 for part in (label > 0, label == 2))
    affine = np.array(volume.affine)
    affine[:3, 3] += affine[:3, axis] * (joined - 1) / 2
    affine[:3, axis] *= joined
    thick = Volume(np.round(image).astype(np.int16), affine, volume.name, volume.modality)
    return thick, liver.astype(np.uint8) + tumor


def _joined(array: npt.NDArray[np.float32], axis: int, count: int) -> npt.NDArray[np.float32]:
    """Means of `count` neighbors along an axis; a rest is left out."""
    moved = np.moveaxis(array, axis, -1)
    whole = moved[..., : moved.shape[-1] // count * count]
    means = whole.reshape(*whole.shape[:-1], -1, count).mean(-1)
    return np.moveaxis(means, -1, axis)


def write_cases(folder: Path, cases: dict[str, Pair], look: Look | None) -> Path:
    """An MSD folder of these cases, as they are (None) or in another look; one that is complete is left as it is."""
    if (folder / "dataset.json").is_file():
        return folder
    listed = []
    for name, (image, drawn) in cases.items():
        volume = read_volume(image)
        label = read_label_map(drawn, volume).astype(np.uint8)
        if look is not None:
            volume, label = another_look(volume, label, look, zlib.crc32(name.encode()))
        files = f"imagesTr/{name}.nii.gz", f"labelsTr/{name}.nii.gz"
        for file, array in zip(files, (volume.array, label), strict=True):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(np.asarray(array), volume.affine), folder / file)
        listed.append({"image": f"./{files[0]}", "label": f"./{files[1]}"})
    content = {"labels": {"0": "background", "1": "liver", "2": "tumor"}, "training": listed}
    (folder / "dataset.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    return folder


def pairs(names: Sequence[str], image: str, label: str) -> dict[str, Pair]:
    """The files of cases whose names stand in two templates."""
    return {name: (Path(image.format(name)), Path(label.format(name))) for name in names}
