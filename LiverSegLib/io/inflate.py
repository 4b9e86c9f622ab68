"""zlib and gzip data, inflated no further than asked and checked against their checksums."""

from __future__ import annotations

import io
import zlib
from typing import Any, BinaryIO

fast: Any
"""What does zlib's work: isal, which is twice as fast, where it is installed."""
try:
    from isal import isal_zlib

    fast = isal_zlib
except ImportError:
    fast = zlib

_CHUNK = 1 << 18
_WBITS = {"zlib": zlib.MAX_WBITS, "gzip": 16 + zlib.MAX_WBITS}
_GZIP_MARK = b"\x1f\x8b"
_FLAGS, _RESERVED = 3, 0xE0


def inflated(file: BinaryIO, kind: str) -> io.BufferedReader:
    """A forward stream of what compressed data hold.

    zlib compares Adler-32 (zlib) or CRC-32 and length (gzip) where a compressed stream ends. gzip data may be
    made of several members (as bgzip and pigz write them) and padded with zeros.

    Args:
        file: open where the compressed data start; nothing may follow them.
        kind: "zlib" or "gzip".

    Returns:
        The stream. Its end is found sound. Reading raises EOFError where the data are cut off, ValueError where
        something follows them, zlib.error where they are damaged or do not match their checksum.
    """
    return io.BufferedReader(_Inflate(file, kind), _CHUNK)


class _Inflate(io.RawIOBase):
    def __init__(self, file: BinaryIO, kind: str) -> None:
        self._file = file
        self._kind = kind
        self._engine: Any = None
        self._given = b""
        self._is_over = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Put a part of the data into the start of `buffer`; 0 only at the end."""
        while not self._is_over:
            if self._engine is None:
                self._begin()
            given = self._given or self._file.read(_CHUNK)
            try:
                found = self._engine.decompress(given, min(_CHUNK * 4, len(buffer)))
            except fast.error as error:
                raise zlib.error(str(error)) from error
            self._given = self._engine.unconsumed_tail
            if self._engine.eof:
                self._given = self._engine.unused_data
                self._start_next_member()
            elif not given and not found:
                raise EOFError("the compressed data are cut off")
            if found:
                buffer[: len(found)] = found
                return len(found)
        return 0

    def _begin(self) -> None:
        """Begin with a stream, or with a member of gzip data."""
        self._engine = fast.decompressobj(_WBITS[self._kind])
        while self._kind == "gzip" and len(self._given) <= _FLAGS and (more := self._file.read(_CHUNK)):
            self._given += more
        # zlib refuses what the format reserves; isal does not look.
        if self._kind == "gzip" and len(self._given) > _FLAGS and self._given[_FLAGS] & _RESERVED:
            raise zlib.error("unknown header flags set")

    def _start_next_member(self) -> None:
        """Go on with the gzip member that follows the one that ended, or be over."""
        padding = b"\0" if self._kind == "gzip" else b""
        while not self._given.lstrip(padding):
            self._given = self._file.read(_CHUNK)
            if not self._given:
                self._is_over = True
                return
        self._given = self._given.lstrip(padding)
        if self._kind != "gzip" or not _GZIP_MARK.startswith(self._given[:2]):
            raise ValueError("something follows the compressed data")
        self._engine = None
