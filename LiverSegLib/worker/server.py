"""The worker process: reads requests, answers them one after the other, keeps the model warm.

End-of-file on stdin ends the process at once, whatever it computes. A model that nobody used for the idle time
is freed; the process stays, so that the next run pays for loading the model but not for importing torch.
"""

from __future__ import annotations

import argparse
import faulthandler
import logging
import logging.handlers
import os
import platform
import queue
import signal
import sys
import threading
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import LiverSegLib
from LiverSegLib.errors import LiverSegError
from LiverSegLib.worker import messages
from LiverSegLib.worker.channel import Channel
from LiverSegLib.worker.errors import ProtocolError, kind_of
from LiverSegLib.worker.folder import check_private
from LiverSegLib.worker.job import Job
from LiverSegLib.worker.launch import IDLE_SECONDS
from LiverSegLib.worker.messages import PROTOCOL
from LiverSegLib.worker.protocol import check_protocol, decode
from LiverSegLib.worker.warm import WarmModel
from LiverSegLib.worker.work import discard, work

log = logging.getLogger(__name__)

GIVE_UP_SECONDS = 0.4
"""A cancelled request is answered after this time even if a step that cannot be interrupted still runs."""
STUCK_SECONDS = 120.0
"""A step that runs on for so long after a cancel hangs: the process ends itself."""


class Server:
    """Answers one client.

    Args:
        channel: the pipe.
        idle_seconds: an unused model is freed after this time.
    """

    def __init__(self, channel: Channel, idle_seconds: float = IDLE_SECONDS) -> None:
        self._channel, self._idle_seconds = channel, idle_seconds
        self._models = WarmModel()
        self._folder: Path | None = None
        self._queue: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._jobs: dict[int, Job] = {}  # touched by both threads, each step atomic

    def run(self) -> None:
        """Answer until stdin ends; never returns."""
        self._channel.send(hello())
        threading.Thread(target=self._read, name="read", daemon=True).start()
        while True:
            try:
                job = self._queue.get(timeout=self._idle_seconds if self._models else None)
            except queue.Empty:
                self._models.release()
                log.info("The model was idle for %.0f s and is freed", self._idle_seconds)
                self._channel.send(messages.Released(self._idle_seconds))
                continue
            self._do(job)

    def _do(self, job: Job) -> None:
        assert self._folder is not None
        job.running = True
        answer = work(job, self._models, self._folder)
        try:
            if not job.finish(answer):
                discard(answer, self._folder)
        except ProtocolError as error:
            discard(answer, self._folder)
            job.finish(messages.Failure(job.message.id, kind_of(error), str(error)))
        finally:
            job.returned.set()
            self._jobs.pop(job.message.id, None)
        if isinstance(answer, messages.Failure) and "CUDA error" in answer.details:
            self._channel.flush(1.0)
            os._exit(4)  # a CUDA context does not recover; the client starts a new process

    def _read(self) -> None:
        try:
            for line in self._channel.lines():
                try:
                    if line is None:
                        raise ProtocolError("A line is too long and was dropped.")
                    self._handle(decode(line))
                except LiverSegError as error:
                    log.warning("Refused a line: %s", error)
                    self._channel.send(messages.Failure(None, kind_of(error), str(error)))
        finally:
            # Not sys.exit: the main thread may be deep inside torch, and nobody is left to answer.
            os._exit(0)

    def _handle(self, message: messages.Message) -> None:
        if isinstance(message, messages.Open):
            check_protocol(message)
            folder = Path(message.folder)
            check_private(folder)
            self._folder = folder
        elif isinstance(message, messages.Segment | messages.Load | messages.ListDevices):
            if self._folder is None:
                raise ProtocolError("The first message has to be 'open'.")
            if message.id in self._jobs:
                raise ProtocolError(f"The request id {message.id} is in use.")
            job = self._jobs[message.id] = Job(message, self._channel.send)
            self._queue.put(job)
        elif isinstance(message, messages.Cancel):
            self._cancel(message.id)
        elif isinstance(message, messages.Bye):
            os._exit(0)
        else:
            raise ProtocolError(f"A {type(message).__name__} message is not for the worker.")

    def _cancel(self, request_id: int) -> None:
        job = self._jobs.get(request_id)
        if job is None or job.stop.is_set():
            return
        job.stop.set()
        if not job.running:
            job.finish(messages.Cancelled(request_id))
        threading.Thread(target=_give_up, args=(job,), name="give up", daemon=True).start()


def _give_up(job: Job) -> None:
    """Answer for a cancelled job that does not come back, and end the process if it never does."""
    if job.returned.wait(GIVE_UP_SECONDS):
        return
    job.finish(messages.Cancelled(job.message.id))
    if job.running and not job.returned.wait(STUCK_SECONDS):
        log.error("Request %d does not stop; the process ends", job.message.id)
        os._exit(3)


def hello() -> messages.Hello:
    """Versions, without importing anything large."""
    return messages.Hello(
        PROTOCOL,
        LiverSegLib.__version__,
        platform.python_version(),
        _installed("torch"),
        _installed("monai"),
        sys.executable,
        os.getpid(),
    )


def _installed(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def start_log(path: Path | None) -> None:
    """Log to stderr, and to a file that is turned over at 1 MB with one older one kept."""
    if hasattr(sys.stderr, "reconfigure"):
        sys.stderr.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    problem = None
    if path is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handlers.append(logging.handlers.RotatingFileHandler(path, "a", 1_000_000, 1, "utf-8"))
        except OSError as error:
            problem = error
    logging.basicConfig(
        level=logging.INFO, handlers=handlers, format="%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"
    )
    logging.captureWarnings(True)
    if problem is not None:
        log.warning("No log file: %s", problem)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the worker with command-line `arguments`; ends when stdin does."""
    parser = argparse.ArgumentParser(prog="python -m LiverSegLib.worker", description=__doc__)
    parser.add_argument("--idle-seconds", type=float, default=IDLE_SECONDS, help="free an unused model after this")
    parser.add_argument("--log", type=Path, default=os.environ.get("LIVERSEG_WORKER_LOG") or None, help="log file")
    options = parser.parse_args(arguments)
    channel = Channel()
    start_log(options.log)
    faulthandler.enable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the client, which cancels
    Server(channel, options.idle_seconds).run()
    return 0
