"""Markdown as reports are written: tables and lists. Pages and model cards are made of the same text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[object]], text_columns: int = 1) -> str:
    """A table; the first `text_columns` columns hold text, the others numbers, which stand at the right."""
    rule = ["---" if column < text_columns else "---:" for column in range(len(header))]
    return "\n".join(f"| {' | '.join(map(_cell, cells))} |" for cells in (header, rule, *rows))


def _cell(content: object) -> str:
    return " ".join(str(content).split()).replace("|", "\\|")


def bullets(texts: Iterable[str]) -> str:
    """A list."""
    return "\n".join(f"- {' '.join(text.split())}" for text in texts)
