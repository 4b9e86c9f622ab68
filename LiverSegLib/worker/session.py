"""The client's side of the protocol as a state machine without process, thread, timer or Qt.

A transport owns the process and moves bytes; everything else is decided here. Always in one thread it

1. calls `segment`, `load`, `list_devices` or `cancel` as its user asks,
2. while `needs_process`: starts `launch.worker_command()` and calls `started`,
3. writes `data_to_send` to the process,
4. passes stdout to `feed`, stderr to `feed_log`, the end of the process to `exited`,
5. calls `tick` when `deadline` is reached,
6. acts on the events that these return, and goes to 2.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from LiverSegLib.worker import events, messages
from LiverSegLib.worker.errors import ProtocolError, WorkerError
from LiverSegLib.worker.events import Event, State
from LiverSegLib.worker.protocol import LineBuffer, check_protocol, decode, encode
from LiverSegLib.worker.requester import Requester

CANCEL_SECONDS = 0.7
"""A cancelled request that is not given up by then costs the process its life."""
START_SECONDS = 60.0
EXIT_SECONDS = 1.0


class WorkerSession(Requester):
    """Requests, answers and deadlines of one client; survives any number of worker processes.

    Args:
        clock: gives seconds that only grow.
        folder_parent: where the private folder is made; None for the system's temporary folder.
        cancel_seconds: time for a cancelled request to be given up before the process is ended.
        start_seconds: time for a new process to say hello.

    Example:
        >>> session = WorkerSession()
        >>> session.state.name, session.needs_process
        ('DEAD', False)
        >>> request = session.list_devices()
        >>> session.needs_process
        True
        >>> session.close()
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        folder_parent: Path | None = None,
        cancel_seconds: float = CANCEL_SECONDS,
        start_seconds: float = START_SECONDS,
    ) -> None:
        super().__init__(folder_parent)
        self.log: deque[str] = deque(maxlen=400)
        self.hello: messages.Hello | None = None
        self._clock, self._cancel_seconds, self._start_seconds = clock, cancel_seconds, start_seconds
        self._out = bytearray()
        self._lines, self._log_rest = LineBuffer(), b""
        self._alive = False
        self._start_by: float | None = None
        self._had_traceback = False

    def cancel(self, request_id: int) -> list[Event]:
        """Give a request up; ends in `Stopped`. One that is over, unknown or cancelled already is left alone."""
        pending = self._pending.get(request_id)
        if pending is None or pending.give_up is not None:
            return []
        pending.give_up = self._clock() + self._cancel_seconds
        if self.hello is None:  # no worker knows of it
            return self._pending.stop(everything=False)
        self._send(messages.Cancel(request_id))
        return []

    def stop(self) -> list[Event]:
        """Give up everything and end the process, if there is one; the session can be used again."""
        return self._end() + self._pending.stop(everything=True)

    @property
    def state(self) -> State:
        """Where the session stands."""
        if not self._alive:
            return State.DEAD
        if self.hello is None:
            return State.STARTING
        if any(p.give_up is not None for p in self._pending):
            return State.CANCELLING
        return State.BUSY if self._pending else State.IDLE

    @property
    def needs_process(self) -> bool:
        """Whether a process should be started now: there is none and something waits for it."""
        return not self._alive and bool(self._pending)

    def data_to_send(self) -> bytes:
        """What to write to the worker's stdin; the next call does not give it again."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def deadline(self) -> float | None:
        """When to call `tick`, in the clock's seconds; None for not at all."""
        times = [p.give_up for p in self._pending if p.give_up is not None]
        return min(times if self._start_by is None else [*times, self._start_by], default=None)

    def started(self) -> None:
        """A new process was started (or is being started)."""
        self._alive, self.hello, self._had_traceback = True, None, False
        self._lines, self._log_rest = LineBuffer(), b""
        self._start_by = self._clock() + self._start_seconds
        self._out[:] = encode(messages.Open(messages.PROTOCOL, str(self._pending.folder)))

    def feed(self, data: bytes) -> list[Event]:
        """Take bytes from the worker's stdout."""
        found: list[Event] = []
        for line in self._lines.feed(data):
            if not self._alive:
                break
            try:
                found += self._receive(line)
            except ProtocolError as error:
                found += self._end() + self._fail(ProtocolError, str(error))
        return found

    def feed_log(self, data: bytes) -> list[Event]:
        """Take bytes from the worker's stderr; `log` keeps the last lines."""
        *lines, self._log_rest = (self._log_rest + data).split(b"\n")
        if len(self._log_rest) > 65536:  # something writes without ending its line
            lines, self._log_rest = [*lines, self._log_rest], b""
        texts = [line.decode("utf-8", "replace").rstrip() for line in lines]
        self.log.extend(texts)
        self._had_traceback = self._had_traceback or any(text.startswith("Traceback (") for text in texts)
        return [events.Logged(text) for text in texts]

    def exited(self, code: int | None = None) -> list[Event]:
        """The process ended, with its exit code if known; pass the rest of stdout and stderr first."""
        if not self._alive:
            return []
        found = self.feed_log(b"\n") if self._log_rest else []
        how = "could not start" if self.hello is None else "stopped unexpectedly"
        why = "" if code is None else f" (exit code {code})"
        # A system that is short of memory kills without a word. Slicer's Python is a launcher, which turns the
        # signal of the process behind it into exit code 1: then only the silence while it computed tells.
        silent = self.hello is not None and not self._had_traceback and self._is_segmenting()
        hint = "perhaps memory ran out; " if code in (-9, 137) or (silent and code != 0) else ""
        self._end()
        sentence = f"The segmentation process {how}{why} while {{what}}; {hint}run it again or look into the log."
        return found + self._fail(WorkerError, sentence)

    def tick(self, now: float | None = None) -> list[Event]:
        """Act on the deadlines that have passed by `now` (default: the clock's time)."""
        now = self._clock() if now is None else now
        due = self.deadline()
        if due is None or now < due:
            return []
        if self._start_by is not None and now >= self._start_by:
            limit = f"{self._start_seconds:.0f} s"
            sentence = f"The segmentation process did not answer within {limit} while {{what}}; look into the log."
            return self._end() + self._fail(WorkerError, sentence)
        # The requests that nobody cancelled wait for the next process.
        return self._end() + self._pending.stop(everything=False)

    def _receive(self, line: bytes | None) -> list[Event]:
        if line is None:
            raise ProtocolError("The segmentation process sent a line that is too long; run it again.")
        message = decode(line)
        if isinstance(message, messages.Hello):
            check_protocol(message)
            self.hello, self._start_by = message, None
            self._out += b"".join(encode(pending.message) for pending in self._pending)
            return [events.Ready(message)]
        if isinstance(message, messages.Released):
            return [events.ModelReleased(message.seconds)]
        if isinstance(message, messages.Failure) and message.id is None:
            raise ProtocolError(message.sentence)
        return self._pending.answer(message)

    def _is_segmenting(self) -> bool:
        return any(isinstance(pending.message, messages.Segment) for pending in self._pending)

    def _send(self, message: messages.Message) -> None:
        if self.hello is not None:
            self._out += encode(message)

    def _fail(self, error: type[ProtocolError] | type[WorkerError], sentence: str) -> list[Event]:
        return self._pending.fail_all(error, sentence, "\n".join(list(self.log)[-40:]))

    def _end(self) -> list[Event]:
        """There is no process any more, as far as this session is concerned."""
        if not self._alive:
            return []
        self._alive, self.hello, self._start_by = False, None, None
        self._out.clear()
        return [events.Terminate(EXIT_SECONDS)]
