"""Arguments of a package's steps as plain checked values; a ValueError says what is wrong with one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from LiverSegLib.models.text import shown

Arguments = Mapping[str, Any]
"""What a step of a package says, by MONAI's names; expressions and references are resolved before."""


def number(value: Any, key: str, low: float, high: float) -> float:
    """A number from `low` to `high`: no text, no true or false."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{key} {shown(value)} is impossible, a number from {low:g} to {high:g} is needed")
    return float(value)


def whole(value: Any, key: str, low: int, high: int) -> int:
    """A whole number from `low` to `high`."""
    found = number(value, key, low, high)
    if found != int(found):
        raise ValueError(f"{key} {shown(value)} is not a whole number")
    return int(found)


def flag(arguments: Arguments, key: str) -> bool:
    """true or false; false where it is missing."""
    value = arguments.get(key, False)
    if value is None or isinstance(value, bool) or value in (0, 1):
        return bool(value)
    raise ValueError(f"{key} {shown(value)} is neither true nor false")


def one_of(arguments: Arguments, key: str, known: tuple[str, ...]) -> str:
    """The argument `key`, one of `known`, of which the first is MONAI's default."""
    value = str(arguments.get(key, known[0])).lower()
    if value not in known:
        raise ValueError(f"{key} {shown(value)} is none of {', '.join(known)}")
    return value


def three(arguments: Arguments, key: str) -> list[Any]:
    """One value for each axis, of a list or of one value for all."""
    value = arguments[key]
    if isinstance(value, list) and len(value) != 3:
        raise ValueError(f"{key} {shown(value)} is not three sizes, one for each axis")
    return value if isinstance(value, list) else [value] * 3
