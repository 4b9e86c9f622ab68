"""Volumes of the sizes that hospitals have, made of a phantom."""

from __future__ import annotations

from pathlib import Path

import numpy as np

_FIELD_MM = (380.0, 380.0)
_SEED = 20260
_COARSE = 3.0


def write_phantom_ct(path: Path, shape: tuple[int, int, int], slice_mm: float) -> Path:
    """A phantom CT int16 of `shape` in `path`, a NIfTI file: a coarse trunk, enlarged, with noise of its own.

    Args:
        path: where to.
        shape: voxels along right-left, front-back, feet-head.
        slice_mm: distance of slices.
    """
    import nibabel
    from scipy import ndimage

    from LiverSegLib.phantom import make_phantom

    volume = make_phantom(_SEED, spacing=(_COARSE,) * 3, coverage="trunk", phase="portal", noise=0).volume
    spacing = (_FIELD_MM[0] / shape[0], _FIELD_MM[1] / shape[1], slice_mm)
    middle = (np.array(volume.array.shape) - 1) / 2
    axes = [
        (np.arange(n) - (n - 1) / 2) * mm / _COARSE + center
        for n, mm, center in zip(shape, spacing, middle, strict=True)
    ]
    rng = np.random.default_rng(_SEED)
    values = np.empty(shape, np.int16, order="F")
    source = volume.array.astype(np.float32)
    for k, z in enumerate(axes[2]):
        low = int(np.clip(np.floor(z), 0, source.shape[2] - 2))
        slab = source[:, :, low] + (source[:, :, low + 1] - source[:, :, low]) * np.float32(np.clip(z - low, 0, 1))
        plane = ndimage.map_coordinates(slab, np.meshgrid(axes[0], axes[1], indexing="ij"), order=1, mode="nearest")
        values[:, :, k] = plane + rng.normal(0, 12, plane.shape)
    affine = volume.affine.copy()
    affine[:3, :3] = affine[:3, :3] / _COARSE * spacing
    affine[:3, 3] += volume.affine[:3, :3] @ [at[0] for at in axes]
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return path
