"""Weights in the safetensors format, through its library (https://huggingface.co/docs/safetensors)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from LiverSegLib.errors import ModelError
from LiverSegLib.models.stored import StoredTensors
from LiverSegLib.models.text import one_line

if TYPE_CHECKING:
    import torch

_MAX_HEADER = 10_000_000
_MAX_TENSORS = 50_000
_DTYPES = {"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"}


def open_safetensors(file: BinaryIO, path: Path) -> StoredTensors:
    """The tensors of a safetensors file, which is open as `file` and lies at `path`.

    The library takes a path; it maps the file into memory, and compares all sizes before any number is read.

    Raises:
        ModelError: the file is damaged or declares impossible sizes.
    """
    from safetensors import SafetensorError, safe_open

    def load() -> dict[str, torch.Tensor]:
        try:
            with safe_open(path, framework="pt") as source:
                # Copied, so that nothing points into the file any more when it is replaced.
                return {name: source.get_tensor(name).clone() for name in shapes}
        except (SafetensorError, OSError, ValueError, RuntimeError) as error:
            raise _damaged(path, error) from error

    try:
        if int.from_bytes(file.read(8), "little") > _MAX_HEADER:
            raise ValueError("its header is truncated or too long")
        with safe_open(path, framework="pt") as source:
            names = list(source.keys())
            if len(names) > _MAX_TENSORS:
                raise ValueError(f"it lists {len(names)} tensors")
            parts = {name: source.get_slice(name) for name in names}
            shapes = {name: tuple(part.get_shape()) for name, part in parts.items()}
            odd = next((name for name, part in parts.items() if part.get_dtype() not in _DTYPES), None)
        if odd is not None:
            raise ValueError(f"{odd} has another type of numbers than weights have")
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path, error) from error
    return StoredTensors(shapes, load)


def _damaged(path: Path, error: Exception) -> ModelError:
    return ModelError(f"{path} is a damaged safetensors file ({one_line(error, 200)}); get the package again.")


def write_safetensors(path: Path, state: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """Write a state dict as safetensors.

    Args:
        path: the file, replaced if it is there.
        state: tensors by name, any device.
        metadata: text for people, stored in the header.
    """
    from safetensors.torch import save

    # Copied, because the format has no tensors that share their numbers.
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in sorted(state.items())}
    path.write_bytes(save(tensors, metadata or None))
