"""The client's side of the protocol as a state machine without process, thread, timer or Qt.

A transport owns the process and moves bytes; everything else is decided here. It does, in this order and
always in one thread:

1. `session.segment(...)`, `load`, `list_devices` or `cancel` as its user asks,
2. while `session.needs_process`: start `worker_command()` and call `session.started()`,
3. write `session.data_to_send()` to the process,
4. pass stdout to `feed`, stderr to `feed_log`, the end of the process to `exited`,
5. call `tick()` when `deadline()` is reached,
6. act on the events that these return, and go to 2.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from LiverSegLib.errors import InputError
from LiverSegLib.volume import Volume
from LiverSegLib.worker import events, messages
from LiverSegLib.worker.convert import matrix_of, result_from
from LiverSegLib.worker.errors import ProtocolError, WorkerError, error_from
from LiverSegLib.worker.events import Event, State
from LiverSegLib.worker.folder import ArrayFolder
from LiverSegLib.worker.messages import Roi, SegmentSettings
from LiverSegLib.worker.protocol import LineBuffer, check_protocol, decode, encode

CANCEL_SECONDS = 0.7
"""A cancelled request that is not given up by then costs the process its life."""
START_SECONDS = 60.0
EXIT_SECONDS = 1.0
_LOG_LINES = 400


@dataclass
class _Pending:
    """A request without its last answer; `give_up` is the deadline once it is cancelled."""

    message: messages.Segment | messages.Load | messages.ListDevices
    what: str
    give_up: float | None = None


class WorkerSession:
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
        self.log: deque[str] = deque(maxlen=_LOG_LINES)
        self.hello: messages.Hello | None = None
        self._clock, self._folder_parent = clock, folder_parent
        self._cancel_seconds, self._start_seconds = cancel_seconds, start_seconds
        self._folder: ArrayFolder | None = None
        self._pending: dict[int, _Pending] = {}
        self._last_id = 0
        self._out = bytearray()
        self._lines, self._log_rest = LineBuffer(), b""
        self._alive = False
        self._start_by: float | None = None

    # What the user asks for

    def segment(
        self,
        volume: Volume,
        *,
        model: str | Path | None = None,
        device: str = "auto",
        settings: SegmentSettings | None = None,
        roi: Roi | None = None,
        targets: Sequence[str] | None = None,
    ) -> int:
        """Hand a volume over and give the request's id, under which events come.

        The voxels are written to the folder at once, from the view that they are; the caller may change them
        afterwards.

        Args:
            volume: the image, array [i, j, k].
            model: name or path of a package, None for the default.
            device: "auto", "cpu", "cuda", "cuda:N" or "mps".
            settings: postprocessing switches.
            roi: half-open voxel ranges ((i0, i1), (j0, j1), (k0, k1)); only this box is segmented.
            targets: names of the labels to keep, for example ["liver"]; None for all.

        Raises:
            OutputError: the temporary folder cannot be written.
        """
        name = self._arrays().put(volume.array)
        try:
            return self._request(
                messages.Segment(
                    self._last_id + 1, name, matrix_of(volume.affine), volume.name, volume.modality,
                    None if model is None else str(model), device, settings or SegmentSettings(), roi,
                    None if targets is None else tuple(targets),
                ),
                f"segmenting {volume.name}",
            )  # fmt: skip
        except Exception:
            self._arrays().discard(name)
            raise

    def load(self, model: str | Path | None = None, device: str = "auto") -> int:
        """Have a model made ready and give the request's id; ends in `ModelReady` or `Failed`."""
        name = None if model is None else str(model)
        return self._request(messages.Load(self._last_id + 1, name, device), "loading the model")

    def list_devices(self) -> int:
        """Ask for the devices and give the request's id; ends in `DevicesFound` or `Failed`."""
        return self._request(messages.ListDevices(self._last_id + 1), "looking for devices")

    def cancel(self, request_id: int) -> list[Event]:
        """Give a request up; ends in `Stopped`. One that is over, unknown or cancelled already is left alone."""
        pending = self._pending.get(request_id)
        if pending is None or pending.give_up is not None:
            return []
        if self.hello is None:  # the worker has not been told of it
            self._forget(request_id)
            return [events.Stopped(request_id)]
        pending.give_up = self._clock() + self._cancel_seconds
        self._out += encode(messages.Cancel(request_id))
        return []

    def stop(self) -> list[Event]:
        """Give up everything and end the process, if there is one; the session can be used again."""
        stopped: list[Event] = [events.Stopped(n) for n in list(self._pending)]
        for request_id in list(self._pending):
            self._forget(request_id)
        return self._ended() + stopped

    def close(self) -> None:
        """Remove the private folder; call it after `stop`."""
        self._pending.clear()
        if self._folder is not None:
            self._folder.close()
            self._folder = None

    # What the transport needs to know

    @property
    def state(self) -> State:
        """Where the session stands."""
        if not self._alive:
            return State.DEAD
        if self.hello is None:
            return State.STARTING
        if any(p.give_up is not None for p in self._pending.values()):
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
        times = [p.give_up for p in self._pending.values() if p.give_up is not None]
        if self._start_by is not None:
            times.append(self._start_by)
        return min(times, default=None)

    # What the transport reports

    def started(self) -> None:
        """A new process was started (or is being started)."""
        self._alive, self.hello = True, None
        self._lines, self._log_rest = LineBuffer(), b""
        self._start_by = self._clock() + self._start_seconds
        self._out.clear()
        self._out += encode(messages.Open(messages.PROTOCOL, str(self._arrays().path)))

    def feed(self, data: bytes) -> list[Event]:
        """Take bytes from the worker's stdout."""
        found: list[Event] = []
        for line in self._lines.feed(data):
            if not self._alive:
                break
            try:
                if line is None:
                    raise ProtocolError("A line from the worker is too long.")
                found += self._receive(decode(line))
            except ProtocolError as error:
                found += self._fail_all(error) + self._ended()
        return found

    def feed_log(self, data: bytes) -> list[Event]:
        """Take bytes from the worker's stderr; `log` keeps the last lines."""
        *lines, self._log_rest = (self._log_rest + data).split(b"\n")
        if len(self._log_rest) > 65536:  # something writes without end of line
            lines, self._log_rest = [*lines, self._log_rest], b""
        texts = [line.decode("utf-8", "replace").rstrip() for line in lines]
        self.log.extend(texts)
        return [events.Logged(text) for text in texts]

    def exited(self, code: int | None = None) -> list[Event]:
        """The process ended, with an exit code if known; pass the rest of stdout and stderr first."""
        if not self._alive:
            return []
        found = self.feed_log(b"\n") if self._log_rest else []
        how = "could not start" if self.hello is None else "stopped unexpectedly"
        why = "" if code is None else f" (exit code {code})"
        hint = "; perhaps the memory was full" if code in (-9, 137) else ""
        self._gone()
        return found + self._fail_all(
            WorkerError(f"The segmentation process {how}{why} while {{what}}{hint}; run it again or see the log.")
        )

    def tick(self, now: float | None = None) -> list[Event]:
        """Act on deadlines that have passed by `now` (default: the clock's time)."""
        now = self._clock() if now is None else now
        if self._start_by is not None and now >= self._start_by:
            error = WorkerError(
                f"The segmentation process did not answer within {self._start_seconds:.0f} s while {{what}}; "
                "see the log."
            )
            return self._fail_all(error) + self._ended()
        late = [n for n, p in self._pending.items() if p.give_up is not None and now >= p.give_up]
        if not late:
            return []
        # Every cancelled one ends here; the others wait for the next process.
        cancelled = [n for n, p in self._pending.items() if p.give_up is not None]
        for request_id in cancelled:
            self._forget(request_id)
        return self._ended() + [events.Stopped(n) for n in cancelled]

    # Inside

    def _receive(self, message: messages.Message) -> list[Event]:
        if isinstance(message, messages.Hello):
            check_protocol(message)
            self.hello, self._start_by = message, None
            for pending in self._pending.values():
                self._out += encode(pending.message)
            return [events.Ready(message)]
        if isinstance(message, messages.Released):
            return [events.ModelReleased(message.seconds)]
        if isinstance(message, messages.Failure) and message.id is None:
            raise ProtocolError(message.sentence)
        request_id = getattr(message, "id", None)
        pending = self._pending.get(request_id) if request_id is not None else None
        if pending is None or request_id is None:
            return []  # a late answer
        if isinstance(message, messages.Report):
            return [] if pending.give_up is not None else [events.Progressed(request_id, message.progress)]
        try:
            if pending.give_up is not None or isinstance(message, messages.Cancelled):
                return [events.Stopped(request_id)]
            return [self._outcome(message, request_id)]
        finally:
            self._forget(request_id)
            if isinstance(message, messages.Done):
                self._arrays().discard(message.labelmap)

    def _outcome(self, message: messages.Message, request_id: int) -> Event:
        if isinstance(message, messages.Done):
            try:
                result = result_from(message, self._arrays().path)
            except ProtocolError as error:
                return events.Failed(request_id, error, "")
            return events.Finished(request_id, result, message.warm)
        if isinstance(message, messages.Loaded):
            return events.ModelReady(request_id, message.model, message.device, message.warm, message.seconds)
        if isinstance(message, messages.Devices):
            return events.DevicesFound(request_id, message.devices)
        if isinstance(message, messages.Failure):
            return events.Failed(request_id, error_from(message.kind, message.sentence), message.details)
        raise ProtocolError(f"The worker answered with {type(message).__name__}, which no request asks for.")

    def _fail_all(self, error: LiverSegError) -> list[Event]:
        details = "\n".join(list(self.log)[-40:])
        found: list[Event] = []
        for request_id, pending in list(self._pending.items()):
            if pending.give_up is not None:
                found.append(events.Stopped(request_id))
            else:
                told = type(error)(str(error).replace("{what}", pending.what))
                found.append(events.Failed(request_id, told, details))
            self._forget(request_id)
        return found

    def _ended(self) -> list[Event]:
        if not self._alive:
            return []
        self._gone()
        return [events.Terminate(EXIT_SECONDS)]

    def _gone(self) -> None:
        self._alive, self.hello, self._start_by = False, None, None
        self._out.clear()

    def _request(self, message: messages.Segment | messages.Load | messages.ListDevices, what: str) -> int:
        line = encode(message)
        self._last_id = message.id
        self._pending[message.id] = _Pending(message, what)
        if self.hello is not None:
            self._out += line
        return message.id

    def _forget(self, request_id: int) -> None:
        pending = self._pending.pop(request_id)
        if isinstance(pending.message, messages.Segment):
            self._arrays().discard(pending.message.volume)

    def _arrays(self) -> ArrayFolder:
        if self._folder is None:
            self._folder = ArrayFolder(self._folder_parent)
        return self._folder
