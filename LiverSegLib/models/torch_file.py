"""Weights in torch's own formats, the zip of today and the older one, read without torch's unpickler."""

from __future__ import annotations

import io
import math
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from LiverSegLib.errors import ModelError
from LiverSegLib.models.pickle_data import NotDataError, Storage, StoredTensor, read_pickle
from LiverSegLib.models.safetensors_file import Check
from LiverSegLib.models.text import one_line

if TYPE_CHECKING:
    import torch

_MAX_PICKLE = 64_000_000
_MAX_RECORDS = 50_000
NNUNET_WEIGHTS = "network_weights"
_MAGIC = 0x1950A86A20F9469CFC6C
_NAMES = ("state_dict", "model", "model_state_dict", NNUNET_WEIGHTS)
"""Where checkpoints keep the state dict."""
_TWIN = re.compile(r"decoder\.encoder\.|.*\.all_modules\.")
"""nnU-Net lists most of its tensors two or three times, by all the ways that lead to them."""


def read_torch(file: BinaryIO, path: Path, check: Check | None = None) -> dict[str, torch.Tensor]:
    """The tensors of an open `.pt` file, which errors call `path`.

    Raises:
        ModelError: the file is damaged, holds anything but tensors and plain data, or `check` refuses it.
    """
    with _plain_refusals(path):
        source = _source(file)
        tensors = _state_dict(source.content, path)
        for tensor in tensors.values():
            _check_place(tensor, source.sizes)
        if check:
            check({name: tensor.shape for name, tensor in tensors.items()})
        return _tensors(tensors, source)


def read_values(file: BinaryIO, path: Path) -> dict[str, Any]:
    """The plain values (numbers, texts, lists, dictionaries) beside the tensors of an open checkpoint, by name.

    Raises:
        ModelError: as `read_torch`, or it holds no names at all.
    """
    with _plain_refusals(path):
        content = _source(file).content
        if not isinstance(content, dict):
            raise ValueError("it holds no names")
        return content


def _source(file: BinaryIO) -> _Zip | _Old:
    is_zip = file.read(4) == b"PK\x03\x04"
    file.seek(0)
    return _Zip(file) if is_zip else _Old(file)


@contextmanager
def _plain_refusals(path: Path) -> Iterator[None]:
    """What is wrong with a file becomes one sentence."""
    try:
        yield
    except NotDataError as error:
        raise ModelError(
            f"{path} holds something other than weights (perhaps code) and was not loaded: "
            f"{one_line(error, 100)} is nothing that is read; ask its author for a safetensors file."
        ) from error
    except ModelError:
        raise
    except Exception as error:  # a damaged or hostile file makes zipfile and pickletools fail in any way
        why = one_line(error, 100) or type(error).__name__
        raise ModelError(f"{path} cannot be read as weights ({why}); get it again.") from error


