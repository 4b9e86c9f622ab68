"""Headers that promise more voxels than their file can hold are refused before memory is asked for."""

from __future__ import annotations

from pathlib import Path

from LiverSegLib.errors import InputError

# Deflate (gzip, zlib) never shrinks data by more than this factor.
DEFLATE_RATIO = 1032


def check_declared_size(path: Path, declared: int, possible: int) -> None:
    """Compare the bytes that a header declares with the most that its file can hold.

    Args:
        path: the file, for the message.
        declared: bytes of voxels according to the header.
        possible: bytes of voxels that fit into the file, after decompression where there is one.

    Raises:
        InputError: the header declares more.
    """
    if declared > possible:
        raise InputError(
            f"{path} is truncated or has a damaged header: it declares {declared} bytes of voxels "
            f"but can hold at most {possible}; copy or export it again."
        )
