"""What the documents tell a reader to type: commands, blocks of Python, and `>>>` examples."""

from __future__ import annotations

import doctest
import importlib
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = ("liverseg", "python", "pip", "make", "torchrun", "srun")
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r"`((?:liverseg|make|python -m) [^`]+)`")
_COMMENT = re.compile(r"^ *#  +((?:liverseg|python -m) .*)$", re.MULTILINE)


@dataclass(frozen=True)
class Command:
    """A command as it is written.

    Args:
        document: path of the document, relative to the repository.
        words: the command, word by word, without its comment.
        is_mention: it stands in a sentence, where arguments may be missing.
    """

    document: str
    words: tuple[str, ...]
    is_mention: bool = False

    def __str__(self) -> str:
        return f"{self.document}: {' '.join(self.words)}"


def documents() -> list[str]:
    """Every text that shows commands: the pages, the cards of packages, and the recipes with their comments."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *ROOT.glob("*/**/packages/*/docs/*.md")]
    recipes = (ROOT / "Training" / "configs").glob("*.yaml")
    found = [path.relative_to(ROOT).as_posix() for path in [*pages, *recipes]]
    return sorted(name for name in found if name != "CHANGELOG.md")  # that tells what was once


def blocks(document: str, language: str) -> list[str]:
    """The fenced blocks of a document in a language, for example "sh" or "python"."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return [body for kind, body in _FENCE.findall(text) if kind == language]


def commands(document: str) -> list[Command]:
    """The commands of a document in their order; first those of its blocks, then those in its sentences."""
    text = (ROOT / document).read_text(encoding="utf-8")
    if document.endswith(".yaml"):
        return [Command(document, tuple(shlex.split(line))) for line in _COMMENT.findall(text)]
    shown = [Command(document, words) for block in blocks(document, "sh") for words in lines(block)]
    sentences = " ".join(_FENCE.sub("", text).split())
    return shown + [Command(document, tuple(shlex.split(line)), True) for line in _INLINE.findall(sentences)]


def lines(block: str) -> list[tuple[str, ...]]:
    """The commands of a block of shell, word by word; a `for` loop is written out."""
    found: list[tuple[str, ...]] = []
    loop: tuple[str, list[str]] | None = None
    for line in block.replace("\\\n", " ").splitlines():
        head = re.match(r"for (\w+) in (.*); do$", line)
        if head is not None:
            loop = head[1], head[2].split()
        elif line == "done":
            loop = None
        else:
            found += _written_out(line, loop)
    return found


def _written_out(line: str, loop: tuple[str, list[str]] | None) -> Iterator[tuple[str, ...]]:
    name, values = loop or ("", [""])
    for value in values:
        words = shlex.split(line.replace(f"${name}", value) if name else line, comments=True)
        if words:
            yield tuple(words)


def examples() -> dict[str, list[doctest.DocTest]]:
    """The `>>>` examples of every module that has some, by the module's name."""
    files = [path for house in ("LiverSegLib", "Training") for path in (ROOT / house).rglob("*.py")]
    found = {}
    for path in sorted(files):
        if ">>> " in path.read_text(encoding="utf-8"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            tests = doctest.DocTestFinder().find(importlib.import_module(name), name)
            found[name] = [test for test in tests if test.examples]
    return found
