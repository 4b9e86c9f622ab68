"""A worker for programs without an event loop."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from LiverSegLib.engine.progress import ProgressCallback, StopCallback
from LiverSegLib.errors import SegmentationCancelled
from LiverSegLib.system import DeviceInfo
from LiverSegLib.volume import Result, Volume
from LiverSegLib.worker import events
from LiverSegLib.worker.events import Event
from LiverSegLib.worker.launch import IDLE_SECONDS, worker_command
from LiverSegLib.worker.process import WorkerProcess
from LiverSegLib.worker.session import WorkerSession
from LiverSegLib.worker.values import Roi, SegmentSettings

_POLL_SECONDS = 0.05


class WorkerClient:
    """Segments in a worker process, which starts with the first request and again after a crash.

    One call runs at a time; `cancel` may come from another thread.

    Args:
        python: the interpreter; None for the one that runs this.
        log: file that the worker's log is also written to.
        idle_seconds: an unused model is freed after this time.
        extra_paths: appended to the worker's `sys.path`.
        on_log: called with each line that the worker logs, while a call runs.
        command: the whole command line instead of what the above make.

    Example:
        >>> from LiverSegLib.io import read_volume
        >>> with WorkerClient() as worker:  # doctest: +SKIP
        ...     result = worker.segment(read_volume(Path("ct.nii.gz")), progress=lambda p: print(p.text))
    """

    def __init__(
        self,
        python: str | Path | None = None,
        *,
        log: Path | None = None,
        idle_seconds: float = IDLE_SECONDS,
        extra_paths: Sequence[str | Path] = (),
        on_log: Callable[[str], None] | None = None,
        command: Sequence[str] | None = None,
    ) -> None:
        self.session = WorkerSession()
        self.last_warm: bool | None = None
        self._command = command or worker_command(python, log=log, idle_seconds=idle_seconds, extra_paths=extra_paths)
        self._on_log = on_log
        self._process: WorkerProcess | None = None
        self._lock = threading.Lock()
        self._cancel = threading.Event()

    def __enter__(self) -> WorkerClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, model: str | Path | None = None, device: str = "auto") -> events.ModelReady:
        """Start the process and make a model ready.

        Raises:
            LiverSegError: of the class that the engine raised, or `WorkerError`.
        """
        found = self._wait(lambda: self.session.load(model, device))
        assert isinstance(found, events.ModelReady)
        return found

    def devices(self) -> tuple[DeviceInfo, ...]:
        """The devices, the one that "auto" means first.

        Raises:
            WorkerError: torch is missing, or the process failed.
        """
        found = self._wait(self.session.list_devices)
        assert isinstance(found, events.DevicesFound)
        return found.devices

    def segment(
        self,
        volume: Volume,
        progress: ProgressCallback | None = None,
        should_stop: StopCallback | None = None,
        *,
        model: str | Path | None = None,
        device: str = "auto",
        settings: SegmentSettings | None = None,
        roi: Roi | None = None,
        targets: Sequence[str] | None = None,
    ) -> Result:
        """Segment one volume; gives what `Segmenter.segment` gives.

        Args:
            volume: the image, array [i, j, k].
            progress: called in this thread, about ten times a second.
            should_stop: asked about twenty times a second.
            model, device, settings, roi, targets: as in `WorkerSession.segment`.

        Raises:
            LiverSegError: of the class that the engine raised, or `WorkerError`.
            SegmentationCancelled: `should_stop` or `cancel` said so.
        """
        found = self._wait(
            lambda: self.session.segment(
                volume, model=model, device=device, settings=settings, roi=roi, targets=targets
            ),
            progress,
            should_stop,
        )
        assert isinstance(found, events.Finished)
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
            if isinstance(event, events.Terminate):
                self._end(event.grace)
            elif isinstance(event, events.Logged) and self._on_log is not None:
                self._on_log(event.text)
            elif getattr(event, "id", None) != request or request is None:
                continue
            elif isinstance(event, events.Progressed):
                if progress is not None:
                    progress(event.progress)
            else:
                over = event
        if self.session.needs_process:
            self._process = WorkerProcess(self._command)
            self.session.started()
        if self._process is not None:
            self._process.write(self.session.data_to_send())
        if isinstance(over, events.Failed):
            raise over.error
        if isinstance(over, events.Stopped):
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
