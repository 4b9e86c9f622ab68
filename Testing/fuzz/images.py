"""Damaged and hostile images of every format that `read_volume` knows, in the harness's terms.

A case takes a small sound file, changes it in one to three ways (bits, bytes, pieces, lines of a text header, numbers
in it, a hostile header of its own) and reads it: a sound `Volume` or one sentence must come of it.
"""

from __future__ import annotations

import functools
import gzip
import io
import os
import random
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from LiverSegLib.io import read_volume
from Testing.fuzz import harness

COUNT = 10_000
LIMITS = harness.Limits(grown=300 << 20, seconds=60)
_NUMBERS = (
    "0",
    "-1",
    "1",
    "2",
    "3.4e38",
    "1e308",
    "-1e308",
    "1e999",
    "nan",
    "inf",
    "-inf",
    "255",
    "256",
    "32767",
    "32768",
    "65536",
    "2147483647",
    "2147483648",
    "-2147483648",
    "4294967296",
    "9223372036854775807",
    "1e30",
    "1e-30",
    "0.0",
    "1" * 400,
    "0x10",
    "1_0",
    "",
    " ",
    "8.5",
    "٣",
)
_LINES = (
    b"ElementDataFile : /etc/passwd",
    b" ElementDataFile = ../secret.raw",
    b"data file: /dev/zero",
    b"data file:=x",
    b"ElementDataFile = link.raw",
    b"data file: link.raw",
    b"ElementDataFile = pipe.raw",
    b"data file: pipe.raw",
    b"ElementDataFile = LIST",
    b"data file: LIST",
    b"ElementDataFile = %d 1 9 1",
    b"NDims = -1",
    b"NDims = 3.4e38",
    b"TransformMatrix = 1 0 0 0 1 0 0 1e308 1",
    b"foo" + b"9" * 100_000 + b": x",
    b"CompressedData = True",
    b"CompressedDataSize = 7",
    b"HeaderSize = -1",
    b"HeaderSize = 99999999",
    b"byte skip: -1",
    b"line skip: 7",
    b"encoding: gzip",
    b"encoding: ascii",
    b"endian: big",
    b"BinaryData = False",
    b"ElementType = MET_DOUBLE",
    b"ElementNumberOfChannels = 1000000",
    b"type: double",
    b"dimension: 16",
    b"kinds: list domain domain",
    b"spacings: 1 1 1e30",
    b"space: RAS",
    b"space directions: none none none",
    b"space directions: (((((",
    b"",
    b"\0",
    b"ElementSpacing = 0 0 0",
    b"\x0bElementDataFile = data.raw",
    b"# " + b"x" * 2_000_000,
    b"\xff\xfe = \xff",
)


def case(seed: int, number: int, folder: Path) -> str:
    """Write input `number` into `folder` and read it.

    Returns:
        "read" where a volume came of it.
    """
    rng = random.Random(f"{seed} {number}")
    name, content = rng.choice(_seeds())
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        content = rng.choice(_CHANGES if _has_text(name) else _CHANGES[:_BINARY])(content, rng)
    if name.endswith(".nii.gz*"):
        content, name = gzip.compress(content, 1), name[:-1]
    path = folder / name
    path.write_bytes(content)
    _set_traps(folder)
    volume = read_volume(path)
    assert volume.array.ndim == 3
    assert np.isfinite(volume.affine).all()
    assert not np.array_equal(volume.array.ravel(), np.frombuffer(_SECRET, np.uint8)), "read outside the folder"
    volume.array.max()  # every voxel is really there
    return "read"


def run(seed: int, count: int, first: int = 0) -> harness.Report:
    """Read `count` images; see `harness.run`."""
    return harness.run(__name__, seed, count, first, LIMITS)


_SECRET = bytes(range(60))


def _set_traps(folder: Path) -> None:
    """What a header beside them might be led to: a file outside, a link to it, a pipe that nobody fills."""
    if not (folder.parent / "secret.raw").exists():
        (folder.parent / "secret.raw").write_bytes(_SECRET)
    if not (folder / "data.raw").exists():
        (folder / "data.raw").write_bytes(_VOXELS.tobytes(order="F"))
    (folder / "link.raw").symlink_to(folder.parent / "secret.raw")
    os.mkfifo(folder / "pipe.raw")


# Sound files.

