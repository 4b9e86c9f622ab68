"""A worker for programs without an event loop: the tests' own way to drive a `WorkerSession`."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from LiverSegLib.engine.progress import ProgressCallback, StopCallback
from LiverSegLib.errors import SegmentationCancelled, WorkerError
from LiverSegLib.request import SegmentationRequest, model_name
from LiverSegLib.system import DeviceInfo
from LiverSegLib.volume import Result, Volume
from LiverSegLib.worker.launch import worker_command
from LiverSegLib.worker.messages import Cancelled, Devices, Report, Warmed
from LiverSegLib.worker.session import Event, Failed, Finished, Logged, Terminate, WorkerSession

_POLL_SECONDS = 0.05
_BLOCK = 65536


class WorkerClient:
    """Segments in a worker process, which starts with the first request and again after a crash.

    One call runs at a time; `cancel` may come from another thread.

    Args:
        command: the whole command line; None for that of this LiverSegLib.
        on_log: called with each line that the worker logs, while a call runs.
    """

    def __init__(self, command: Sequence[str] | None = None, *, on_log: Callable[[str], None] | None = None) -> None:
        self.session = WorkerSession()
        self.last_warm: bool | None = None
        self._command = command or worker_command()
        self._on_log = on_log
        self._process: WorkerProcess | None = None
        self._lock = threading.Lock()
        self._cancel = threading.Event()

    def __enter__(self) -> WorkerClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def devices(self) -> tuple[DeviceInfo, ...]:
        """The devices, the one that "auto" means first.

        Raises:
            WorkerError: torch is missing, or the process failed.
        """
        found = self._wait(self.session.list_devices)
        assert isinstance(found, Devices)
        return found.devices

    def warm_up(
        self, model: str | Path | None = None, device: str = "auto", should_stop: StopCallback | None = None
    ) -> None:
        """Have a model made ready.

        Raises:
            LiverSegError: of the class that the engine raised, or `WorkerError`.
            SegmentationCancelled: `should_stop` or `cancel` said so.
        """
        found = self._wait(lambda: self.session.warm_up(model_name(model), device), None, should_stop)
        assert isinstance(found, Warmed)

    def segment(
        self,
        volume: Volume,
        progress: ProgressCallback | None = None,
        should_stop: StopCallback | None = None,
        **request: Any,
    ) -> Result:
        """Segment one volume; gives what `Segmenter.segment` gives.

        Args:
            volume: the image, array [i, j, k].
            progress: called in this thread, about ten times a second.
            should_stop: asked about twenty times a second.
            **request: the fields of a `SegmentationRequest`; the model may be a path.

        Raises:
            LiverSegError: of the class that the engine raised, or `WorkerError`.
            SegmentationCancelled: `should_stop` or `cancel` said so.
        """
        wanted = SegmentationRequest(**{**request, "model": model_name(request.get("model"))})
        found = self._wait(lambda: self.session.segment(volume, wanted), progress, should_stop)
        assert isinstance(found, Finished)
        self.last_warm = found.warm
        return found.result

    def cancel(self) -> None:
        """Stop the call that runs, which then raises `SegmentationCancelled`; harmless without one."""
        self._cancel.set()

    def close(self) -> None:
        """End the process and remove the private folder; the client can be used again."""
        with self._lock:
            self._act(self.session.stop())
            self.session.close()

    def _wait(
        self, ask: Callable[[], int], progress: ProgressCallback | None = None, should_stop: StopCallback | None = None
    ) -> Event:
        """Make a request and drive the session until it is over."""
        with self._lock:
            self._cancel.clear()
            self._drain()  # a process that ended meanwhile is to be noticed before it gets work
            request = ask()
            try:
                found: list[Event] = []
                while True:
                    over = self._act(found, request, progress)
                    if over is not None:
                        return over
                    if self._cancel.is_set() or (should_stop is not None and should_stop()):
                        self._act(self.session.cancel(request))
                    found = self._next()
            except BaseException:  # an interrupt, or a callback's: do not compute on for nobody
                self._act(self.session.cancel(request))
                raise

    def _act(
        self, found: list[Event], request: int | None = None, progress: ProgressCallback | None = None
    ) -> Event | None:
        """Carry events out; give the one that ends `request`, or raise what it failed with."""
        over: Event | None = None
        for event in found:
            if isinstance(event, Terminate):
                self._end(event.grace)
            elif isinstance(event, Logged) and self._on_log is not None:
                self._on_log(event.text)
            elif getattr(event, "id", None) != request or request is None:
                continue
            elif isinstance(event, Report):
                if progress is not None:
                    progress(event.progress)
            else:
                over = event
        if self.session.needs_process:
            self._process = WorkerProcess(self._command)
            self.session.started()
        if self._process is not None:
            self._process.write(self.session.data_to_send())
        if isinstance(over, Failed):
            raise over.error
        if isinstance(over, Cancelled):
            raise SegmentationCancelled("The segmentation was stopped; nothing was changed.")
        return over

    def _next(self, wait: float = _POLL_SECONDS) -> list[Event]:
        """The events of the process's next output, or of the time that passes without any."""
        deadline = self.session.deadline()
        if deadline is not None:
            wait = max(0.0, min(wait, deadline - time.monotonic()))
        process = self._process
        if process is None:
            return self.session.tick()
        try:
            chunk = process.output.get(timeout=wait)
        except queue.Empty:
            return self.session.tick()
        found = self.session.feed_log(chunk.data) if chunk.log else self.session.feed(chunk.data)
        code = process.exit_code(chunk)
        if code is not None:
            found += self.session.exited(code)
            self._end(0.0)
        return found + self.session.tick()

    def _drain(self) -> None:
        while self._process is not None and not self._process.output.empty():
            self._act(self._next(0.0))

    def _end(self, grace: float) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.end(grace)


