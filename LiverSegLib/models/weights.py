"""Weights in and out: safetensors first, torch's weights-only reader else, and nothing that can run code.

Slicer installs torch and MONAI only, so the safetensors format (8-byte header length, JSON header, raw
little-endian data; https://huggingface.co/docs/safetensors) is read here without its library.
"""

from __future__ import annotations

import json
import logging
import math
import mmap
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from LiverSegLib.errors import ModelError
from LiverSegLib.models.checksums import verify

if TYPE_CHECKING:
    import torch

    from LiverSegLib.models.package import ModelPackage

log = logging.getLogger(__name__)
_MAX_HEADER = 50_000_000
_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64",
           "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool"}  # fmt: skip


def load_weights(package: ModelPackage, network: torch.nn.Module) -> None:
    """Fill `network` with the package's weights, in place.

    Raises:
        ModelError: no weights, a wrong checksum, code in them, or names and shapes that do not fit.
    """
    safe, plain = package.path / "models" / "model.safetensors", package.path / "models" / "model.pt"
    path = safe if safe.is_file() else plain
    if not path.is_file():
        raise ModelError(f"The package {package.name} holds no weights; expected {safe}.")
    verify(package.path, path)
    state = read_safetensors(path) if path == safe else read_torch(path)
    try:
        _check_fit(state, network, path)
        network.load_state_dict(state, strict=False)
    except (RuntimeError, TypeError, AttributeError) as error:  # sparse, quantised and other odd tensors
        raise ModelError(f"The weights {path} are of a kind that cannot be used ({error}).") from error


def _check_fit(state: dict[str, torch.Tensor], network: torch.nn.Module, path: Path) -> None:
    wanted = network.state_dict()
    # Batch-norm counters are bookkeeping that inference does not need.
    missing = [k for k in wanted if k not in state and not k.endswith("num_batches_tracked")]
    unknown = [k for k in state if k not in wanted]
    shapes = [k for k, v in state.items() if k in wanted and v.shape != wanted[k].shape]
    for what, keys in (("lacks", missing), ("has the unknown", unknown), ("has another shape for", shapes)):
        if keys:
            more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            raise ModelError(
                f"The weights {path} do not fit their network: the file {what} {keys[0]}{more}; get the package again."
            )
    broken = next((k for k, v in state.items() if v.is_floating_point() and not v.isfinite().all()), None)
    if broken:
        raise ModelError(f"The weights {path} hold values that are not finite in {broken}; get the package again.")


def read_torch(path: Path) -> dict[str, torch.Tensor]:
    """A state dict from a `.pt` file through torch's weights-only reader, which runs no code.

    Raises:
        ModelError: torch is too old to be safe, or the file holds anything but tensors and plain data.
    """
    import torch

    release = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    if release < (2, 10):
        raise ModelError(f"torch {torch.__version__} cannot read {path} safely; install torch 2.10 or newer.")
    try:
        data: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path} holds something other than weights (perhaps code) and was not loaded; "
            "ask its author for a safetensors file."
        ) from error
    except Exception as error:  # a damaged or hostile file makes the reader fail in any way
        raise ModelError(f"{path} cannot be read as weights ({type(error).__name__}); get it again.") from error
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(data, dict) and isinstance(data.get(key), dict):
            data = data[key]
    if not isinstance(data, dict) or not all(_is_plain(v) for v in data.values()):
        raise ModelError(f"{path} does not hold a state dict of tensors; export the package again.")
    return data


def _is_plain(value: Any) -> bool:
    """Whether a value is an ordinary tensor of real numbers: not sparse, quantised, complex or without data."""
    import torch

    if not isinstance(value, torch.Tensor) or value.is_complex() or value.is_quantized or value.is_nested:
        return False
    return value.layout == torch.strided and value.device.type == "cpu"


def read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """A state dict from a safetensors file.

    Raises:
        ModelError: the file is damaged or declares impossible sizes.
    """
    import torch

    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            header, start = _header(data)
            found = {}
            taken = 0
            for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
                dtype = getattr(torch, _DTYPES[entry["dtype"]])
                shape = [int(n) for n in entry["shape"]]
                begin, end = (int(n) for n in entry["data_offsets"])
                size = math.prod(shape) * dtype.itemsize
                if min([0, *shape]) < 0 or begin != taken or end - begin != size or start + end > len(data):
                    raise ValueError(f"{name} has impossible sizes")
                raw = bytearray(data[start + begin : start + end])
                block = torch.frombuffer(raw, dtype=dtype) if size else torch.empty(0, dtype=dtype)
                found[name] = block.reshape(shape)
                taken = end
            if start + taken != len(data):
                raise ValueError("it holds bytes that belong to no tensor")
    except (OSError, ArithmeticError, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        raise ModelError(f"{path} is a damaged safetensors file ({error}); get the package again.") from error
    return found


def _header(data: mmap.mmap) -> tuple[dict[str, Any], int]:
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(_MAX_HEADER, len(data) - 8):
        raise ValueError("its header is truncated")
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    return header, 8 + length


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
