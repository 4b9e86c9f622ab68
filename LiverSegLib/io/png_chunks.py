"""The frame of a PNG file: its chunks, their checksums, and what the first of them declares.

Format: https://www.w3.org/TR/png/. Pillow neither compares every checksum nor tells how deep colors were stored.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import BinaryIO

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PART = 1 << 20
# Color type -> samples of a pixel.
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


@dataclass(frozen=True)
class PngHeader:
    """Bits of a sample, samples of a pixel, and bytes of the pixels when unpacked."""

    depth: int
    samples: int
    bytes_declared: int


def check_png(file: BinaryIO) -> PngHeader:
    """Walk through all chunks of a PNG file.

    Args:
        file: open at its start.

    Raises:
        ValueError: it is no PNG file, cut off, or a chunk does not match its checksum.
    """
    if file.read(8) != _SIGNATURE:
        raise ValueError("no PNG signature")
    header, kind = None, b""
    while kind != b"IEND":
        start = file.read(8)
        length, kind = int.from_bytes(start[:4], "big"), start[4:]
        body = _checked_body(file, kind, length)
        if header is None:
            if kind != b"IHDR" or length != 13 or body[9] not in _SAMPLES:
                raise ValueError("no PNG header")
            width, height = (int.from_bytes(body[at : at + 4], "big") for at in (0, 4))
            depth, samples = body[8], _SAMPLES[body[9]]
            header = PngHeader(depth, samples, (width * depth * samples + 7) // 8 * height)
    assert header is not None
    return header


def _checked_body(file: BinaryIO, kind: bytes, length: int) -> bytes:
    """The first part of a chunk, which has gone through its checksum."""
    check, first = zlib.crc32(kind), b""
    while length > 0:
        part = file.read(min(length, _PART))
        if not part:
            break
        first = first or part
        length -= len(part)
        check = zlib.crc32(part, check)
    if length or file.read(4) != check.to_bytes(4, "big"):
        raise ValueError(f"a chunk {kind!r} that is cut off or does not match its checksum")
    return first
