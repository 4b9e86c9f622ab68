"""One line of JSON a message: `encode`, `decode`, and the cutting of a byte stream into lines.

Reading checks everything against the types of the dataclasses in `messages`, so that neither end meets a
surprise later. Floats are written with all their digits, so that numbers survive bit for bit.
"""

from __future__ import annotations

import json
import math
import types
from dataclasses import MISSING, asdict, fields, is_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

from LiverSegLib.errors import InputError
from LiverSegLib.worker import messages
from LiverSegLib.worker.errors import ProtocolError
from LiverSegLib.worker.messages import PROTOCOL, Hello, Message, Open

MAX_LINE = 16 * 1024 * 1024
"""Longest line in bytes; a result with tens of thousands of lesions stays below."""

_BY_NAME: dict[str, type[Any]] = {
    "open": messages.Open,
    "hello": messages.Hello,
    "list_devices": messages.ListDevices,
    "devices": messages.Devices,
    "load": messages.Load,
    "loaded": messages.Loaded,
    "segment": messages.Segment,
    "progress": messages.Report,
    "result": messages.Done,
    "cancel": messages.Cancel,
    "cancelled": messages.Cancelled,
    "error": messages.Failure,
    "released": messages.Released,
    "bye": messages.Bye,
}
_NAMES = {kind: name for name, kind in _BY_NAME.items()}


def encode(message: Message) -> bytes:
    """The message as one line with its newline.

    Raises:
        ProtocolError: it holds what JSON cannot (NaN, infinity) or is longer than `MAX_LINE`.
    """
    name = _NAMES[type(message)]
    try:
        text = json.dumps({"type": name, **asdict(message)}, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise ProtocolError(f"The message {name} cannot be sent: {error}.") from error
    line = text.encode("ascii") + b"\n"
    if len(line) > MAX_LINE:
        raise ProtocolError(f"The message {name} is {len(line)} bytes long; at most {MAX_LINE} can be sent.")
    return line


def decode(line: bytes) -> Message:
    """The message of one line, with or without its newline.

    Raises:
        ProtocolError: it is too long, no JSON object, of an unknown type, lacks a field, or has one that is
            unknown or of the wrong type.
    """
    if len(line) > MAX_LINE:
        raise ProtocolError(f"A line is {len(line)} bytes long; at most {MAX_LINE} are read.")
    try:
        data = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"The line {_short(line)} is not JSON.") from error
    if not isinstance(data, dict):
        raise ProtocolError(f"The line {_short(line)} is not a message: it holds no JSON object.")
    name = data.pop("type", None)
    kind = _BY_NAME.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ProtocolError(f"The message type {_short(name)} is unknown.")
    found: Message = _build(kind, data, str(name))
    return found


def check_protocol(message: Hello | Open) -> None:
    """Refuse a partner of another version.

    Raises:
        ProtocolError: the versions differ.
    """
    if message.protocol != PROTOCOL:
        raise ProtocolError(
            f"The worker and its client are of different LiverSeg versions (protocol {message.protocol} and "
            f"{PROTOCOL}); restart the application, or install LiverSeg again."
        )


class LineBuffer:
    """Cuts a stream of bytes into lines of at most `MAX_LINE`; a longer one is dropped and told of."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._parts = bytearray()
        self._dropping = False

    def feed(self, data: bytes) -> list[bytes | None]:
        """The lines that `data` completes, without newlines; None stands for one that was too long."""
        lines: list[bytes | None] = []
        *ends, rest = data.split(b"\n")
        for end in ends:
            whole = bytes(self._parts) + end
            lines.append(None if self._dropping or len(whole) > self._limit else whole)
            self._parts.clear()
            self._dropping = False
        self._parts += rest
        if len(self._parts) > self._limit:
            self._parts.clear()
            self._dropping = True
        return lines


_found_hints: dict[type[Any], dict[str, Any]] = {}


def _hints(kind: type[Any]) -> dict[str, Any]:
    """Types of a dataclass's fields, worked out once: a result may hold thousands of lesions."""
    if kind not in _found_hints:
        _found_hints[kind] = get_type_hints(kind)
    return _found_hints[kind]


def _build(kind: type[Any], data: Any, where: str) -> Any:
    """An instance of the dataclass `kind` from a JSON object."""
    if not isinstance(data, dict):
        raise ProtocolError(f"{where} should be an object, not {_short(data)}.")
    hints = _hints(kind)
    for key in data:
        if key not in hints:
            raise ProtocolError(f"{where} has the unknown field {_short(key)}.")
    values = {}
    for item in fields(kind):
        if item.name in data:
            values[item.name] = _value(hints[item.name], data[item.name], f"{where}.{item.name}")
        elif item.default is MISSING and item.default_factory is MISSING:
            raise ProtocolError(f"{where} lacks the field {item.name!r}.")
    try:
        return kind(**values)
    except InputError as error:  # a value of the right type that makes no sense
        raise ProtocolError(str(error)) from error


def _value(hint: Any, value: Any, where: str) -> Any:
    """`value` if it is of the type `hint`; lists become tuples."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return _value(next(a for a in args if a is not type(None)), value, where)
    if origin is tuple and isinstance(value, list):
        kinds = [args[0]] * len(value) if args[-1] is Ellipsis else list(args)
        if len(kinds) != len(value):
            raise ProtocolError(f"{where} should have {len(kinds)} items, not {len(value)}.")
        return tuple(_value(k, v, f"{where}[{n}]") for n, (k, v) in enumerate(zip(kinds, value, strict=True)))
    if origin is dict and isinstance(value, dict):
        return {key: _value(args[1], v, f"{where}[{_short(key)}]") for key, v in value.items()}
    if is_dataclass(hint) and isinstance(hint, type):
        return _build(hint, value, where)
    return _scalar(hint, value, where)


def _scalar(hint: Any, value: Any, where: str) -> Any:
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    # bool is an int to Python, not to us
    if hint in (bool, int, str) and type(value) is hint:
        return value
    name = getattr(hint, "__name__", str(hint)) if get_origin(hint) is None else "list or object"
    raise ProtocolError(f"{where} should be of type {name}, not {_short(value)}.")


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
