"""Text from outside - names of files, labels and models - made safe to show and to put into tables."""

from __future__ import annotations

import unicodedata

# What spreadsheets take for the start of a formula (OWASP, "CSV Injection").
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def printable(text: str) -> str:
    """`text` on one line and with nothing in it that a terminal obeys.

    Control characters, escape sequences, marks that change the direction of writing and bytes that are no text are
    shown as Python writes them: "\\x1b", "\\n", "\\u202e". Everything that is a letter, sign or space stays.
    """
    return text if text.isprintable() else "".join(map(_shown, text))


def _shown(character: str) -> str:
    if character.isprintable() or unicodedata.category(character) == "Zs":
        return character
    # A byte of a file name that is not UTF-8 comes as a surrogate of this range.
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def csv_text(text: str) -> str:
    """`text` as a cell of a table: on one line, and with an apostrophe before what spreadsheets take for a formula.

    For names only; numbers stay numbers, also negative ones.
    """
    return f"'{printable(text)}" if text.startswith(_FORMULA) else printable(text)
