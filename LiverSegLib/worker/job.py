"""One request in the worker: its stop flag, its progress, and who has the last word on it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from LiverSegLib.engine.progress import Progress
from LiverSegLib.errors import SegmentationCancelled
from LiverSegLib.worker.messages import Message, Report
from LiverSegLib.worker.pending import Asked

Send = Callable[[Message], None]
REPORT_SECONDS = 0.1


class Job:
    """A request that waits or runs.

    Two threads may want to answer last: the one that computes and the one that gives up waiting for it. The
    first to call `finish` does.

    Args:
        message: the request.
        send: takes messages for the client.
    """

    def __init__(self, message: Asked, send: Send) -> None:
        self.message = message
        self.stop = threading.Event()
        self.running = False
        self.returned = threading.Event()
        self._send, self._lock, self._answered = send, threading.Lock(), False
        self._stage, self._reported = "", 0.0

    def finish(self, answer: Message) -> bool:
        """Send the last answer; False if there has been one.

        Raises:
            ProtocolError: the answer cannot be sent; another may be tried.
        """
        with self._lock:
            if not self._answered:
                self._send(answer)
                self._answered = True
                return True
        return False

    def report(self, progress: Progress) -> None:
        """Send progress: the first and last of each stage, in between ten a second."""
        now = time.monotonic()
        new = progress.stage != self._stage
        if not (new or progress.done == progress.total or now - self._reported >= REPORT_SECONDS):
            return
        self._stage, self._reported = progress.stage, now
        with self._lock:
            if not self._answered:
                self._send(Report(self.message.id, progress))

    def check(self) -> None:
        """Raise `SegmentationCancelled` if the client wants a stop."""
        if self.stop.is_set():
            raise SegmentationCancelled("The segmentation was stopped; nothing was changed.")
