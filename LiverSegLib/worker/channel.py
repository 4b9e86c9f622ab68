"""The worker's end of the pipe."""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Iterator

from LiverSegLib.worker.codec import LineBuffer, encode
from LiverSegLib.worker.messages import Message

_BLOCK = 65536


class Channel:
    """Takes the process's stdin and stdout for messages alone.

    The real pipes are kept under other numbers. What any code, Python or C, prints from now on goes to stderr,
    and what it reads from stdin is empty.
    """

    def __init__(self) -> None:
        self._in, self._out = os.dup(0), os.dup(1)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)
        sys.stdout = sys.stderr
        self._outbox: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        # A thread of its own: a client that does not read must not block the thread that sees end-of-file.
        threading.Thread(target=self._write, name="write", daemon=True).start()

    def send(self, message: Message) -> None:
        """Queue a message; from any thread.

        Raises:
            ProtocolError: it cannot be written as a line.
        """
        self._outbox.put(encode(message))

    def lines(self) -> Iterator[bytes | None]:
        """Lines from the client until end-of-file; None for one that was too long."""
        buffer = LineBuffer()
        while True:
            try:
                block = os.read(self._in, _BLOCK)
            except OSError:
                return
            if not block:
                return
            yield from buffer.feed(block)

    def _write(self) -> None:
        while True:
            item = self._outbox.get()
            try:
                while item:
                    item = item[os.write(self._out, item) :]
            except OSError:
                os._exit(1)  # nobody listens any more
