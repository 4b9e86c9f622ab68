"""gzip out, block by block and on all processors: the usual single stream, which every reader knows.

As in pigz, each block is compressed by itself up to a byte's end, and the pieces make one deflate stream (RFC 1951, an
empty stored block ends each but the last) with one header and one checksum (RFC 1952). Label maps are mostly zeros,
and a block of zeros is compressed once.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from types import TracebackType
from typing import BinaryIO

from LiverSegLib.io.inflate import fast
from LiverSegLib.system import allowed_cpus

BLOCK = 1 << 20
_ZEROS = bytes(BLOCK)
_MOST_THREADS = 8
# Deflate; no name and no time inside, so that the same data give the same bytes; of an unknown system.
_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


class GzipWriter(io.RawIOBase):
    """A file that is written from its start to its end.

    The bytes depend on the data and the level alone, not on the number of threads. Only the end of a `with` makes the
    file whole.

    Args:
        file: takes the compressed bytes; it stays open.
        level: of zlib, from 1 to 9.
        threads: that compress; None for one a processor.
    """

    def __init__(self, file: BinaryIO, level: int, threads: int | None = None) -> None:
        self._file, self._level = file, level
        self._crc = self._size = 0
        self._part = bytearray()
        count = min(_MOST_THREADS, allowed_cpus()) if threads is None else threads
        self._pool = ThreadPoolExecutor(count, "gzip") if count > 1 else None
        self._most = 2 * count  # blocks that wait for their turn, so that memory is bounded
        self._waiting: deque[Callable[[], bytes]] = deque()
        file.write(_HEADER)

    def writable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """How many bytes were written, before they were compressed."""
        return self._size

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go on with zeros as far as an offset; there is no way back."""
        if whence != io.SEEK_SET or offset < self._size:
            raise io.UnsupportedOperation("a gzip stream is written from its start to its end")
        while self._size < offset:
            self.write(_ZEROS[: offset - self._size])
        return self._size

    def write(self, data: object) -> int:
        """Take bytes of any kind that has a buffer."""
        view = memoryview(data).cast("B")  # type: ignore[arg-type]
        self._crc = fast.crc32(view, self._crc)
        self._size += len(view)
        taken = 0
        while len(self._part) + len(view) - taken >= BLOCK:
            room = BLOCK - len(self._part)
            self._part += view[taken : taken + room]
            taken += room
            self._give(bytes(self._part))
            self._part.clear()
        self._part += view[taken:]
        return len(view)

    def __enter__(self) -> GzipWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._drain(0)
            self._file.write(_packed(bytes(self._part), self._level, zlib.Z_FINISH))
            self._file.write(struct.pack("<II", self._crc, self._size & 0xFFFFFFFF))
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self.close()

    def _give(self, block: bytes) -> None:
        """Have a block compressed, and write what is ready in its order."""
        if block == _ZEROS:
            self._waiting.append(lambda: _packed_zeros(self._level))
        elif self._pool is None:
            packed = _packed(block, self._level, zlib.Z_SYNC_FLUSH)
            self._waiting.append(lambda: packed)
        else:
            done: Future[bytes] = self._pool.submit(_packed, block, self._level, zlib.Z_SYNC_FLUSH)
            self._waiting.append(done.result)
        self._drain(self._most)

    def _drain(self, most: int) -> None:
        """Write until at most so many blocks wait."""
        while len(self._waiting) > most:
            self._file.write(self._waiting.popleft()())


def _packed(block: bytes, level: int, end: int) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(block) + packer.flush(end)


@lru_cache(maxsize=9)
def _packed_zeros(level: int) -> bytes:
    return _packed(_ZEROS, level, zlib.Z_SYNC_FLUSH)
