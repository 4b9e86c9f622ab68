"""The worker process on QProcess: moves bytes between it and a `WorkerSession`, in Qt's event loop."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import qt

from LiverSegLib.worker.launch import worker_command
from LiverSegLib.worker.session import Event, Terminate, WorkerSession


class WorkerTransport:
    """Starts the worker when there is something to do, and ends it.

    Args:
        onEvent: called with every event that is not the transport's own.
        environment: variables for workers that are started from now on, beside those of this process.
    """

    def __init__(self, onEvent: Callable[[Event], None], environment: dict[str, str] | None = None) -> None:
        self.session = WorkerSession()
        self.environment = environment or {}
        self._onEvent = onEvent
        self._command = worker_command
        self._process: _Process | None = None
        self._ending: list[_Process] = []
        self._timer = oneShot(lambda: self.pump(self.session.tick()))

    def pump(self, found: Iterable[Event] = ()) -> None:
        """Carry out what a call of the session asks for: call it after each one, with the events it gave."""
        for event in list(found):
            if isinstance(event, Terminate):
                self._end(event.grace)
            else:
                self._onEvent(event)
        if self.session.needs_process:
            self.session.started()
            self._process = _Process(self, self._command())
        data = self.session.data_to_send()
        if data and self._process is not None:
            self._process.write(data)
        at = self.session.deadline()
        if at is None:
            self._timer.stop()
        else:
            self._timer.start(max(0, int((at - time.monotonic()) * 1000)) + 1)

    def close(self) -> None:
        """End the process and remove the temporary files; nothing is told of it any more."""
        self._onEvent = lambda _event: None
        self.pump(self.session.stop())
        self._timer.stop()
        for process in [*self._ending]:
            process.waitOrKill()
        self.session.close()

    def gone(self, process: _Process) -> None:
        """A process ended by itself or as it was told."""
        if process in self._ending:
            self._ending.remove(process)
        if process is self._process:
            self._process = None
        # It is still emitting the signal that told us: let it live for one turn of the event loop.
        qt.QTimer.singleShot(0, lambda _kept=process: None)  # type: ignore[misc]

    def _end(self, grace: float) -> None:
        process, self._process = self._process, None
        if process is not None:
            self._ending.append(process)
            process.end(grace)


class _Process:
    """One worker process; what it says matters until it is told to end."""

    def __init__(self, owner: WorkerTransport, command: list[str]) -> None:
        self._owner, self._matters = owner, True
        self._process = qt.QProcess()
        self._process.readyReadStandardOutput.connect(self._onOutput)
        self._process.readyReadStandardError.connect(self._onLog)
        self._process.finished.connect(self._onFinished)
        # A program that cannot be started never finishes; one that crashes does so after this.
        self._process.errorOccurred.connect(lambda _error=None: qt.QTimer.singleShot(0, self._onFailed))
        self._killer = oneShot(lambda: self._process.kill())
        variables = {**os.environ, **owner.environment}
        self._process.setEnvironment([f"{name}={value}" for name, value in variables.items()])
        self._process.setWorkingDirectory(str(Path.home()))
        self._process.start(command[0], command[1:])

    def write(self, data: bytes) -> None:
        self._process.write(data)

    def isRunning(self) -> bool:
        return _number(self._process.state()) != 0

    def end(self, grace: float) -> None:
        """Close its stdin, which ends a worker at once, and kill it if that does not help."""
        self._matters = False
        self._process.closeWriteChannel()
        if self.isRunning():
            self._killer.start(int(grace * 1000))
        else:
            self._owner.gone(self)

    def waitOrKill(self) -> None:
        """Make sure that the process has ended; only when the module goes away, since it blocks."""
        if self.isRunning() and not self._process.waitForFinished(700):
            self._process.kill()
            self._process.waitForFinished(700)
        self._killer.stop()
        self._owner.gone(self)

    def _onOutput(self) -> None:
        data = bytes(self._process.readAllStandardOutput().data())
        if data and self._matters:
            self._owner.pump(self._owner.session.feed(data))

    def _onLog(self) -> None:
        data = bytes(self._process.readAllStandardError().data())
        if data and self._matters:
            self._owner.pump(self._owner.session.feed_log(data))

    def _onFinished(self, code: Any = 0, _status: Any = None) -> None:
        self._killer.stop()
        self._onLog()
        self._onOutput()
        crashed = _number(self._process.exitStatus()) == 1
        # Of a crash Qt gives the signal, which the rest of the world calls a negative code.
        self._leave(-int(code) if crashed else int(code))

    def _onFailed(self) -> None:
        if not self.isRunning():
            self._leave(None)

    def _leave(self, code: int | None) -> None:
        mattered, self._matters = self._matters, False
        self._owner.gone(self)
        if mattered:
            self._owner.pump(self._owner.session.exited(code))


def oneShot(onTimeout: Callable[[], Any]) -> qt.QTimer:
    """A timer that calls something once after each start."""
    timer = qt.QTimer()
    timer.setSingleShot(True)
    timer.timeout.connect(onTimeout)
    return timer


def _number(state: Any) -> int:
    """The value of an enumeration: a number in PythonQt, an Enum in PySide6."""
    return int(getattr(state, "value", state))