class _Zip:
    """What torch.save writes: a pickle and one record a storage, in a zip that compresses nothing.

    Attributes:
        content: what the pickle says.
        sizes: bytes of each storage by its key.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._archive = zipfile.ZipFile(file)
        infos = self._archive.infolist()
        end = file.seek(0, 2)
        # Compressed records or ones that share their bytes would unpack to more than the file holds.
        if any(i.compress_type != zipfile.ZIP_STORED for i in infos) or sum(i.file_size for i in infos) > end:
            raise ValueError("it would unpack to more than its size")
        found = {info.filename: info.file_size for info in infos}
        tops = [name.removesuffix("data.pkl") for name in found if re.fullmatch(r"([^/]+/)?data\.pkl", name)]
        if len(infos) > _MAX_RECORDS or len(tops) != 1:
            raise ValueError("it holds no state dict")
        (self._top,) = tops
        if f"{self._top}constants.pkl" in found:
            raise ValueError("it holds a TorchScript program instead of weights")
        if found.get(f"{self._top}byteorder") == 3:  # "big"; "little" is longer
            raise ValueError("its numbers are in another byte order")
        if found[f"{self._top}data.pkl"] > _MAX_PICKLE:
            raise ValueError("its list of tensors is too long")
        self.content = read_pickle(io.BytesIO(self._archive.read(f"{self._top}data.pkl")))
        start = f"{self._top}data/"
        self.sizes = {name.removeprefix(start): size for name, size in found.items() if name.startswith(start)}

    def read(self, storage: Storage) -> bytearray:
        return bytearray(self._archive.read(f"{self._top}data/{storage.key}"))


class _Old:
    """The format before torch 1.6: five pickles and then the storages, each after its count of numbers."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        head = io.BytesIO(file.read(_MAX_PICKLE))
        magic, version = read_pickle(head), read_pickle(head)
        if magic != _MAGIC or version != 1001:
            raise ValueError("it is no file of torch")
        system = read_pickle(head)
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise ValueError("its numbers are in another byte order")
        self.content = read_pickle(head)
        keys = read_pickle(head)
        self.sizes: dict[str, int] = {}
        self._places: dict[str, int] = {}
        kinds = _storages(self.content)
        at, end = head.tell(), file.seek(0, 2)
        for key in keys if isinstance(keys, list) else []:
            storage = kinds[key]
            file.seek(at)
            count = int.from_bytes(file.read(8), "little")
            size = storage.count * _item_size(storage)
            if count != storage.count or at + 8 + size > end or key in self._places:
                raise ValueError("a block of numbers has an impossible size")
            self.sizes[key], self._places[key] = size, at + 8
            at += 8 + size

    def read(self, storage: Storage) -> bytearray:
        self._file.seek(self._places[storage.key])
        return bytearray(self._file.read(self.sizes[storage.key]))


def _storages(content: Any) -> dict[str, Storage]:
    """Every storage of all tensors within nested dictionaries and lists, by key."""
    found: dict[str, Storage] = {}
    seen: set[int] = set()
    left = [content]
    while left:
        value = left.pop()
        if isinstance(value, StoredTensor):
            found[value.storage.key] = value.storage
        elif isinstance(value, dict | list | tuple) and id(value) not in seen:
            seen.add(id(value))
            left += value.values() if isinstance(value, dict) else value
    return found


def _state_dict(content: Any, path: Path) -> dict[str, StoredTensor]:
    for key in _NAMES:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            if key == NNUNET_WEIGHTS:
                content = {name: tensor for name, tensor in content.items() if not _TWIN.match(str(name))}
    if not isinstance(content, dict) or not all(isinstance(value, StoredTensor) for value in content.values()):
        raise ModelError(f"{path} does not hold a state dict of tensors; export the package again.")
    return content


def _item_size(storage: Storage) -> int:
    import torch

    return int(getattr(torch, storage.dtype).itemsize)


def _check_place(tensor: StoredTensor, sizes: dict[str, int]) -> None:
    """Refuse a tensor that reaches beyond its storage, or a storage that is not as large as it says."""
    storage = tensor.storage
    count = math.prod(tensor.shape)
    last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride, strict=True))
    if sizes[storage.key] != storage.count * _item_size(storage) or count > storage.count:
        raise ValueError("a block of numbers has an impossible size")
    if count and last >= storage.count:
        raise ValueError("a tensor reaches beyond its block of numbers")


def _tensors(tensors: dict[str, StoredTensor], source: _Zip | _Old) -> dict[str, torch.Tensor]:
    import torch

    blocks: dict[str, torch.Tensor] = {}
    found = {}
    for name, tensor in tensors.items():
        storage = tensor.storage
        dtype = getattr(torch, storage.dtype)
        if storage.key not in blocks:
            raw = source.read(storage)
            blocks[storage.key] = torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)
        block = blocks[storage.key]
        if block.dtype != dtype:
            raise ValueError("a block of numbers is of two types")
        found[name] = block.as_strided(tensor.shape, tensor.stride, tensor.offset)
    return found
