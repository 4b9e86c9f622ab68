"""One line of JSON a message: `encode`, `decode`, and the cutting of a byte stream into lines.

Reading checks everything against the types of the dataclasses in `messages`, so that neither end meets a
surprise later. Floats are written with all their digits, so that numbers survive bit for bit.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import get_args

from LiverSegLib.errors import InputError, ProtocolError
from LiverSegLib.plain_data import from_plain, shortened
from LiverSegLib.worker.messages import PROTOCOL, Hello, Message, Open

MAX_LINE = 16 * 1024 * 1024
"""Longest line in bytes; a result with tens of thousands of lesions stays below."""

_MESSAGES: dict[str, type[Message]] = {kind.__name__: kind for kind in get_args(Message)}


def encode(message: Message) -> bytes:
    """The message as one line with its newline.

    Raises:
        ProtocolError: it holds what JSON cannot (NaN, infinity) or is longer than `MAX_LINE`.
    """
    name = type(message).__name__
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
        ProtocolError: it is no JSON object, of an unknown type, lacks a field, or has one that is
            unknown or of the wrong type.
    """
    try:
        data = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"The line {shortened(line)} is not JSON.") from error
    if not isinstance(data, dict):
        raise ProtocolError(f"The line {shortened(line)} is not a message: it holds no JSON object.")
    name = data.pop("type", None)
    kind = _MESSAGES.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ProtocolError(f"The message type {shortened(name)} is unknown.")
    try:
        return from_plain(kind, data, kind.__name__)
    except InputError as error:
        raise ProtocolError(str(error)) from error


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
