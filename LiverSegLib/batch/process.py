"""One process that segments, seen from the run: started, given cases, listened to, killed."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from LiverSegLib.batch.records import BatchCase
from LiverSegLib.batch.wire import Answer, Job, Setup, line_of, read_line
from LiverSegLib.errors import ProtocolError, WorkerError
from LiverSegLib.io.atomic import told


@dataclass(frozen=True)
class Heard:
    """Something that a process said; None is its end."""

    process: WorkerProcess
    answer: Answer | None


class WorkerProcess:
    """A process of the run, which ends when its standard input does.

    Args:
        command: program and arguments.
        setup: its first line.
        environment: variables that it gets beside ours.
        log: where its standard error goes; the file begins anew.
        inbox: takes what it says.
    """

    def __init__(
        self,
        command: Sequence[str],
        setup: Setup,
        environment: Mapping[str, str],
        log: Path,
        inbox: queue.SimpleQueue[Heard],
    ) -> None:
        self.log = log
        self.case: BatchCase | None = None
        self.since = time.monotonic()
        self.is_ready = False
        self.was_killed_for = ""
        with told(log):
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("wb") as errors:
                try:
                    self._process = subprocess.Popen(
                        list(command),
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=errors,
                        env={**os.environ, **environment},
                    )
                except OSError as error:
                    raise WorkerError(f"A worker process could not be started ({error}); see {log}.") from error
        threading.Thread(target=self._listen, args=(inbox,), name="listen", daemon=True).start()
        self._send(line_of(setup))

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    @property
    def seconds(self) -> float:
        """Since it was given its case, or started."""
        return time.monotonic() - self.since

    def give(self, case: BatchCase) -> None:
        """Hand over a case; one at a time."""
        self.case, self.since = case, time.monotonic()
        self._send(line_of(Job(name=case.name, path=os.path.abspath(case.path))))  # noqa: PTH100 (a link stays one)

    def kill(self, why: str = "") -> None:
        """End it at once; `why` is told of its case."""
        self.was_killed_for = why
        with contextlib.suppress(OSError):
            self._process.kill()

    def end(self) -> None:
        """Wait for its end, which is near, and close the pipes."""
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def fate(self) -> str:
        """How it ended, in words; after `end`."""
        if self.was_killed_for:
            return self.was_killed_for
        code = self._process.returncode
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                return f"the process was ended by {signal.Signals(-code).name}{_LIKELY.get(-code, '')}"
        return f"the process ended by itself (exit status {code})"

    def _send(self, line: bytes) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it has died: that is heard, too
            self._process.stdin.write(line)
            self._process.stdin.flush()

    def _listen(self, inbox: queue.SimpleQueue[Heard]) -> None:
        assert self._process.stdout is not None
        try:
            for line in self._process.stdout:
                inbox.put(Heard(self, read_line(Answer, line)))
        except ProtocolError as error:
            self.kill(f"the process said what is not understood ({error})")
        except (OSError, ValueError):  # the pipe was closed
            pass
        inbox.put(Heard(self, None))


_LIKELY = {
    9: ", most likely because memory ran out",
    11: ", a crash of a native library",
    6: ", a native library gave up",
}
