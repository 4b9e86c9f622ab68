"""Single pictures in: PNG, JPEG, BMP and TIFF with Pillow, and .npy arrays.

Training and inference read them here, so that a picture is the same numbers to both. Three equal channels are gray;
colors become their luminance, and the result of such a picture tells so. Refused is what has no luminance that would
mean anything: inks (CMYK), Lab, and palettes of colors, which are label maps or color maps.
"""

from __future__ import annotations

import os
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from LiverSegLib.errors import InputError
from LiverSegLib.io.npy import read_npy
from LiverSegLib.io.png_chunks import check_png
from LiverSegLib.io.regular_file import open_regular
from LiverSegLib.io.space import LPS_TO_RAS
from LiverSegLib.io.stored_voxels import DEFLATE_RATIO, check_declared_size
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
# Modes of Pillow whose channels are no amounts of light.
_NO_LIGHT = ("CMYK", "LAB", "HSV", "YCbCr")
# Luminance of red, green and blue as in ITU-R BT.601, what PIL's "L" is too.
_LUMINANCE = np.array([0.299, 0.587, 0.114])


def read_picture(path: Path) -> Volume:
    """Read a .png, .jpg, .jpeg, .bmp, .tif, .tiff or .npy file as an image of one slice.

    Args:
        path: the file, which exists. A .npy array is [row, column].

    Returns:
        The picture in its type on disk, array [column, row, 1], pixels of 1 mm. An alpha channel is left out, colors
        become their luminance; the volume's notes tell of that.

    Raises:
        InputError: the file is damaged, holds more than one picture, or colors that have no luminance.
    """
    pixels, is_palette = _read(path, indices=False)
    notes: tuple[str, ...] = ()
    gray = _gray(pixels, path)
    if gray is None:
        if is_palette:
            raise _colored(path, "a palette, as label maps and color maps have them")
        # Row by row, because it is computed in eight times as many bytes.
        gray = np.stack([np.round(row[:, :3] @ _LUMINANCE).astype(pixels.dtype) for row in pixels])
        notes = (f"{path.name} is in color; its luminance was taken, so check that nothing is drawn on it.",)
    # Columns run to the left and rows to the back (LPS), as in a radiological picture; 1 mm because none is told.
    return Volume(gray.T[:, :, None], LPS_TO_RAS, path.name, notes=notes)


def read_color(path: Path) -> Volume:
    """Read a picture as `read_picture` does, but with red, green and blue as the three channels of its volume.

    A gray picture is three equal colors; the volume's notes tell of that.

    Raises:
        InputError: the file is damaged, holds more than one picture, or its colors are those of a palette.
    """
    pixels, is_palette = _read(path, indices=False)
    if is_palette and _gray(pixels, path) is None:
        raise _colored(path, "a palette, as label maps and color maps have them")
    notes: tuple[str, ...] = ()
    if pixels.ndim != 3 or pixels.shape[-1] not in (3, 4):
        gray = _gray(pixels, path)
        assert gray is not None  # two channels are gray and alpha
        pixels = np.repeat(gray[..., None], 3, axis=2)
        notes = (f"{path.name} is gray; it was taken as three equal colors.",)
    red, green, blue = (pixels[..., n].T[:, :, None] for n in range(3))
    return Volume(red, LPS_TO_RAS, path.name, notes=notes, further=(green, blue))


def read_picture_mask(path: Path) -> npt.NDArray[Any]:
    """Read the numbers [row, column] of a mask: gray levels, or the indices of a palette.

    Raises:
        InputError: the file is damaged, in color, or holds more than one picture.
    """
    gray = _gray(_read(path, indices=True)[0], path)
    if gray is None:
        raise InputError(f"{path} is a color picture; store a mask with one number a pixel.")
    return gray


def _gray(pixels: npt.NDArray[Any], path: Path) -> npt.NDArray[Any] | None:
    """The one channel [row, column], None for a picture in color; the second of two and the fourth are alpha."""
    if pixels.ndim == 3 and 1 <= pixels.shape[-1] <= 4:
        colors = pixels[..., : {2: 1, 4: 3}.get(pixels.shape[-1], 3)]
        if all(np.array_equal(colors[..., 0], colors[..., n]) for n in range(1, colors.shape[-1])):
            return colors[..., 0]
        if path.suffix.lower() != ".npy":  # whose axes may mean anything
            return None
    if pixels.ndim != 2:
        shape = "x".join(str(n) for n in pixels.shape)
        raise InputError(f"{path} holds {shape} values instead of one gray picture; export a single slice.")
    return pixels


def _read(path: Path, *, indices: bool) -> tuple[npt.NDArray[Any], bool]:
    """Pixels [row, column] or [row, column, channel] in the type on disk, and whether a palette gives their colors."""
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return read_npy(path), False
    from PIL import Image

    if _is_cut_off(path, suffix):
        raise InputError(f"{path} is truncated or no {suffix} picture; copy or export it again.")
    try:
        with open_regular(path) as file, warnings.catch_warnings():
            # Whatever else is strange shows in the pixels or as an error.
            warnings.simplefilter("ignore")
            if suffix == ".png":
                _check_png(file, path)
                file.seek(0)
            with Image.open(file, formats=[_FORMATS[suffix]]) as image:
                _check_image(image, path)
                return _pixels(image, path, indices=indices), image.mode in ("P", "PA")
    except (InputError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(path) from error
    # A damaged picture can raise nearly anything: OSError, SyntaxError, struct.error, UnicodeDecodeError, ...
    except Exception as error:
        fault = f"is damaged or no {suffix} picture that can be read here"
        raise InputError(f"{path} {fault}; copy or export it again.") from error


def _check_png(file: BinaryIO, path: Path) -> None:
    declared, is_deep_color = check_png(file)
    size = os.fstat(file.fileno()).st_size
    check_declared_size(path, declared, max(_BELIEVED_BYTES, size * DEFLATE_RATIO))
    if is_deep_color:
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
    with suppress(EOFError):
        while pages < _MOST_PAGES:
            image.seek(pages)
            pages += 1
    image.seek(0)
    return pages


def _pixels(image: Any, path: Path, *, indices: bool) -> npt.NDArray[Any]:
    """The decoded pixels. Pillow knows fewer types than TIFF: bits and format of a sample tell which one it was."""
    if image.mode in _NO_LIGHT:
        raise _colored(path, image.mode)
    # One bit a pixel counts as 0 and 255, an index of an image as the color that it stands for.
    modes = {"1": "L"} if indices else {"1": "L", "P": "RGB", "PA": "RGB"}
    mode = modes.get(image.mode, image.mode)
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


def _colored(path: Path, how: str) -> InputError:
    return InputError(f"{path} is a color picture of {how}; export it in gray, without drawings or a color map.")


def _deep_color(path: Path) -> InputError:
    return InputError(f"{path} is a color picture of more than 8 bits a channel; export it in gray.")


def _is_cut_off(path: Path, suffix: str) -> bool:
    """Whether the end of a JPEG or BMP file is missing, where their readers would make up the rest."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if suffix == ".bmp":
            return size < int.from_bytes(file.read(6)[2:], "little")
        file.seek(max(0, size - 1024))
        return suffix in (".jpg", ".jpeg") and _JPEG_END not in file.read()
