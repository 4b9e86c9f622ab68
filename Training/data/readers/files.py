"""Image and mask files that belong together by their names."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from LiverSegLib.io import read_label_map, read_slice, read_volume
from LiverSegLib.io.channels import read_channels
from LiverSegLib.io.picture import PICTURES, read_color, read_picture_mask
from LiverSegLib.io.read import check_same_size, is_dicom_file
from LiverSegLib.volume import Volume
from Training.data.readers.case import Entry, Labels, Listing, RawCase, blamed_on
from Training.data.readers.pictures import PixelSize, intensities, mask_values, pixel_sizes, turned
from Training.data.readers.templates import case_name, fill, find, inside, pattern
from Training.errors import DataError
from Training.recipe.sources import FilesSource

# A usual distance of slices, in mm.
_SLAB_STEP = 5.0


def files_listing(source: FilesSource, data: Path) -> Listing:
    """The images that match the source's template, with their masks.

    Raises:
        DataError: a template leaves the data folder, or the folder is missing.
    """
    where = f"source {source.name}"
    found = Listing()
    sizes = pixel_sizes(source.spacing, data) if source.spacing else {}
    others = [pattern(_plain(path)) for path in source.further]
    templates = {mask.path: pattern(_plain(mask.path)) for mask in source.masks}
    used: set[Path] = set()
    for path, text, fields in find(source.image, data, where):
        # `{name}.png` fits `1-mask.png` too.
        if any(template.fullmatch(text) for template in (*templates.values(), *others)):
            continue
        name = case_name(_plain(source.image), text, fields)
        masks = tuple(inside(data, _plain(fill(mask.path, fields)), where) for mask in source.masks)
        used.update(masks)
        patient = fields.get("patient", name)
        further = tuple(inside(data, _plain(fill(other, fields)), where) for other in source.further)
        read = partial(_read, source, (path, *further), masks, fields, sizes.get(path.name))
        entry = Entry(
            name=name, patient=patient, source=source.name, image=path, further=further, masks=masks, read=read
        )
        found.entries.append(entry)
    for template in templates:
        for path, _, _ in find(template, data, where):
            if path not in used and not pattern(_plain(source.image)).fullmatch(path.relative_to(data).as_posix()):
                found.remarks.append(DataError(f"{path} is a mask without an image.", path))
    return found


def _plain(template: str) -> str:
    return "/".join(part for part in template.split("/") if part not in ("", "."))


def _read(
    source: FilesSource,
    images: Sequence[Path],
    masks: Sequence[Path],
    fields: dict[str, str],
    pixel_mm: PixelSize | None,
) -> RawCase:
    for what, path in [*(("mask", mask) for mask in masks), *(("channel", other) for other in images[1:])]:
        if not path.exists():
            raise DataError(f"{images[0]} has no {what} {path}.", path)
    volume, told = _image(source, images[0], fields, pixel_mm) if len(images) == 1 else (read_channels(images), True)
    label = np.zeros(volume.array.shape, np.uint8)
    for mask, path in zip(source.masks, masks, strict=True):
        with blamed_on(path):
            values = _mask(source, path, volume, told, fields)
        mine = mask_values(values, mask, path)
        label = np.where(mine > 0, mine, label)
    if source.slab > 0 and volume.array.shape[2] == 1:
        volume, label = _slab(volume, label, source.slab)
    return RawCase(volume, label, told)


def _slab(volume: Volume, label: Labels, thickness: float) -> tuple[Volume, Labels]:
    """One slice as several equal ones, `thickness` mm from the first edge to the last: nothing changes between them."""
    count = max(2, round(thickness / _SLAB_STEP))
    affine = volume.affine.copy()
    affine[:3, 2] *= thickness / count / np.linalg.norm(affine[:3, 2])
    thick = volume.mapped(lambda channel: np.repeat(channel, count, axis=2), affine=affine)
    return thick, np.repeat(label, count, axis=2)


def _image(source: FilesSource, path: Path, fields: dict[str, str], pixel_mm: PixelSize | None) -> tuple[Volume, bool]:
    """The image, and whether the size of its voxels is known."""
    if path.is_file() and path.name.lower().endswith(PICTURES):
        volume, told = read_color(path) if source.color else read_volume(path), pixel_mm is not None
        x, y = pixel_mm or (1.0, 1.0)  # a picture runs left and posterior
        affine = np.diag([-x, -y, 1.0, 1.0])
        volume = volume.mapped(lambda channel: turned(channel[..., 0].T, source, fields)[..., None], affine=affine)
    elif path.is_file() and is_dicom_file(path):
        volume, told = read_slice(path)
    else:
        volume, told = read_volume(path), True
    return volume.mapped(lambda channel: intensities(channel, source)), told


def _mask(source: FilesSource, path: Path, volume: Volume, told: bool, fields: dict[str, str]) -> npt.NDArray[Any]:
    """The values of a label file on the volume's grid."""
    if not (path.is_file() and path.name.lower().endswith(PICTURES)):
        # An image that does not tell its place cannot be compared but in size.
        return read_label_map(path, volume, has_place=told)
    values = turned(read_picture_mask(path), source, fields)[..., None]
    check_same_size(values, volume, path)
    return values
