"""The pickle of a state dict, read as data: nothing is imported, called or built, and nothing is larger than the file.

A pickle is a program. torch's own reader runs it with a list of functions that may be called, some of which ask for
as much memory as the file says. Here the few steps that describe tensors are followed and every other one is refused.
"""

from __future__ import annotations

import io
import pickletools
import re
from dataclasses import dataclass
from typing import Any

_MAX_STEPS = 10_000_000
"""A checkpoint that logs each of a hundred labels over 4000 epochs has seven million; they take some seconds."""
# Opcodes that put their own argument on the stack: numbers, texts and bytes. Those of protocol 0 alone are left
# out below: torch cannot write a storage with it.
_VALUES = re.compile("(BIN)?INT[12]?|LONG[14]?|(BIN)?FLOAT|(SHORT_)?(BIN)?(UNICODE|STRING|BYTES)8?")
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
_TABLES = {"collections.OrderedDict", "collections.Counter"}
_TENSOR, _PARAMETER, _SIZE = "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter", "torch.Size"
# What checkpoints hold beside weights: numbers of NumPy (in their log), devices, and bytes as protocol 2 writes them.
_SCALARS = {"numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"}
_UNREAD = {*_SCALARS, "numpy.dtype", "torch.device", "_codecs.encode"}
_DTYPES = {f"torch.{name}" for pair in STORAGES.items() for name in pair}
_KNOWN = {*_TABLES, _TENSOR, _PARAMETER, _SIZE, *_DTYPES, *_UNREAD}


class NotDataError(ValueError):
    """The pickle wants to do more than describe tensors and plain values."""


@dataclass(frozen=True)
class Name:
    """A function or class that the pickle names; it stays a name."""

    text: str


@dataclass(frozen=True)
class Unread:
    """A value of a kind that is known to be harmless and that nobody needs; only its kind is kept."""

    kind: str


@dataclass(frozen=True)
class Storage:
    """A block of `count` numbers of a torch type, kept elsewhere under `key`."""

    dtype: str
    key: str
    count: int


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as a part of a storage; offset and stride in numbers."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def read_pickle(file: io.BytesIO) -> Any:
    """Follow one pickle from where `file` stands to its end, and leave the file behind it.

    Returns:
        Numbers, texts, lists, tuples, dictionaries, `StoredTensor`s and what is left `Unread`.

    Raises:
        NotDataError: it holds anything else.
        ValueError, IndexError, KeyError, TypeError: it is damaged.
    """
    machine = _Machine()
    for step, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if step > _MAX_STEPS:
            raise ValueError("it describes too many things")
        if opcode.name == "STOP":
            return machine.stack.pop()
        machine.do(opcode.name, argument)
    raise ValueError("it ends too early")


class _Machine:
    """The stack and the memory of a pickle."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self._outer: list[list[Any]] = []
        self._memory: dict[int, Any] = {}

    def do(self, name: str, argument: Any) -> None:
        """One step."""
        if _VALUES.fullmatch(name):
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in ("EMPTY_DICT", "EMPTY_LIST"):
            self.stack.append({} if name == "EMPTY_DICT" else [])
        elif name in ("BINPUT", "LONG_BINPUT"):
            self._memory[argument] = self.stack[-1]
        elif name == "MEMOIZE":
            self._memory[len(self._memory)] = self.stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            self.stack.append(self._memory[argument])
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            self._name(name, argument)
        elif name == "REDUCE":
            arguments = self.stack.pop()
            self.stack.append(_called(self.stack.pop(), arguments))
        elif name == "BINPERSID":
            self.stack.append(_storage(self.stack.pop()))
        elif name not in ("PROTO", "FRAME"):
            self._gather(name)

    def _name(self, name: str, argument: Any) -> None:
        if name == "STACK_GLOBAL":
            last = self.stack.pop()
            argument = f"{self.stack.pop()} {last}"
        found = str(argument).replace(" ", ".")
        if found not in _KNOWN:
            raise NotDataError(found)
        self.stack.append(Name(found))

    def _gather(self, name: str) -> None:
        """Steps that put values together."""
        if name == "MARK":
            self._outer.append(self.stack)
            self.stack = []
        elif name in _TUPLES:
            values = [self.stack.pop() for _ in range(_TUPLES[name])]
            self.stack.append(tuple(reversed(values)))
        elif name == "TUPLE":
            values = self._marked()  # first: it puts another stack in place
            self.stack.append(tuple(values))
        elif name in ("APPEND", "APPENDS"):
            values = self._marked() if name == "APPENDS" else [self.stack.pop()]
            _of(list, self.stack[-1]).extend(values)
        elif name in ("SETITEM", "SETITEMS"):
            values = self._marked() if name == "SETITEMS" else [self.stack.pop(), self.stack.pop()][::-1]
            _of(dict, self.stack[-1]).update(_table(values))
        elif name == "BUILD":  # attributes of a dictionary of tensors (its _metadata) or of a dtype; nobody needs them
            self.stack.pop()
            if not isinstance(self.stack[-1], Unread):
                _of(dict, self.stack[-1])
        else:
            raise NotDataError(name)

    def _marked(self) -> list[Any]:
        values, self.stack = self.stack, self._outer.pop()
        return values


def _of(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise NotDataError(type(value).__name__)
    return value


def _table(values: list[Any]) -> dict[Any, Any]:
    """A dictionary of keys and values in turn. Keys of other kinds could be nested endlessly."""
    keys = values[::2]
    if len(values) % 2 or not all(isinstance(key, str | int) for key in keys):
        raise ValueError("a dictionary has keys that are no texts")
    return dict(zip(keys, values[1::2], strict=True))


def _called(function: Any, arguments: Any) -> Any:
    """What a call stands for; it is not made."""
    name = _of(Name, function).text
    if name in _TABLES and not arguments:
        return {}
    if name in _TABLES and len(arguments) == 1:
        pairs = arguments[0].items() if isinstance(arguments[0], dict) else arguments[0]
        return _table([part for key, value in pairs for part in (key, value)])
    if name in _UNREAD:
        _of(tuple, arguments)
        return Unread(name)
    if name == _TENSOR:
        storage, offset, shape, stride = arguments[:4]
        return StoredTensor(_of(Storage, storage), _count(offset), _counts(shape), _counts(stride))
    if name == _PARAMETER:
        return _of(StoredTensor, arguments[0])
    if name == _SIZE:
        return _counts(arguments[0])
    raise NotDataError(name)


def _storage(identity: Any) -> Storage:
    if type(identity) is not tuple or len(identity) not in (5, 6) or identity[0] not in ("storage", b"storage"):
        raise NotDataError("persistent id")
    kind = _of(Name, identity[1]).text.rpartition(".")[2]
    if kind not in STORAGES or (len(identity) == 6 and identity[5] is not None):
        raise NotDataError(kind)
    return Storage(STORAGES[kind], _of(str, identity[2]), _count(identity[4]))


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**48:
        raise ValueError("a size is impossible")
    return value


def _counts(values: Any) -> tuple[int, ...]:
    if not isinstance(values, tuple) or len(values) > 16:
        raise ValueError("a shape is impossible")
    return tuple(_count(value) for value in values)
