"""All that the command line shows; nothing in it is read as markup.

A reader that ends early (`| head -1`) does not stop the work; any other failure of the screen is reported at the end.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import TextIO

from rich.console import Console
from rich.text import Text

from LiverSegLib.printable import printable


def console() -> Console:
    """Where tables and progress go."""
    return Console(markup=False, emoji=False, highlight=False)


def plain(text: str, style: str = "") -> Text:
    """Text from outside as rich shows it: one line, no markup, no control characters."""
    return Text(printable(text), style=style)


def show_error(error: Exception | str) -> None:
    """One sentence on stderr."""
    _show("Error:", "red", str(error), Console(stderr=True, markup=False, emoji=False, highlight=False))


def show_note(sentence: str) -> None:
    """A sentence that the user should read, beside the results."""
    _show("Note:", "yellow", sentence, console())


def _show(word: str, style: str, sentence: str, where: Console) -> None:
    where.print(Text.assemble((word, style), " ", printable(sentence)), soft_wrap=True)


class SafeStream(io.TextIOBase):
    """A text stream that never fails: what it cannot encode is shown as an escape, what it cannot write is lost.

    Args:
        stream: stdout or stderr; its file descriptor leads nowhere after the first failure, so that nothing that
            was left in its buffer fails again when Python ends.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self.failure: OSError | None = None
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        """Write what can be written; always "all"."""
        try:
            return self._stream.write(text)
        except OSError as error:
            return self._fail(error, len(text))

    def flush(self) -> None:
        """Send what was written on its way."""
        try:
            self._stream.flush()
        except OSError as error:
            self._fail(error, 0)

    def _fail(self, error: OSError, count: int) -> int:
        self.failure = self.failure or error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
        return count

    def isatty(self) -> bool:
        """Whether a person may be looking."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """The stream's own file descriptor."""
        return self._stream.fileno()

    def writable(self) -> bool:
        """Always."""
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The stream's own; rich draws its boxes with it."""
        return self._stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        """The stream's own."""
        return self._stream.errors


def make_safe() -> None:
    """Put a `SafeStream` in the place of stdout and of stderr, where there is one."""
    sys.stdout = sys.stdout and SafeStream(sys.stdout)
    sys.stderr = sys.stderr and SafeStream(sys.stderr)


def failure() -> OSError | None:
    """Why stdout could not be written to, unless its reader had seen enough."""
    found = getattr(sys.stdout, "failure", None)
    return found if isinstance(found, OSError) and found.errno != errno.EPIPE else None
