"""Text from packages: what is shown to people later holds nothing but plain characters."""

from __future__ import annotations

import unicodedata
from typing import Any

_ALLOWED_CONTROLS = "\t\n\r"
# Not to be seen, but able to turn what follows around on the screen.
_DIRECTIONS = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def is_plain(text: str) -> bool:
    """Whether a text has no control characters but tabs and line ends, no half characters, no turns of direction."""
    if text.isprintable() and text.isascii():
        return True
    return not any(
        (unicodedata.category(c) in ("Cc", "Cs", "Cn") and c not in _ALLOWED_CONTROLS) or c in _DIRECTIONS for c in text
    )


def find_odd_text(data: Any) -> str | None:
    """The first text, be it key or value, in parsed JSON that is not plain."""
    left = [data]
    while left:
        value = left.pop()
        if isinstance(value, str) and not is_plain(value):
            return value
        if isinstance(value, dict):
            left += [*value.values(), *value.keys()]
        elif isinstance(value, list):
            left += value
    return None


def is_name(text: Any, longest: int) -> bool:
    """Whether a value is one line of at most `longest` visible characters that begins with a letter or a digit.

    What begins otherwise may be read as a formula by a spreadsheet, or as markup.
    """
    return isinstance(text, str) and 0 < len(text) <= longest and text.isprintable() and text[0].isalnum()


def one_line(text: Any, longest: int = 2000) -> str:
    """Any value as one line of bounded length; what cannot be printed is left out."""
    line = "".join(c if c.isprintable() else " " for c in str(text)[: 4 * longest])
    line = " ".join(line.split())
    return line if len(line) <= longest else line[: longest - 3] + "..."


def shown(value: Any, longest: int = 60) -> str:
    """A value as Python writes it, cut to a bounded length, for a sentence."""
    return one_line(repr(value), longest)
