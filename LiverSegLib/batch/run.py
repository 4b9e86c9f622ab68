"""The run: cases go to processes, what comes back goes into the journal, and no case ends the run."""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from LiverSegLib.batch.folder import BatchFolder, Journal, Part
from LiverSegLib.batch.history import TRIES
from LiverSegLib.batch.process import Heard, WorkerProcess
from LiverSegLib.batch.records import DONE, FAILED, STARTED, STOPPED, BatchCase, Found, Record
from LiverSegLib.batch.wire import READY, UNUSABLE, Answer, Setup
from LiverSegLib.errors import WorkerError

_LOOK_S = 0.2
_DEATHS_AT_START = 5
"""So many processes that die one after the other before they are ready end the run: no case is to blame."""


@dataclass(frozen=True, kw_only=True)
class Crew:
    """The processes of a run.

    Args:
        command: program and arguments of each.
        setup: what each does with a case.
        environments: variables of each; there are as many processes as entries.
        timeout_s: a case that takes longer, or a start, is given up with its process.
    """

    command: Sequence[str]
    setup: Setup
    environments: Sequence[Mapping[str, str]]
    timeout_s: float


@dataclass(kw_only=True)
class Count:
    """How far a run is.

    Args:
        total: cases that it has to do.
        done, failed: how many are finished, one way or the other.
        pids: of the processes, those that live.
    """

    total: int
    done: int = 0
    failed: int = 0
    pids: list[int] = field(default_factory=list)


class Run:
    """One run over cases, in this thread.

    Args:
        cases: what is to be done, with the failed tries that each has had.
        keys: digest of each case's work, by its name.
        folder, part: where the journal and the logs are.
        crew: the processes.
        progress: called as cases are finished, and several times a second.
    """

    def __init__(
        self,
        cases: Sequence[tuple[BatchCase, int]],
        keys: Mapping[str, str],
        folder: BatchFolder,
        part: Part,
        crew: Crew,
        progress: Callable[[Count], None] = lambda _: None,
    ) -> None:
        self._waiting = deque(case for case, _ in cases)
        self._tries = {case.name: tries for case, tries in cases}
        self._keys, self._folder, self._part, self._crew = keys, folder, part, crew
        self._progress = progress
        self._inbox: queue.SimpleQueue[Heard] = queue.SimpleQueue()
        self._processes: dict[int, WorkerProcess] = {}
        self._deaths_at_start = 0
        self.count = Count(total=len(cases))

    def work(self) -> Count:
        """Do all of it.

        Raises:
            WorkerError: processes cannot start at all; the sentence says why.
            OutputError: the journal cannot be written.
        """
        self._journal = Journal(self._folder.journal(self._part))
        try:
            while self._waiting or any(process.case for process in self._processes.values()):
                self._fill()
                self._feed()
                self._hear()
                self._give_up_hanging()
                self._progress(self.count)
        finally:  # also on Ctrl-C: what was begun is told as such, so that it costs no try
            self._stop()
        return self.count

    def _fill(self) -> None:
        """Have as many processes as there is work for."""
        busy = sum(process.case is not None for process in self._processes.values())
        wanted = min(len(self._crew.environments), busy + len(self._waiting))
        for slot, environment in enumerate(self._crew.environments):
            if len(self._processes) >= wanted:
                break
            if slot not in self._processes:
                log = self._folder.log(self._part, slot)
                crew = self._crew
                self._processes[slot] = WorkerProcess(crew.command, crew.setup, environment, log, self._inbox)
        self.count.pids = [process.pid for process in self._processes.values()]

    def _feed(self) -> None:
        """Give every process that has none a case."""
        for process in self._processes.values():
            if self._waiting and process.is_ready and process.case is None:
                case = self._waiting.popleft()
                self._write(case, STARTED)
                process.give(case)

    def _hear(self) -> None:
        try:
            heard = self._inbox.get(timeout=_LOOK_S)
        except queue.Empty:
            return
        process, answer = heard.process, heard.answer
        if process not in self._processes.values():
            return
        if answer is None:
            self._bury(process)
        elif answer.kind == UNUSABLE:
            raise WorkerError(answer.sentence)
        elif answer.kind == READY:
            process.is_ready, self._deaths_at_start = True, 0
        elif process.case is not None and answer.name == process.case.name:
            self._finish(process.case, answer)
            process.case = None

    def _finish(self, case: BatchCase, answer: Answer) -> None:
        if answer.kind == DONE and answer.found is not None:
            self._write(case, DONE, seconds=answer.seconds, found=answer.found)
            self.count.done += 1
            return
        self._tries[case.name] += 1
        final = answer.final or self._tries[case.name] >= TRIES
        self._write(case, FAILED, seconds=answer.seconds, sentence=answer.sentence, final=final)
        if final:
            self.count.failed += 1
        else:
            self._waiting.append(case)  # behind all others: what disturbed it may be over by then

    def _bury(self, process: WorkerProcess) -> None:
        """A process has died; another takes its place."""
        self._processes = {slot: one for slot, one in self._processes.items() if one is not process}
        process.end()
        if process.case is not None:
            sentence = f"{process.case.path} could not be segmented: {process.fate()}; see {process.log}."
            answer = Answer(kind=FAILED, name=process.case.name, seconds=process.seconds, sentence=sentence)
            self._finish(process.case, answer)
        elif not process.is_ready:
            self._deaths_at_start += 1
            if self._deaths_at_start >= _DEATHS_AT_START:
                raise WorkerError(
                    f"{_DEATHS_AT_START} worker processes died before their first case ({process.fate()}); the last "
                    f"words are in {process.log}."
                )

    def _give_up_hanging(self) -> None:
        limit = self._crew.timeout_s
        for process in self._processes.values():
            is_idle = process.is_ready and process.case is None
            if not is_idle and not process.was_killed_for and process.seconds > limit:
                process.kill(f"it took longer than {limit:g} s (--timeout)")

    def _write(
        self,
        case: BatchCase,
        event: str,
        *,
        seconds: float = 0.0,
        sentence: str = "",
        final: bool = False,
        found: Found | None = None,
    ) -> None:
        self._journal.write(
            Record(
                name=case.name,
                input=str(case.path),
                key=self._keys[case.name],
                event=event,
                time=time.time(),
                seconds=round(seconds, 3),
                sentence=sentence,
                final=final,
                found=found,
            )
        )

    def _stop(self) -> None:
        try:
            for process in self._processes.values():
                process.kill()
            for process in self._processes.values():
                if process.case is not None:
                    self._write(process.case, STOPPED)
                process.end()
        finally:
            self._processes = {}
            self._journal.close()
