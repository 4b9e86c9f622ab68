"""Tiny volumes with a known liver, some of them damaged on purpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

SHAPE = (24, 24, 16)
_SPACING_MM = 2.0
_DAMAGED_EVERY = 25


@dataclass(frozen=True)
class Truth:
    """What a case must give: the volume of its liver in mL; None where it cannot be read."""

    name: str
    liver_ml: float | None


def write_inputs(folder: Path, count: int) -> list[Truth]:
    """Write the cases `case00000.nii` and so on, in folders of a thousand; one in 25 is damaged.

    A liver is an ellipsoid of 150 HU in a bath of -50 HU; its size differs from case to case.
    """
    truths = []
    index = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
    damages: tuple[Callable[[bytes], bytes], ...] = (
        lambda _: b"",
        lambda data: data[:200],
        lambda data: data[: len(data) // 2],
        lambda data: b"not an image at all ".ljust(352) + data[352:],
    )
    for number in range(count):
        rng = np.random.default_rng([number, 1])
        inside = (((index - rng.uniform(9, 13, 3) * [1, 1, 0.6]) / rng.uniform(4, 7, 3)) ** 2).sum(axis=-1) < 1
        place = folder / f"{number // 1000:03d}"
        place.mkdir(parents=True, exist_ok=True)
        image = nib.Nifti1Image(np.where(inside, 150, -50).astype(np.int16), np.diag([_SPACING_MM] * 3 + [1]))
        image.header.set_xyzt_units("mm")
        data = image.to_bytes()
        is_damaged = number % _DAMAGED_EVERY == _DAMAGED_EVERY - 1
        if is_damaged:
            data = damages[number // _DAMAGED_EVERY % len(damages)](data)
        (place / f"case{number:05d}.nii").write_bytes(data)
        volume = None if is_damaged else float(inside.sum()) * _SPACING_MM**3 / 1000
        truths.append(Truth(f"{number // 1000:03d}_case{number:05d}", volume))
    return truths