@dataclass(frozen=True)
class Chunk:
    """Bytes that the process wrote; none at the end of the pipe."""

    log: bool
    data: bytes


class WorkerProcess:
    """One process with its output collected by threads.

    Args:
        command: program and arguments.

    Raises:
        WorkerError: the program cannot be started.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.output: queue.SimpleQueue[Chunk] = queue.SimpleQueue()
        try:
            # A session of its own: its children can be killed with it, and Ctrl-C does not reach it.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=os.name != "nt",
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except OSError as error:
            raise WorkerError(f"The segmentation process {command[0]} cannot be started: {error.strerror}.") from error
        self._open_pipes = 2
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        for pipe, is_log in ((self._process.stdout, False), (self._process.stderr, True)):
            threading.Thread(target=_collect, args=(pipe, is_log, self.output), daemon=True).start()
        # Runs when this object is forgotten and when the program ends.
        self._last_resort = weakref.finalize(self, end_process, self._process, 0.0)

    @property
    def pid(self) -> int:
        """Id of the started process; with a launcher, not of the Python that it runs."""
        return self._process.pid

    def write(self, data: bytes) -> None:
        """Write to stdin; a process that has ended is noticed elsewhere."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            while data:
                data = data[self._process.stdin.write(data) :]

    def exit_code(self, chunk: Chunk) -> int | None:
        """The exit code, if `chunk` is the last that came; None as long as a pipe is open."""
        if not chunk.data:
            self._open_pipes -= 1
        if self._open_pipes:
            return None
        try:
            return self._process.wait(5.0)
        except subprocess.TimeoutExpired:  # it closed its pipes and lives on: of no use
            self.end(0.0)
            return self._process.wait()

    def end(self, grace: float) -> None:
        """Close stdin, and kill the process and its children if they live after `grace` seconds."""
        self._last_resort.detach()
        end_process(self._process, grace)


def _collect(pipe: IO[bytes], is_log: bool, output: queue.SimpleQueue[Chunk]) -> None:
    """Read a pipe to its end; closing it belongs to this thread."""
    with pipe, contextlib.suppress(OSError, ValueError):
        while data := os.read(pipe.fileno(), _BLOCK):
            output.put(Chunk(is_log, data))
    output.put(Chunk(is_log, b""))


def end_process(process: subprocess.Popen[bytes], grace: float) -> None:
    """End a worker: end-of-file first, because a launcher passes that on but no signal; then force."""
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
    try:
        process.wait(grace if grace > 0 else 0.2)
    except subprocess.TimeoutExpired:
        process.kill()
    if os.name != "nt":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5.0)
