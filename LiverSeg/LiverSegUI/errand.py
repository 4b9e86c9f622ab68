"""An errand on QProcess: the panel stays alive, and threads would starve in Slicer."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from LiverSegLib.errors import ProtocolError
from LiverSegLib.worker.errand import Ended, Errand, errand_command, read_line

_GRACE_MS = 3000


class ErrandProcess:
    """One errand that runs.

    Args:
        errand: what is to be done.
        environment: variables of the process beside those of this one.
        onProgress: called with each `Transfer` of a model, or `Step` of a task.
        onEnd: called once with how it `Ended`.
    """

    def __init__(
        self,
        errand: Errand,
        environment: dict[str, str],
        onProgress: Callable[[Any], None],
        onEnd: Callable[[Ended], None],
    ) -> None:
        self.errand = errand
        self._onProgress, self._onEnd = onProgress, onEnd
        self._rest, self._log = b"", b""
        self._ended: Ended | None = None
        self._process = qt.QProcess()
        self._process.readyReadStandardOutput.connect(self._onOutput)
        self._process.readyReadStandardError.connect(self._onLog)
        self._process.finished.connect(self._onFinished)
        # A program that cannot be started never finishes; one that crashes does so after this.
        self._process.errorOccurred.connect(lambda _error=None: qt.QTimer.singleShot(0, self._onFailed))
        self._killer = qt.QTimer()
        self._killer.setSingleShot(True)
        self._killer.timeout.connect(lambda: self._process.kill())
        variables = {**os.environ, **environment}
        self._process.setEnvironment([f"{name}={value}" for name, value in variables.items()])
        self._process.setWorkingDirectory(str(Path.home()))
        command = errand_command(errand)
        self._process.start(command[0], command[1:])

    def cancel(self) -> None:
        """Ask it to stop, and make it if it does not."""
        self._process.closeWriteChannel()
        self._killer.start(_GRACE_MS)

    def close(self) -> None:
        """The application ends: nobody is told of anything any more."""
        self._onProgress, self._onEnd = (lambda _said: None), (lambda _ended: None)
        self._process.closeWriteChannel()
        if not self._process.waitForFinished(700):
            self._process.kill()
            self._process.waitForFinished(700)

    def _onOutput(self) -> None:
        *lines, self._rest = (self._rest + bytes(self._process.readAllStandardOutput().data())).split(b"\n")
        for line in lines:
            try:
                said = read_line(line)
            except ProtocolError:
                continue
            if isinstance(said, Ended):
                self._ended = said
            else:
                self._onProgress(said)

    def _onLog(self) -> None:
        self._log = (self._log + bytes(self._process.readAllStandardError().data()))[-4000:]

    def _onFinished(self, _code: Any = 0, _status: Any = None) -> None:
        self._killer.stop()
        self._onOutput()
        self._onLog()
        self._end(_("The process that was to do this ended unexpectedly; try again."))

    def _onFailed(self) -> None:
        if int(getattr(self._process.state(), "value", self._process.state())) == 0:
            self._end(_("The process that was to do this could not be started; restart the application."))

    def _end(self, otherwise: str) -> None:
        onEnd, self._onEnd = self._onEnd, lambda _ended: None
        log = self._log.decode("utf-8", "replace")
        onEnd(self._ended or Ended(error="WorkerError", sentence=otherwise, details=log))
