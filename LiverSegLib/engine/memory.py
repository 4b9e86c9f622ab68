"""What happens where memory runs out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from LiverSegLib.errors import DeviceError

_WORDS = ("not enough memory", "can't allocate", "out of memory", "ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on any device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # torch raises no class of its own for the allocators of CPU and MPS, drivers and cuDNN
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)


@contextmanager
def memory_guard(sentence: str) -> Iterator[None]:
    """Turn every way to run out of memory into a `DeviceError` with `sentence`.

    Raises:
        DeviceError: memory ran out.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise DeviceError(sentence) from error
