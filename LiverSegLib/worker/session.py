"""The client's side as a state machine without process, thread, timer or Qt.

A transport owns the process and moves bytes; everything else is decided here. Always in one thread it

1. calls `segment`, `list_devices`, `warm_up` or `cancel` as its user asks,
2. while `needs_process`: starts `launch.worker_command()` and calls `started`,
3. writes `data_to_send` to the process,
4. passes stdout to `feed`, stderr to `feed_log`, the end of the process to `exited`,
5. calls `tick` when `deadline` is reached,
6. acts on the events that these return, and goes to 2.

One segmentation at a time: who has more of them queues them, and hands the next one over when the last is over or
cancelled. So the voxels of one volume lie on the disk, and a crash fails one segmentation.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from LiverSegLib.errors import LiverSegError, ProtocolError, WorkerError
from LiverSegLib.request import SegmentationRequest
from LiverSegLib.volume import Result, Volume
from LiverSegLib.worker import messages
from LiverSegLib.worker.arrays import ArrayFolder, matrix_of, result_from
from LiverSegLib.worker.codec import LineBuffer, check_protocol, decode, encode
from LiverSegLib.worker.messages import Cancelled, Devices, Hello, Report, Warmed

CANCEL_SECONDS = 0.7
"""A cancelled request that is not given up by then costs the process its life."""
START_SECONDS = 60.0
"""A new process that has not said hello by then is ended."""
EXIT_SECONDS = 1.0


@dataclass(frozen=True)
class Finished:
    """The segmentation `id` is done; `warm` tells whether the model was ready when it began."""

    id: int
    result: Result
    warm: bool


@dataclass(frozen=True)
class Failed:
    """The request `id` failed: `error` is for the user, `details` (often empty) for the log."""

    id: int
    error: LiverSegError
    details: str


@dataclass(frozen=True)
class Logged:
    """One line for the log."""

    text: str


@dataclass(frozen=True)
class Terminate:
    """For the transport: close the worker's stdin now, and kill it if it lives after `grace` seconds.

    Nothing of that process is to be passed to the session any more.
    """

    grace: float


Event = Hello | Devices | Warmed | Report | Cancelled | Finished | Failed | Logged | Terminate
"""What a session tells: the worker's messages as they are, or what became of a request."""


@dataclass(kw_only=True)
class _Asked:
    """A request without its last answer.

    Args:
        line: its message, as it was or will be sent.
        what: what it does, for error sentences ("segmenting ct.nrrd").
        files: those of the volume's channels in the private folder; () for a request without a volume.
        give_up: once it is cancelled, when to end the process if nothing comes.
    """

    line: bytes
    what: str
    files: tuple[str, ...] = ()
    give_up: float | None = None


