"""The frame of a PNG file: its chunks, their checksums, and what the first of them declares.

Format: https://www.w3.org/TR/png/. Pillow neither compares every checksum nor tells how deep colors were stored.
"""

from __future__ import annotations

import zlib
from typing import BinaryIO

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PART = 1 << 20
# Color type -> samples of a pixel.
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def check_png(file: BinaryIO) -> tuple[int, bool]:
    """Walk through all chunks of a PNG file.

    Args:
        file: open at its start.

    Returns:
        Bytes of the pixels when unpacked, and whether they have several samples of more than 8 bits.

    Raises:
        ValueError: it is no PNG file, cut off, or a chunk does not match its checksum.
    """
    if file.read(8) != _SIGNATURE:
        raise ValueError("no PNG signature")
    kind, header = _checked_chunk(file)
    if kind != b"IHDR" or len(header) != 13 or header[9] not in _SAMPLES:
        raise ValueError("no PNG header")
    while kind != b"IEND":
        kind, _ = _checked_chunk(file)
    width, height = (int.from_bytes(header[at : at + 4], "big") for at in (0, 4))
    depth, samples = header[8], _SAMPLES[header[9]]
    return (width * depth * samples + 7) // 8 * height, samples > 1 and depth > 8


def _checked_chunk(file: BinaryIO) -> tuple[bytes, bytes]:
    """The kind of the next chunk and the first part of its data, which have gone through their checksum."""
    start = file.read(8)
    length, kind = int.from_bytes(start[:4], "big"), start[4:]
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
    return kind, first
