"""Weights in the safetensors format.

Slicer installs torch and MONAI only, so the format (8-byte header length, JSON header, raw little-endian data;
https://huggingface.co/docs/safetensors) is read here without its library.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from LiverSegLib.errors import ModelError
from LiverSegLib.models.stored import StoredTensors
from LiverSegLib.models.text import one_line

if TYPE_CHECKING:
    import torch

_MAX_HEADER = 10_000_000
_MAX_TENSORS = 50_000
_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}
_DAMAGE = (OSError, ArithmeticError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, EOFError)


def open_safetensors(file: BinaryIO, path: Path) -> StoredTensors:
    """The tensors of an open safetensors file, which errors call `path`.

    Raises:
        ModelError: the file is damaged or declares impossible sizes.
    """
    try:
        header, start, end = _header(file)
        places = _places(header, end - start)
    except _DAMAGE as error:
        raise _damaged(path, error) from error

    def load() -> dict[str, torch.Tensor]:
        import torch

        found = {}
        try:
            file.seek(start)
            for name, (kind, shape, size) in places.items():
                dtype, raw = getattr(torch, kind), bytearray(file.read(size))
                block = torch.frombuffer(raw, dtype=dtype) if size else torch.empty(0, dtype=dtype)
                found[name] = block.reshape(shape)
        except _DAMAGE as error:
            raise _damaged(path, error) from error
        return found

    return StoredTensors({name: shape for name, (_, shape, _) in places.items()}, load)


def _damaged(path: Path, error: Exception) -> ModelError:
    return ModelError(f"{path} is a damaged safetensors file ({one_line(error, 200)}); get the package again.")


def _header(file: BinaryIO) -> tuple[dict[str, Any], int, int]:
    """The header, where the data begin, and where the file ends."""
    end = file.seek(0, 2)
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if end < 8 or length > min(_MAX_HEADER, end - 8):
        raise ValueError("its header is truncated or too long")
    header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    if len(header) > _MAX_TENSORS:
        raise ValueError(f"it lists {len(header)} tensors")
    return header, 8 + length, end


def _places(header: dict[str, Any], space: int) -> dict[str, tuple[str, tuple[int, ...], int]]:
    """Type, shape and bytes of each tensor, in the order of the file; they fill `space` without a gap."""
    import torch

    found = {}
    taken = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        kind = _DTYPES[entry["dtype"]]
        shape = tuple(int(n) for n in entry["shape"])
        begin, end = (int(n) for n in entry["data_offsets"])
        size = math.prod(shape) * getattr(torch, kind).itemsize
        if min([0, *shape]) < 0 or len(shape) > 16 or max([0, *shape]) > 2**48:
            raise ValueError(f"{name} has an impossible shape")
        if begin != taken or end - begin != size or end > space:
            raise ValueError(f"{name} has impossible sizes")
        found[name] = (kind, shape, size)
        taken = end
    if taken != space:
        raise ValueError("it holds bytes that belong to no tensor")
    return found


def write_safetensors(path: Path, state: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """Write a state dict as safetensors.

    Args:
        path: the file, replaced if it is there.
        state: tensors by name, any device.
        metadata: text for people, stored in the header.
    """
    import torch

    names = {str(getattr(torch, v)): k for k, v in _DTYPES.items()}
    header: dict[str, Any] = {"__metadata__": metadata}
    blocks, offset = [], 0
    for name, tensor in sorted(state.items()):
        block = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        header[name] = {
            "dtype": names[str(tensor.dtype)],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + len(block)],
        }
        blocks.append(block)
        offset += len(block)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the format aligns data to eight bytes
    path.write_bytes(b"".join([len(text).to_bytes(8, "little"), text, *blocks]))
