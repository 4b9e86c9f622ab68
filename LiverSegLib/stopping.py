"""Ctrl-C and SIGTERM: one line, within a second, nothing half written.

A signal raises `Stopped` in the main thread, which unwinds and cleans up as from any exception. Where that takes too
long, because a library computes or is being loaded, a thread that waits for nothing else ends the process. It removes
the temporary files first, and lets a set of files that is being put in place come to its end (`shielded`).

Only a program installs this (`run`); in Slicer or a script of one's own the rest of the library behaves as without it.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_GRACE_S = 0.4
_PATIENCE_S = 0.2
_SHOW_CURSOR = "\x1b[?25h"


class Stopped(BaseException):
    """The user, or the system, asked the program to end. Like KeyboardInterrupt it is no `Exception`."""


class _State:
    """One process gets one signal and ends: what must be known then."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.shields = 0
        self.raised = False
        self.sentence = "Stopped."
        self.temporary: set[Path] = set()
        # Held while files are put in place, and for good by whoever ends the process.
        self.ending = threading.Lock()


_state = _State()


def run(work: Callable[[], int]) -> int:
    """Do `work` as the whole of a program; on a signal say one line and end the process.

    Args:
        work: gives the exit status; called in this thread, which must be the main one.

    Returns:
        What `work` gave; signals are ignored from then on, since all is done. A stopped program never returns: its
        exit status is 128 plus the number of the signal, as shells have it.
    """
    code = 0
    try:
        _install()
        try:
            code = work()
        finally:
            _state.shields += 1  # no further signal may interrupt what follows
    except BaseException:
        # An interrupted import surfaces as an ImportError, an interrupted C library as whatever it likes.
        if _state.signal is None:
            raise
    if _state.signal is not None:
        _state.ending.acquire()
        _end(_state.signal)
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    return code


def requested() -> bool:
    """Whether the program was asked to end; cheap enough for a loop."""
    return _state.signal is not None


def say(sentence: str) -> None:
    """Choose the line that a stopped program says."""
    _state.sentence = sentence


@contextmanager
def shielded() -> Iterator[None]:
    """A block of moments that is not left half done: a signal is obeyed behind it."""
    _state.shields += 1
    try:
        with _state.ending:
            yield
    finally:
        _state.shields -= 1
    if _state.signal is not None and threading.current_thread() is threading.main_thread():
        _raise_once()


@contextmanager
def temporary(path: Path) -> Iterator[None]:
    """Have `path`, a file or folder, removed at the end of the block, also when the process is stopped in it."""
    _state.temporary.add(path)
    try:
        yield
    finally:
        _remove(path)
        _state.temporary.discard(path)


def _install() -> None:
    if os.name != "nt":  # where only sockets can be written to by a signal
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        threading.Thread(target=_watch, args=(reading,), name="stopping", daemon=True).start()
    for number in _SIGNALS:
        signal.signal(number, _on_signal)


def _on_signal(number: int, _frame: FrameType | None) -> None:
    _state.signal = _state.signal or number
    # What an exception does in a destructor or callback is printed by Python, and nobody wants to read it now.
    sys.unraisablehook = lambda _: None
    if not _state.shields:
        _raise_once()


def _raise_once() -> None:
    """A second Ctrl-C must not interrupt the cleaning up after the first."""
    if not _state.raised:
        _state.raised = True
        raise Stopped


def _watch(reading: int) -> None:
    """Wait for a signal in a thread of its own; end the process if the main thread does not."""
    number = os.read(reading, 1)[0]
    while number not in _SIGNALS:
        number = os.read(reading, 1)[0]
    time.sleep(_GRACE_S)
    if not _state.ending.acquire(timeout=_PATIENCE_S):
        _print("Stopping as soon as the files of this input are in place.")
        _state.sentence = ""
        _state.ending.acquire()
    _end(_state.signal or number)


def _end(number: int) -> NoReturn:
    """End the process at once, by whichever thread holds `ending`."""
    for path in tuple(_state.temporary):
        _remove(path)
    if _state.sentence:
        _print(_state.sentence)
    os._exit(128 + number)


def _print(line: str) -> None:
    """To the file itself: Python's streams have locks that the other thread may hold."""
    if os.isatty(2):
        line = f"{_SHOW_CURSOR}\r\x1b[2K{line}"  # a progress bar may have hidden it and stand there
    with suppress(OSError):
        os.write(2, f"{line}\n".encode())


def _remove(path: Path) -> None:
    for _ in range(3):  # another thread may be writing into the folder
        if not os.path.lexists(path):
            return
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()
