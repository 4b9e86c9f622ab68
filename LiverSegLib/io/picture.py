"""Single grey pictures in: PNG, JPEG, BMP and TIFF with Pillow, and .npy arrays."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from LiverSegLib.errors import InputError
from LiverSegLib.io.limits import DEFLATE_RATIO, check_declared_size
from LiverSegLib.io.npy import read_npy
from LiverSegLib.io.png_chunks import check_png
from LiverSegLib.io.regular_file import open_regular
from LiverSegLib.volume import Volume

# Pillow's names; it tries no other format on a file that somebody renamed.
_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP", ".tif": "TIFF", ".tiff": "TIFF"}
PICTURES = (*_FORMATS, ".npy")
# Blank pictures shrink to nearly nothing, so a small file is believed up to this size (8,192 x 8,192 at 8 bit).
_BELIEVED_BYTES = 1 << 26
# 8,192 x 8,192; the largest X-rays have a third of it.
_MOST_PIXELS = 1 << 26
_MOST_PAGES = 1000
_JPEG_END = b"\xff\xd9"
_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
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
    pixels = read_npy(path) if path.suffix.lower() == ".npy" else _decode(path)
    if pixels.ndim == 3:
        pixels = _grey(pixels, path)
    if pixels.ndim != 2:
        shape = "x".join(str(n) for n in pixels.shape)
        raise InputError(f"{path} holds {shape} values instead of one grey picture; export a single slice.")
    return Volume(pixels.T[:, :, None], AFFINE, name=path.name)


def _decode(path: Path) -> npt.NDArray[Any]:
    """Pixels [row, column] or [row, column, channel] in the type on disk."""
    from PIL import Image

    suffix = path.suffix.lower()
    if _is_cut_off(path, suffix):
        raise InputError(f"{path} is truncated or no {suffix} picture; copy or export it again.")
    try:
        with open_regular(path) as file, warnings.catch_warnings():
            # Whatever else is strange shows in the pixels or as an error.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            if suffix == ".png":
                _check_png(file, path)
                file.seek(0)
            with Image.open(file, formats=[_FORMATS[suffix]]) as image:
                _check_image(image, path)
                return _pixels(image, path)
    except (InputError, MemoryError):
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise _too_large(path) from error
    # A damaged picture can raise nearly anything: OSError, SyntaxError, struct.error, UnicodeDecodeError, ...
    except Exception as error:
        raise InputError(
            f"{path} is damaged or no {suffix} picture that can be read here; copy or export it again."
        ) from error


def _check_png(file: BinaryIO, path: Path) -> None:
    header = check_png(file)
    size = os.fstat(file.fileno()).st_size
    check_declared_size(path, header.bytes_declared, max(_BELIEVED_BYTES, size * DEFLATE_RATIO))
    if header.samples > 1 and header.depth > 8:
        raise _deep_color(path)


def _check_image(image: Any, path: Path) -> None:
    """Refuse what is too large, several pictures, or of samples that Pillow would change without a word."""
    if image.width * image.height > _MOST_PIXELS:
        raise _too_large(path)
    pages = _count_pages(image)
    if pages > 1:
        raise InputError(f"{path} holds {pages} pictures; export a single slice.")
    depths = _tiff_tag(image, _BITS_PER_SAMPLE, (1,))
    if len(depths) > 1 and max(depths) > 8:
        raise _deep_color(path)
    # Pillow turns 8 bits around and leaves others as they are.
    if _tiff_tag(image, _PHOTOMETRIC, (1,))[0] == 0 and depths[0] > 8:
        raise InputError(f"{path} stores black as its highest value; save it with black as zero.")


def _count_pages(image: Any) -> int:
    """Number of pictures in the file; counting ends soon, for a file may lead through millions."""
    pages = 1
    try:
        while pages < _MOST_PAGES:
            image.seek(pages)
            pages += 1
    except EOFError:
        pass
    image.seek(0)
    return pages


def _pixels(image: Any, path: Path) -> npt.NDArray[Any]:
    """The decoded pixels. Pillow knows fewer types than TIFF: bits and format of a sample tell which one it was."""
    if image.mode == "CMYK":
        raise _colored(path)
    # One bit a pixel counts as 0 and 255, an index as the color that it stands for.
    mode = {"1": "L", "P": "RGB", "PA": "RGB"}.get(image.mode, image.mode)
    array = np.asarray(image if mode == image.mode else image.convert(mode))
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    bits = _tiff_tag(image, _BITS_PER_SAMPLE, (0,))[0]
    kind = {1: "u", 2: "i"}.get(_tiff_tag(image, _SAMPLE_FORMAT, (1,))[0])
    if array.dtype.kind not in "iu" or bits not in (8, 16, 32) or kind is None:
        return array
    stored = np.dtype(f"{kind}{bits // 8}")
    # Of one size it is the same bits; a larger one holds the smaller one's values.
    return array.view(stored) if stored.itemsize == array.dtype.itemsize else array.astype(stored)


def _tiff_tag(image: Any, tag: int, default: tuple[int, ...]) -> tuple[int, ...]:
    value = getattr(image, "tag_v2", {}).get(tag, default)
    return value if isinstance(value, tuple) else (value,)


def _too_large(path: Path) -> InputError:
    return InputError(f"{path} has more than {_MOST_PIXELS // 1_000_000} million pixels; crop it or export it smaller.")


def _colored(path: Path) -> InputError:
    return InputError(f"{path} is a colour picture; export it in grey, without drawings or a colour map.")


def _deep_color(path: Path) -> InputError:
    return InputError(f"{path} is a colour picture of more than 8 bits a channel; export it in grey.")


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
        raise _colored(path)
    return colours[..., 0]
