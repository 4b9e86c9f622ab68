"""Single grey pictures in: PNG, JPEG, BMP and TIFF with SimpleITK, and .npy arrays."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from LiverSegLib.errors import InputError
from LiverSegLib.io.limits import DEFLATE_RATIO, check_declared_size
from LiverSegLib.volume import Volume

_IMAGE_IO = {
    ".png": "PNGImageIO", ".jpg": "JPEGImageIO", ".jpeg": "JPEGImageIO", ".bmp": "BMPImageIO",
    ".tif": "TIFFImageIO", ".tiff": "TIFFImageIO",
}  # fmt: skip
PICTURES = (*_IMAGE_IO, ".npy")
# Blank pictures shrink to nearly nothing, so a small file is believed up to this size (8,192 x 8,192 at 8 bit).
_BELIEVED_BYTES = 1 << 26
_JPEG_END = b"\xff\xd9"
# Columns run to the left and rows to the back (LPS), as in a radiological picture; 1 mm because none is told.
AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_picture(path: Path) -> Volume:
    """Read a .png, .jpg, .jpeg, .bmp, .tif, .tiff or .npy file as an image of one slice.

    Args:
        path: the file, which exists. A .npy array is [row, column].

    Returns:
        The picture in its type on disk, array [column, row, 1], pixels of 1 mm. Three or four channels that hold
        the same grey become one.

    Raises:
        InputError: the file is damaged, in real colour, or holds more than one picture.
    """
    pixels = _npy(path) if path.suffix.lower() == ".npy" else _itk(path)
    if pixels.ndim == 3:
        pixels = _grey(pixels, path)
    if pixels.ndim != 2:
        shape = "x".join(str(n) for n in pixels.shape)
        raise InputError(f"{path} holds {shape} values instead of one grey picture; export a single slice.")
    return Volume(pixels.T[:, :, None], AFFINE, name=path.name)


def _npy(path: Path) -> npt.NDArray[Any]:
    try:
        # Mapped first: the header may declare any size, and the file must really hold it.
        array = np.array(np.load(path, mmap_mode="r", allow_pickle=False))
    except (ValueError, EOFError, SyntaxError) as error:
        raise InputError(f"{path} is damaged or no plain .npy array; save it again with numpy.save.") from error
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _itk(path: Path) -> npt.NDArray[Any]:
    """Pixels [row, column] or [row, column, channel]."""
    import SimpleITK as sitk  # noqa: N813 (the name that everybody knows)

    suffix = path.suffix.lower()
    if _is_cut_off(path, suffix):
        raise InputError(f"{path} is truncated or no {suffix} picture; copy or export it again.")
    reader = sitk.ImageFileReader()
    reader.SetImageIO(_IMAGE_IO[suffix])
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        declared = math.prod(reader.GetSize()) * reader.GetNumberOfComponents()
        check_declared_size(path, declared, max(_BELIEVED_BYTES, path.stat().st_size * DEFLATE_RATIO))
        if math.prod(reader.GetSize()[2:]) > 1:
            raise InputError(f"{path} holds {reader.GetSize()[2]} pictures; export a single slice.")
        pixels: npt.NDArray[Any] = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        raise InputError(f"{path} is damaged or no {suffix} picture; copy or export it again.") from error
    return pixels[0] if reader.GetDimension() == 3 else pixels


def _is_cut_off(path: Path, suffix: str) -> bool:
    """Whether the end of a JPEG or BMP file is missing, where their readers would make up the rest."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if suffix == ".bmp":
            return size < int.from_bytes(file.read(6)[2:], "little")
        file.seek(max(0, size - 1024))
        return suffix in (".jpg", ".jpeg") and _JPEG_END not in file.read()


def _grey(pixels: npt.NDArray[Any], path: Path) -> npt.NDArray[Any]:
    """The one channel of a picture [row, column, channel] whose colours are equal; an alpha channel is left out."""
    channels = pixels.shape[-1]
    colours = pixels[..., : {2: 1, 4: 3}.get(channels, channels)]
    if channels > 4:
        return pixels  # no picture: refused by its shape
    if any(not np.array_equal(colours[..., 0], colours[..., n]) for n in range(1, colours.shape[-1])):
        raise InputError(f"{path} is a colour picture; export it in grey, without drawings or a colour map.")
    return colours[..., 0]
