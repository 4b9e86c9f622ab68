"""Weights in the safetensors format, through its library (https://huggingface.co/docs/safetensors)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from LiverSegLib.errors import ModelError
from LiverSegLib.models.text import one_line

if TYPE_CHECKING:
    import torch

Check = Callable[[dict[str, tuple[int, ...]]], None]
"""Raises ModelError where the shapes of a file's tensors, by name, are not those that are wanted."""
_MAX_HEADER = 10_000_000
_MAX_TENSORS = 50_000
_DTYPES = {"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"}


def read_safetensors(file: BinaryIO, path: Path, check: Check | None = None) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, which is open as `file` and lies at `path`.

    The library takes a path; it maps the file into memory, and compares all sizes before any number is read.

    Raises:
        ModelError: the file is damaged, declares impossible sizes, or `check` refuses it.
    """
    from safetensors import SafetensorError, safe_open

    try:
        if int.from_bytes(file.read(8), "little") > _MAX_HEADER:
            raise ValueError("its header is truncated or too long")
        with safe_open(path, framework="pt") as source:
            names = list(source.keys())
            if len(names) > _MAX_TENSORS:
                raise ValueError(f"it lists {len(names)} tensors")
            parts = {name: source.get_slice(name) for name in names}
            odd = next((name for name, part in parts.items() if part.get_dtype() not in _DTYPES), None)
            if odd is not None:
                raise ValueError(f"{odd} has another type of numbers than weights have")
            if check:
                check({name: tuple(part.get_shape()) for name, part in parts.items()})
            # Copied, so that nothing points into the file any more when it is replaced.
            return {name: source.get_tensor(name).clone() for name in names}
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        why = one_line(error, 200)
        raise ModelError(f"{path} is a damaged safetensors file ({why}); get the package again.") from error


def read_header_texts(file: BinaryIO, path: Path) -> dict[str, str]:
    """The texts that whoever wrote a safetensors file put into its header.

    Raises:
        ModelError: the header is damaged.
    """
    try:
        length = int.from_bytes(file.read(8), "little")
        if length > _MAX_HEADER:
            raise ValueError("its header is truncated or too long")
        texts = json.loads(file.read(length).decode("utf-8")).get("__metadata__", {})
        if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
            raise ValueError("its header has other values than texts")
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        why = one_line(error, 200)
        raise ModelError(f"{path} is a damaged safetensors file ({why}); get the package again.") from error
    return texts


def write_safetensors(path: Path, state: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """Write a state dict as safetensors.

    Args:
        path: the file, replaced if it is there.
        state: tensors by name, any device.
        metadata: text for people, stored in the header; the same texts and tensors give the same bytes.
    """
    from safetensors.torch import save

    # Copied, because the format has no tensors that share their numbers.
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in sorted(state.items())}
    path.write_bytes(_in_order(save(tensors, metadata or None)))


def _in_order(content: bytes) -> bytes:
    """The file with the texts of its header sorted: the library's order differs from call to call."""
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    if "__metadata__" in header:
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % 8)  # the numbers begin at a multiple of eight
    return len(text).to_bytes(8, "little") + text + content[start:]