_VOXELS = np.arange(60, dtype=np.int16).reshape(5, 4, 3) * 7
_MHA = b"""ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = False
CompressedData = %s
TransformMatrix = 1 0 0 0 1 0 0 0 1
Offset = -10 20 30.5
CenterOfRotation = 0 0 0
AnatomicalOrientation = RAI
ElementSpacing = 0.5 0.75 2
DimSize = 5 4 3
ElementType = MET_SHORT
ElementDataFile = %s
"""
_NRRD = b"""NRRD0004
# a comment
type: short
dimension: 3
space: left-posterior-superior
sizes: 5 4 3
space directions: (0.5,0,0) (0,0.75,0) (0,0,2)
kinds: domain domain domain
endian: little
encoding: %s
space origin: (-10,20,30.5)
Segment0_ID:=Segment_1
"""


@functools.cache
def _seeds() -> list[tuple[str, bytes]]:
    """Name and content of every sound file. ".nii.gz*" is packed after it was changed."""
    raw = _VOXELS.tobytes(order="F")
    return [
        ("a.mha", _MHA % (b"False", b"LOCAL") + raw),
        ("b.mha", _MHA % (b"True", b"LOCAL") + zlib.compress(raw)),
        ("a.mhd", _MHA % (b"False", b"data.raw")),
        ("a.nrrd", _NRRD % b"raw" + b"\n" + raw),
        ("b.seg.nrrd", _NRRD % b"gzip" + b"\n" + gzip.compress(raw, mtime=0)),
        ("a.nhdr", _NRRD % b"raw" + b"data file: data.raw\n"),
        ("c.nrrd", _NRRD % b"ascii" + b"\n" + " ".join(map(str, _VOXELS.ravel(order="F"))).encode()),
        *_nifti_seeds(),
        *_picture_seeds(),
        *_npy_seeds(),
    ]


def _nifti_seeds() -> list[tuple[str, bytes]]:
    import nibabel as nib

    found = []
    for name, kind in (("a", nib.Nifti1Image), ("b", nib.Nifti2Image)):
        image: Any = kind(_VOXELS, np.diag([-0.5, -0.75, 2, 1]))
        if name == "b":
            image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"x" * 20))
        content = image.to_bytes()
        packed = gzip.compress(content, mtime=0)
        found += [(f"{name}.nii", content), (f"{name}.nii.gz", packed), (f"{name}.nii.gz*", content)]
    return found


def _picture_seeds() -> list[tuple[str, bytes]]:
    from PIL import Image

    pixels = np.add.outer(np.arange(12) * 9, np.arange(10) * 3).astype(np.uint8)
    gray = Image.fromarray(pixels)
    deep = Image.fromarray(pixels.astype(np.uint16) * 99)
    pictures: list[tuple[str, Any, dict[str, Any]]] = [
        ("a.png", gray, {}),
        ("b.png", deep, {}),
        ("c.png", gray.convert("RGB"), {}),
        ("d.png", gray.quantize(4), {}),
        ("a.jpg", gray, {}),
        ("b.jpg", gray.convert("RGB"), {"progressive": True}),
        ("a.bmp", gray, {}),
        ("b.bmp", gray.convert("RGB"), {}),
        ("a.tif", gray, {}),
        ("b.tif", deep, {}),
        ("c.tif", gray, {"compression": "tiff_lzw"}),
        ("d.tif", gray, {"compression": "tiff_adobe_deflate"}),
        ("e.tif", Image.fromarray(pixels.astype(np.float32)), {"compression": "packbits"}),
        ("f.tif", gray, {"save_all": True, "append_images": [gray]}),
    ]
    found = []
    for name, image, options in pictures:
        stream = io.BytesIO()
        kind = {"jpg": "JPEG", "tif": "TIFF"}.get(name[2:], name[2:].upper())
        image.save(stream, kind, **options)
        found.append((name, stream.getvalue()))
    return found


def _npy_seeds() -> list[tuple[str, bytes]]:
    found = []
    for name, dtype, version in (("a", "<i2", (1, 0)), ("b", ">f8", (2, 0)), ("c", "|u1", (3, 0))):
        stream = io.BytesIO()
        np.lib.format.write_array(stream, _VOXELS[:, :, 0].astype(dtype), version)
        found.append((f"{name}.npy", stream.getvalue()))
    return found


def _has_text(name: str) -> bool:
    return name.endswith((".mha", ".mhd", ".nrrd", ".nhdr", ".npy"))


# Ways to damage them.


