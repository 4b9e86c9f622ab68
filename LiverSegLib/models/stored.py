"""Tensors that lie in a file: their names and shapes first, their numbers when they are wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class StoredTensors:
    """What a weights file holds.

    Args:
        shapes: by name, as far as the file tells; the file is large enough for all of them.
        load: reads the numbers while the file is open; raises ModelError.
    """

    shapes: dict[str, tuple[int, ...]]
    load: Callable[[], dict[str, torch.Tensor]]
