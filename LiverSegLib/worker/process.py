"""A worker process through subprocess: its pipes as a queue, and its end."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

from LiverSegLib.worker.errors import WorkerError

_BLOCK = 65536


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