def _flip(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _flip_early(content: bytes, rng: random.Random) -> bytes:
    """Most headers lie within the first bytes."""
    return _flip(content[:400], rng) + content[400:]


def _extreme(content: bytes, rng: random.Random) -> bytes:
    """A binary number of 1 to 8 bytes becomes one of the extremes of its type."""
    size = rng.choice((1, 2, 4, 8))
    at = rng.randrange(max(1, min(len(content), 600) - size))
    value = rng.choice(
        [
            bytes(size),
            b"\xff" * size,
            b"\x7f" + b"\xff" * (size - 1),
            b"\x80" + bytes(size - 1),
            b"\xff" * (size - 1) + b"\x7f",
            struct.pack("<d", rng.choice((1e30, -1e300, float("nan"))))[-size:],
            struct.pack("<f", rng.choice((1e30, 1e-30, float("nan"), float("inf"))))[-size:],
        ]
    )
    return content[:at] + value + content[at + size :]


def _cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def _cut_out(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content) + 1)
    return content[:start] + content[start + rng.choice((1, 2, 4, 16, 64)) :]


def _insert(content: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(content) + 1)
    piece = rng.choice((b"\0", b"\xff" * 8, b"\n", b"\r", rng.randbytes(rng.randrange(1, 40)), content[:64]))
    return content[:at] + piece + content[at:]


def _append(content: bytes, rng: random.Random) -> bytes:
    return content + rng.choice((b"\0", b"\0" * 1000, b"\n", rng.randbytes(50), content, _bombs()[1]))


def _repack_bomb(content: bytes, rng: random.Random) -> bytes:
    """Something that inflates to 4 or 64 MiB in the place of the last part."""
    return content[: rng.randrange(len(content) + 1)] + rng.choice(_bombs())


@functools.cache
def _bombs() -> list[bytes]:
    return [pack(bytes(size), 1) for size in (1 << 22, 1 << 26) for pack in (zlib.compress, gzip.compress)]


def _checksum_png(content: bytes, rng: random.Random) -> bytes:
    """A change within a PNG chunk that its checksum agrees with; other files are flipped."""
    if not content.startswith(b"\x89PNG"):
        return _flip(content, rng)
    at, chunks = 8, []
    while at + 12 <= len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    if not chunks:
        return content
    chosen = rng.randrange(len(chunks))
    kind, body = chunks[chosen]
    chunks[chosen] = (kind, rng.choice((_flip, _extreme, _cut, _append))(body or b"\0", rng))
    if rng.random() < 0.2:
        chunks.insert(rng.randrange(len(chunks)), rng.choice(chunks))
    parts = [struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks]
    return content[:8] + b"".join(parts)


def _on_lines(content: bytes, change: Callable[[list[bytes]], None]) -> bytes:
    lines = content.split(b"\n")
    change(lines)
    return b"\n".join(lines)


def _edit_number(content: bytes, rng: random.Random) -> bytes:
    places = list(re.finditer(rb"[-+.0-9eE]*[0-9][-+.0-9eE]*", content[:2000]))
    if not places:
        return content
    place = rng.choice(places)
    return content[: place.start()] + rng.choice(_NUMBERS).encode() + content[place.end() :]


def _edit_line(content: bytes, rng: random.Random) -> bytes:
    """Double, drop, swap or add a line, or give one a strange start, separator or end."""

    def change(lines: list[bytes]) -> None:
        at, other = (rng.randrange(min(len(lines), 15)) for _ in range(2))
        match rng.randrange(7):
            case 0:
                lines.insert(at, lines[other])
            case 1:
                del lines[at]
            case 2:
                lines[at], lines[other] = lines[other], lines[at]
            case 3:
                lines.insert(at, rng.choice(_LINES))
            case 4:
                lines[at] = rng.choice((b" ", b"\t", b"\x0b", b"\xc2\xa0", b"#", b"\r")) + lines[at]
            case 5:
                lines[at] = lines[at].replace(b" =", rng.choice((b" :", b"=", b" ==", b":=")))
                lines[at] = lines[at].replace(b": ", rng.choice((b":= ", b" : ", b"=", b":")))
            case 6:
                key, mark, _ = lines[at].partition(b" = " if b" = " in lines[at] else b": ")
                lines[at] = key + mark + rng.choice(_LINES)

    return _on_lines(content, change)


def _edit_ends(content: bytes, rng: random.Random) -> bytes:
    return content.replace(b"\n", rng.choice((b"\r", b"\r\n", b"\n\n", b"\x0b")), rng.choice((1, 5, -1)))


_Change = Callable[[bytes, random.Random], bytes]
_CHANGES: tuple[_Change, ...] = (
    _flip,
    _flip_early,
    _extreme,
    _cut,
    _cut_out,
    _insert,
    _append,
    _repack_bomb,
    _checksum_png,
    _edit_number,
    _edit_line,
    _edit_number,
    _edit_line,
    _edit_ends,
)
# The first so many make sense for binary files.
_BINARY = 9
