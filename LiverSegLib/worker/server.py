"""The worker process: reads requests, answers them one after the other, keeps the model warm.

One thread computes, one reads. End-of-file on stdin ends the process at once, whatever it computes. A model that
nobody used for the idle time is freed; the process stays, so that the next run pays for loading the model but not for
importing torch.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import queue
import signal
import sys
import threading
import time
from pathlib import Path

from LiverSegLib.engine.progress import Progress
from LiverSegLib.errors import LiverSegError, ProtocolError
from LiverSegLib.networks import monai_import
from LiverSegLib.worker import messages
from LiverSegLib.worker.channel import Channel
from LiverSegLib.worker.codec import check_protocol, decode
from LiverSegLib.worker.messages import PROTOCOL
from LiverSegLib.worker.work import WarmModel, work

log = logging.getLogger(__name__)

GIVE_UP_SECONDS = 0.4
"""A cancelled request is answered after this time even if a step that cannot be interrupted still runs."""
STUCK_SECONDS = 120.0
"""A step that runs on for so long after a cancel hangs: the process ends itself."""
REPORT_SECONDS = 0.1


class Server:
    """Answers one client.

    Args:
        channel: the pipe.
        idle_seconds: an unused model is freed after this time.
    """

    def __init__(self, channel: Channel, idle_seconds: float) -> None:
        self._channel, self._idle_seconds = channel, idle_seconds
        self._models = WarmModel()
        self._folder: Path | None = None
        # From the thread that reads to the one that computes: a segmentation, which may have to wait for a cancelled
        # one to return, and questions for the devices.
        self._handed_over: queue.SimpleQueue[Task] = queue.SimpleQueue()
        self._tasks: dict[int, Task] = {}  # touched by both threads, each step atomic

    def run(self) -> None:
        """Answer until stdin ends; never returns."""
        self._channel.send(messages.Hello(PROTOCOL, os.getpid()))
        threading.Thread(target=self._read, name="read", daemon=True).start()
        while True:
            try:
                task = self._handed_over.get(timeout=self._idle_seconds if self._models else None)
            except queue.Empty:
                self._models.release()
                log.info("The model was idle for %.0f s and is freed", self._idle_seconds)
                continue
            self._do(task)

    def _do(self, task: Task) -> None:
        assert self._folder is not None
        task.running = True
        answer = work(task.request, self._models, self._folder, task.report, task.stop.is_set)
        try:
            sent = task.finish(answer)
        except ProtocolError as error:
            sent = False
            task.finish(messages.Failure.of(error, task.request.id))
        if isinstance(answer, messages.Done) and not sent:  # nobody waits for it any more
            (self._folder / answer.labelmap).unlink(missing_ok=True)
        task.returned.set()
        self._tasks.pop(task.request.id, None)

    def _read(self) -> None:
        try:
            for line in self._channel.lines():
                try:
                    if line is None:
                        raise ProtocolError("A line is too long and was dropped.")
                    self._handle(decode(line))
                except LiverSegError as error:
                    log.warning("Refused a line: %s", error)
                    self._channel.send(messages.Failure.of(error))
        finally:
            # Not sys.exit: the main thread may be deep inside torch, and nobody is left to answer.
            os._exit(0)

    @property
    def _is_warming(self) -> bool:
        return any(task.running and isinstance(task.request, messages.WarmUp) for task in [*self._tasks.values()])

    def _handle(self, message: messages.Message) -> None:
        if isinstance(message, messages.Open):
            check_protocol(message)
            self._folder = Path(message.folder)
        elif isinstance(message, messages.Request):
            if self._folder is None:
                raise ProtocolError("The first message has to be 'Open'.")
            if message.id in self._tasks:
                raise ProtocolError(f"The request id {message.id} is in use.")
            task = Task(message, self._channel)
            if isinstance(message, messages.Segment) and self._is_warming:
                task.report(Progress("load", 0, 1))  # it joins in: what it waits for is its own model
            self._tasks[message.id] = task
            self._handed_over.put(task)
        elif isinstance(message, messages.Cancel):
            found = self._tasks.get(message.id)
            if found is not None and not found.stop.is_set():
                found.stop.set()
                if not found.running:
                    found.finish(messages.Cancelled(message.id))
                threading.Thread(target=_give_up, args=(found,), name="give up", daemon=True).start()
        else:
            raise ProtocolError(f"A {type(message).__name__} message is not for the worker.")


class Task:
    """A request in the worker: its stop flag, its progress, and who has the last word on it.

    Two threads may want to answer last: the one that computes and the one that gives up waiting for it. The first to
    call `finish` does.

    Args:
        request: what the client asks for.
        channel: takes the answers.
    """

    def __init__(self, request: messages.Request, channel: Channel) -> None:
        self.request = request
        self.running = False
        self.stop, self.returned = threading.Event(), threading.Event()
        self._channel, self._lock, self._answered = channel, threading.Lock(), False
        self._stage, self._reported = "", 0.0

    def finish(self, answer: messages.Message) -> bool:
        """Send the last answer; False if there has been one.

        Raises:
            ProtocolError: the answer cannot be sent; another may be tried.
        """
        with self._lock:
            if self._answered:
                return False
            self._channel.send(answer)
            self._answered = True
            return True

    def report(self, progress: Progress) -> None:
        """Send progress: the first and last of each stage, in between ten a second."""
        now = time.monotonic()
        new = progress.stage != self._stage
        if not (new or progress.done == progress.total or now - self._reported >= REPORT_SECONDS):
            return
        self._stage, self._reported = progress.stage, now
        with self._lock:
            if not self._answered:
                self._channel.send(messages.Report(self.request.id, progress))


def _give_up(task: Task) -> None:
    """Answer for a cancelled task that does not come back, and end the process if it never does."""
    if task.returned.wait(GIVE_UP_SECONDS):
        return
    task.finish(messages.Cancelled(task.request.id))
    if task.running and not task.returned.wait(STUCK_SECONDS):
        log.error("Request %d does not stop; the process ends", task.request.id)
        os._exit(3)


def main(idle_seconds: float) -> None:
    """Run the worker, as `launch.worker_command` starts it; ends when stdin does."""
    monai_import.shorten()
    channel = Channel()
    if hasattr(sys.stderr, "reconfigure"):
        sys.stderr.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
    # stderr is the log: the client keeps and shows it.
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s")
    logging.captureWarnings(True)
    faulthandler.enable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the client, which cancels
    Server(channel, idle_seconds).run()
