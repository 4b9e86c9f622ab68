"""What a preparation will take of disk and memory, told by the headers of its images before anything is written."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from LiverSegLib.io.picture import PICTURES
from LiverSegLib.volume import Volume
from Training.data.preprocess import grid_of, stored_type
from Training.data.readers import Entry, RawCase
from Training.errors import DataError
from Training.recipe import Recipe

# Headers that are read; of more cases these stand for all.
_LOOKED_AT = 200
_LABEL_BYTES = 1
# The estimate is of whole images: where only the body is kept, a third of it may do.
_SURELY, _SURELY_CROPPED = 0.9, 0.3
Affine = npt.NDArray[np.float64]
Header = tuple[tuple[int, ...], Affine]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """About what cases take.

    Args:
        stored: bytes of the prepared files.
        voxels: voxels of all images as they lie on the disk.
        largest: voxels of the largest image.
    """

    stored: int
    voxels: int
    largest: int


def estimate(entries: Sequence[Entry], recipe: Recipe) -> Estimate | None:
    """What these cases take; None where no header tells."""
    step = max(1, -(-len(entries) // _LOOKED_AT))
    sizes = [size for entry in entries[::step] if (size := _size(entry, recipe)) is not None]
    if not sizes:
        return None
    voxels, stored = np.array(sizes, np.float64).T
    many = len(entries) / len(sizes)
    return Estimate(stored=int(stored.sum() * many), voxels=int(voxels.sum() * many), largest=int(voxels.max()))


def check_room(found: Estimate, recipe: Recipe, out: Path) -> str:
    """What the preparation will take, in a sentence.

    Raises:
        DataError: the disk of `out` surely has less.
    """
    free = shutil.disk_usage(out).free
    share = _SURELY_CROPPED if recipe.preprocess.crop_foreground else _SURELY
    if found.stored * share > free:
        raise DataError(
            f"{out} needs about {text(found.stored)}, but its disk has {text(free)} left; make room, or choose another "
            "folder or a coarser preprocess.pixdim.",
            out,
        )
    return f"About {text(found.stored)} will be written; the disk has {text(free)} left."


def text(count: int) -> str:
    """Bytes for people."""
    power = 0 if count < 1000 else min(4, int(math.log10(count)) // 3)
    return f"{count / 1000**power:.{1 if power > 1 else 0}f} {('bytes', 'kB', 'MB', 'GB', 'TB')[power]}"


def _size(entry: Entry, recipe: Recipe) -> tuple[int, int] | None:
    """Voxels on the disk and bytes once prepared; None where the header does not tell."""
    if entry.image is None:
        return None
    try:
        found = _header(entry.image)
        if found is None:
            return None
        shape, affine = found
        # One voxel that is seen everywhere: a volume of any size without its memory.
        stub = Volume(np.broadcast_to(np.int16(0), shape), affine)
        raw = RawCase(stub, np.broadcast_to(np.uint8(0), shape), not _is_picture(entry.image))
        grid = grid_of(raw, recipe)
    except Exception:  # a damaged header can raise anything; whoever reads the case tells of it
        return None
    channels = recipe.in_channels
    each = channels * np.dtype(stored_type(recipe)).itemsize + _LABEL_BYTES
    return math.prod(shape) * channels, math.prod(grid.shape) * each


def _is_picture(path: Path) -> bool:
    return path.name.lower().endswith(PICTURES)


def _header(path: Path) -> Header | None:
    """Shape and affine of an image, without its voxels."""
    name = path.name.lower()
    for endings, read in _HEADERS.items():
        if name.endswith(endings):
            return read(path)
    return _dicom(path) if path.is_dir() or name.endswith(".dcm") else None


def _nifti(path: Path) -> Header:
    import nibabel as nib

    header: Any = nib.load(path).header
    return tuple(header.get_data_shape()[:3]), header.get_best_affine()


def _itk(path: Path) -> Header:
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    affine = np.eye(4)
    directions = np.array(reader.GetDirection()).reshape(3, 3) * reader.GetSpacing()
    affine[:3, :3] = np.diag([-1, -1, 1]) @ directions
    return tuple(reader.GetSize()), affine


def _picture(path: Path) -> Header:
    from PIL import Image

    if path.suffix.lower() == ".npy":
        rows, columns = np.load(path, mmap_mode="r").shape[:2]
        return (columns, rows, 1), np.diag([-1.0, -1.0, 1.0, 1.0])
    with Image.open(path) as image:
        return (*image.size, 1), np.diag([-1.0, -1.0, 1.0, 1.0])


def _dicom(path: Path) -> Header:
    """Of a folder as many slices as it has files, as far from each other as the first one says."""
    import pydicom

    files = [file for file in sorted(path.rglob("*")) if file.is_file()] if path.is_dir() else [path]
    first = pydicom.dcmread(files[0], stop_before_pixels=True)
    x, y = (float(mm) for mm in reversed(first.get("PixelSpacing") or [1.0, 1.0]))
    z = float(first.get("SpacingBetweenSlices") or first.get("SliceThickness") or 1.0)
    frames = int(first.get("NumberOfFrames") or 1)
    return (int(first.Columns), int(first.Rows), len(files) * frames), np.diag([-x, -y, z, 1.0])


_HEADERS: dict[tuple[str, ...], Callable[[Path], Header]] = {
    (".nii", ".nii.gz"): _nifti,
    (".nrrd", ".nhdr", ".mha", ".mhd"): _itk,
    PICTURES: _picture,
}
