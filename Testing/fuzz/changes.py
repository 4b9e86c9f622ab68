"""Damage to what models are made of: values of configurations, and bytes."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

Chance = random.Random
NUMBERS: list[Any] = [
    0,
    1,
    -1,
    2,
    3,
    7,
    16,
    64,
    255,
    1024,
    4096,
    2**31,
    2**63,
    -(2**63),
    10**400,
    0.5,
    1e-9,
    1e-320,
    1e30,
    1e308,
    -1e308,
    float("nan"),
    float("inf"),
    -float("inf"),
    0.999999,
    True,
    False,
]
TEXTS: list[Any] = [
    "",
    "x",
    "\x1b[31mred",
    "\x1b]0;title\x07",
    "\ud800",
    "\u202eevil",
    "[link=http://x]y[/link]",
    "[/x]",
    "=cmd|x",
    "\0",
    "true",
    "a" * 5000,
    "323",
    "@network_def",
    "@a#b",
    "@",
    "$1",
    "$1 if @yes else 2",
    "$__import__('os').getcwd()",
    "../../x",
    "/dev/zero",
    "é",
    "line\nline",
    "monai.networks.nets.UNet",
    "batch",
    "group",
    "syncbatch",
    "layer",
    "gelu",
]


def odd(chance: Chance, old: Any) -> Any:
    """Another value in the place of one."""
    if isinstance(old, int | float) and not isinstance(old, bool) and chance.random() < 0.3:
        return chance.choice([-old, old * 2, old * 1000, old / 3, old + 1, old - 1, [old], str(old)])
    nested: Any = chance.choice(NUMBERS)
    for _ in range(chance.choice([1, 3, 40, 400])):
        nested = [nested] if chance.random() < 0.5 else {"a": nested}
    listed = [chance.choice(NUMBERS) for _ in range(chance.choice([0, 1, 2, 3, 3, 4, 40]))]
    same = [chance.choice(NUMBERS)] * chance.choice([2, 3, 5])
    return chance.choice(
        [chance.choice(NUMBERS), chance.choice(NUMBERS), chance.choice(TEXTS), None, [], {}, listed, same, nested]
    )


def mutate(chance: Chance, data: Any) -> None:
    """Change one thing somewhere below `data`."""
    places = []
    left = [data]
    while left:
        value = left.pop()
        if isinstance(value, dict | list):
            keys = list(value) if isinstance(value, dict) else list(range(len(value)))
            places += [(value, key) for key in keys]
            left += [value[key] for key in keys]
    if not places:
        return
    holder, key = chance.choice(places)
    how = chance.random()
    if how < 0.12:
        del holder[key]
    elif how < 0.2 and isinstance(holder, list):
        holder.insert(key, holder[key])
    elif how < 0.25 and isinstance(holder, list):
        holder *= chance.choice([2, 10, 300])
    elif how < 0.3 and isinstance(holder, dict):
        holder[str(chance.choice(TEXTS))] = holder.pop(key)
    else:
        holder[key] = odd(chance, holder[key])


def damaged(chance: Chance, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice([1, 1, 3, 20])):
        changed[chance.randrange(chance.choice([64, 2000, len(data)])) % len(data)] = chance.randrange(256)
    return bytes(changed)


def spoiled_text(chance: Chance, text: bytes, longer: Callable[[bytes], bytes], pieces: Sequence[Any]) -> bytes:
    """The bytes of a configuration damaged, cut off, made longer, or with one of `pieces` somewhere inside."""
    how = chance.randrange(4)
    if how == 0:
        return damaged(chance, text)
    if how == 1:
        return text[: chance.randrange(len(text))]
    if how == 2:
        return longer(text)
    at = chance.randrange(len(text))
    piece = chance.choice(pieces)
    return text[:at] + (piece if isinstance(piece, bytes) else str(piece).encode("utf-8", "surrogatepass")) + text[at:]