class WorkerSession:
    """Requests, answers and deadlines of one client; survives any number of worker processes.

    Args:
        clock: gives seconds that only grow.
        folder_parent: where the private folder is made; None for the system's temporary folder.

    Example:
        >>> session = WorkerSession()
        >>> session.needs_process
        False
        >>> request = session.list_devices()
        >>> session.needs_process
        True
        >>> session.close()
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, folder_parent: Path | None = None) -> None:
        self.log: deque[str] = deque(maxlen=400)
        self.hello: Hello | None = None
        self._clock, self._parent = clock, folder_parent
        self._folder: ArrayFolder | None = None
        self._asked: dict[int, _Asked] = {}
        self._ids = itertools.count(1)
        self._out = bytearray()
        self._lines, self._log_rest = LineBuffer(), b""
        self._alive = False
        self._start_by: float | None = None

    def segment(self, volume: Volume, request: SegmentationRequest) -> int:
        """Hand a volume over and give the request's id; ends in `Finished`, `Failed` or `Cancelled`.

        The voxels are written to the private folder at once, from the view that they are.

        Raises:
            OutputError: the private folder cannot be written.
        """
        running = [asked for asked in self._asked.values() if asked.files and asked.give_up is None]
        assert not running, "one segmentation at a time"
        files: list[str] = []
        try:
            for channel in volume.channels:
                files.append(self.folder.put(channel))
            message = messages.Segment(
                next(self._ids),
                volume=files[0],
                further=tuple(files[1:]),
                affine=matrix_of(volume.affine),
                name=volume.name,
                modality=volume.modality,
                request=request,
            )
            return self._ask(message, f"segmenting {volume.name}", tuple(files))
        except BaseException:
            for file in files:
                self.folder.discard(file)
            raise

    def list_devices(self) -> int:
        """Ask for the devices and give the request's id; ends in `Devices` or as `segment` does."""
        return self._ask(messages.ListDevices(next(self._ids)), "looking for devices")

    def warm_up(self, model: str | None, device: str) -> int:
        """Have a model made ready and give the request's id; ends in `Warmed`, `Failed` or `Cancelled`.

        A segmentation that is asked for meanwhile waits for it, and need not load the model again.

        Args:
            model, device: as in `SegmentationRequest`.
        """
        return self._ask(messages.WarmUp(next(self._ids), model, device), "loading the model")

    def cancel(self, request_id: int) -> list[Event]:
        """Give a request up; ends in `Cancelled`. One that is over, unknown or cancelled already is left alone."""
        asked = self._asked.get(request_id)
        if asked is None or asked.give_up is not None:
            return []
        asked.give_up = self._clock() + CANCEL_SECONDS
        if self.hello is None:  # no worker knows of it
            return self._drop(everything=False)
        self._out += encode(messages.Cancel(request_id))
        return []

    def stop(self) -> list[Event]:
        """Give up everything and end the process, if there is one; the session can be used again."""
        return self._end() + self._drop(everything=True)

    def close(self) -> None:
        """Forget all requests and remove the private folder; stop the process first."""
        self._asked.clear()
        if self._folder is not None:
            self._folder.close()
            self._folder = None

    @property
    def folder(self) -> ArrayFolder:
        """The private folder, made when it is first needed."""
        if self._folder is None:
            self._folder = ArrayFolder(self._parent)
        return self._folder

    @property
    def needs_process(self) -> bool:
        """Whether a process should be started now: there is none and something waits for it."""
        return not self._alive and bool(self._asked)

    def data_to_send(self) -> bytes:
        """What to write to the worker's stdin; the next call does not give it again."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def deadline(self) -> float | None:
        """When to call `tick`, in the clock's seconds; None for not at all."""
        times = [asked.give_up for asked in self._asked.values() if asked.give_up is not None]
        return min(times if self._start_by is None else [*times, self._start_by], default=None)

    def started(self) -> None:
        """A new process was started (or is being started)."""
        self._alive, self.hello = True, None
        self.log.clear()
        self._lines, self._log_rest = LineBuffer(), b""
        self._start_by = self._clock() + START_SECONDS
        self._out[:] = encode(messages.Open(messages.PROTOCOL, str(self.folder.path)))

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
        return [Logged(text) for text in texts]

    def exited(self, code: int | None = None) -> list[Event]:
        """The process ended, with its exit code if known; pass the rest of stdout and stderr first."""
        if not self._alive:
            return []
        found = self.feed_log(b"\n") if self._log_rest else []
        how = "could not start" if self.hello is None else "stopped unexpectedly"
        why = "" if code is None else f" (exit code {code})"
        # A system that is short of memory kills without a word. Slicer's Python is a launcher, which turns the
        # signal of the process behind it into exit code 1: then only the silence while it computed tells.
        computing = any(asked.files for asked in self._asked.values())
        had_traceback = any(text.startswith("Traceback (") for text in self.log)
        silent = self.hello is not None and not had_traceback and computing
        hint = "perhaps memory ran out; " if code in (-9, 137) or (silent and code != 0) else ""
        self._end()
        sentence = f"The segmentation process {how}{why} while {{what}}; {hint}run it again or look into the log."
        return found + self._fail(WorkerError, sentence)

    def tick(self) -> list[Event]:
        """Act on the deadlines that have passed."""
        now, due = self._clock(), self.deadline()
        if due is None or now < due:
            return []
        if self._start_by is not None and now >= self._start_by:
            limit = f"{START_SECONDS:.0f} s"
            sentence = f"The segmentation process did not answer within {limit} while {{what}}; look into the log."
            return self._end() + self._fail(WorkerError, sentence)
        # The requests that nobody cancelled wait for the next process.
        return self._end() + self._drop(everything=False)

    def _receive(self, line: bytes | None) -> list[Event]:
        if line is None:
            raise ProtocolError("The segmentation process sent a line that is too long; run it again.")
        message = decode(line)
        if isinstance(message, Hello):
            check_protocol(message)
            self.hello, self._start_by = message, None
            self._out += b"".join(asked.line for asked in self._asked.values())
            return [message]
        if isinstance(message, messages.Failure) and message.id is None:
            raise ProtocolError(message.sentence)
        return self._answered(message)

    def _answered(self, message: messages.Message) -> list[Event]:
        """What an answer means; the last one ends its request. A late answer means nothing."""
        found: list[Event] = []
        if isinstance(message, messages.Failure) and "CUDA error" in message.details:
            found = self._end()  # a CUDA context does not recover: what comes next needs a new process
        number = getattr(message, "id", 0)
        asked = self._asked.get(number)
        if asked is None:
            return found
        cancelled = asked.give_up is not None
        if isinstance(message, Report):
            return [] if cancelled else [message]
        try:
            return [*found, Cancelled(number) if cancelled else self._outcome(message, number)]
        finally:
            self._forget(number)
            if isinstance(message, messages.Done):
                self.folder.discard(message.labelmap)

    def _outcome(self, message: messages.Message, number: int) -> Event:
        if isinstance(message, Devices | Warmed | Cancelled):
            return message
        if isinstance(message, messages.Failure):
            return Failed(number, message.error, message.details)
        try:
            if not isinstance(message, messages.Done):
                raise ProtocolError(f"The worker answered with a {type(message).__name__} message; run it again.")
            return Finished(number, result_from(message, self.folder.path), message.warm)
        except ProtocolError as error:
            return Failed(number, error, "")

    def _ask(self, message: messages.Request, what: str, files: tuple[str, ...] = ()) -> int:
        asked = self._asked[message.id] = _Asked(line=encode(message), what=what, files=files)
        if self.hello is not None:
            self._out += asked.line
        return message.id

    def _forget(self, number: int) -> None:
        """A request is over: drop it and its files."""
        for file in self._asked.pop(number).files:
            self.folder.discard(file)

    def _drop(self, *, everything: bool) -> list[Event]:
        """End the requests that are cancelled, or all."""
        over = [number for number, asked in self._asked.items() if everything or asked.give_up is not None]
        for number in over:
            self._forget(number)
        return [Cancelled(number) for number in over]

    def _fail(self, error: type[LiverSegError], sentence: str) -> list[Event]:
        """End every request; `{what}` in the sentence becomes what the request does."""
        found, details = self._drop(everything=False), "\n".join(list(self.log)[-40:])
        for number, asked in list(self._asked.items()):
            found.append(Failed(number, error(sentence.replace("{what}", asked.what)), details))
            self._forget(number)
        return found

    def _end(self) -> list[Event]:
        """There is no process any more, as far as this session is concerned."""
        if not self._alive:
            return []
        self._alive, self.hello, self._start_by = False, None, None
        self._out.clear()
        return [Terminate(EXIT_SECONDS)]
