"""Plain data (what JSON holds) to dataclasses, with every field checked against its type.

Understood are bool, int, float, str, tuples, dicts, other dataclasses, and unions of these with None. A union of
several kinds takes the first that fits what was given: a list a tuple, an object a dataclass.
"""

from __future__ import annotations

import math
import types
from dataclasses import MISSING, fields, is_dataclass
from functools import lru_cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from LiverSegLib.errors import InputError

T = TypeVar("T")


def from_plain(kind: type[T], data: Any, where: str) -> T:
    """An instance of the dataclass `kind` from a JSON object; lists become tuples.

    Args:
        kind: the dataclass.
        data: what was read.
        where: what errors call it.

    Raises:
        InputError: a field is missing, unknown, of the wrong type, or makes no sense.
    """
    if not isinstance(data, dict):
        raise InputError(f"{where} should be an object, not {shortened(data)}.")
    hints = _hints(kind)  # type: ignore[arg-type]
    for key in data:
        if key not in hints:
            raise InputError(f"{where} has the unknown field {shortened(key)}.")
    values = {}
    for item in fields(kind):  # type: ignore[arg-type]
        if item.name in data:
            values[item.name] = _value(hints[item.name], data[item.name], f"{where}.{item.name}")
        elif item.default is MISSING and item.default_factory is MISSING:
            raise InputError(f"{where} lacks the field {item.name!r}.")
    return kind(**values)


def shortened(value: Any) -> str:
    """What was given, as errors show it."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


_hints = lru_cache(get_type_hints)  # worked out once: a result may hold thousands of lesions


def _value(hint: Any, value: Any, where: str) -> Any:
    """`value` if it is of the type `hint`; lists become tuples."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        kinds = [kind for kind in args if kind is not type(None)]
        return _value(next((kind for kind in kinds if _fits(kind, value)), kinds[0]), value, where)
    if origin is tuple and isinstance(value, list | tuple):
        kinds = [args[0]] * len(value) if args[-1] is Ellipsis else list(args)
        if len(kinds) != len(value):
            raise InputError(f"{where} should have {len(kinds)} items, not {len(value)}.")
        return tuple(_value(k, v, f"{where}[{n}]") for n, (k, v) in enumerate(zip(kinds, value, strict=True)))
    if origin is dict and isinstance(value, dict):
        return {key: _value(args[1], v, f"{where}[{shortened(key)}]") for key, v in value.items()}
    if is_dataclass(hint) and isinstance(hint, type):
        return from_plain(hint, value, where)
    return _scalar(hint, value, where)


def _fits(kind: Any, value: Any) -> bool:
    """Whether an object or a list can be of one of the kinds of a union."""
    if isinstance(value, dict):
        return is_dataclass(kind) or get_origin(kind) is dict
    return isinstance(value, list | tuple) and get_origin(kind) is tuple


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
    raise InputError(f"{where} should be of type {name}, not {shortened(value)}.")
