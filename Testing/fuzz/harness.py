"""Runs a fuzz target's cases in child processes that may crash, hang or ask for all memory.

A target is a module of this package with

    def case(seed: int, number: int, folder: Path) -> str
        Makes input number `number` in the empty `folder`, hands it to the code under test and returns what came of
        it in a word, for example "read" or "refused". A LiverSegError may simply pass: `refusal` judges its
        sentence. Any other exception is an escape. The same seed and number always make the same input.

    def run(seed: int, count: int, first: int = 0) -> Report
        `return harness.run(__name__, seed, count, first)`, with `Limits` of its own where it needs others.

    COUNT = 500
        How many cases it does in some minutes.
"""

from __future__ import annotations

import importlib
import json
import os
import queue
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from LiverSegLib.errors import LiverSegError

ROOT = Path(__file__).resolve().parents[2]
# The child may import torch and MONAI first, on a machine that does other things too.
_START_SECONDS = 300


@dataclass(frozen=True)
class Limits:
    """What one case may take. `grown` bytes of memory above what the child held before; `seconds` of time."""

    grown: int = 1 << 30
    seconds: float = 60


@dataclass(frozen=True)
class Escape:
    """A case that ended in neither a result nor a sentence: its number, how it ended, and the last lines of why."""

    number: int
    kind: str
    detail: str


@dataclass
class Report:
    """What came of a run: how many cases ended how, and those that should not have."""

    target: str
    seed: int
    outcomes: Counter[str] = field(default_factory=Counter)
    escapes: list[Escape] = field(default_factory=list)

    @property
    def cases(self) -> int:
        """How many cases ran."""
        return self.outcomes.total() + len(self.escapes)

    def __str__(self) -> str:
        name = self.target.rpartition(".")[2]
        counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(self.outcomes.items()))
        lines = [f"{name}, seed {self.seed}: {self.cases} cases, {counts or 'none done'}, {len(self.escapes)} escapes"]
        for escape in self.escapes:
            again = f"python -m Testing.fuzz {name} --seed {self.seed} --first {escape.number} --count 1"
            lines.append(f"{escape.kind} ({again})\n    " + escape.detail.strip().replace("\n", "\n    "))
        return "\n".join(lines)


def refusal(error: LiverSegError) -> str:
    """ "refused", if the error is one plain sentence of bounded length.

    Raises:
        AssertionError: it is not.
    """
    text = str(error)
    if not text.endswith(".") or len(text) > 2000 or not text.isprintable():
        raise AssertionError(f"no plain sentence: {text[:300]!r}")
    if re.search(r"does not fit into memory", text):
        raise AssertionError(f"a small input asked for too much memory: {text[:300]!r}")
    return "refused"


def run(target: str, seed: int, count: int, first: int = 0, limits: Limits | None = None) -> Report:
    """Run cases first ... first + count - 1 of a target.

    Args:
        target: the module's name, for example "Testing.fuzz.images".
        seed: any whole number.
        count: how many cases.
        first: number of the first one.
        limits: what one case may take.

    Returns:
        The report. A child that dies or hangs is an escape of the case that it was at; a new one goes on.
    """
    limits = limits or Limits()
    report = Report(target, seed)
    number = first
    while number < first + count:
        number = _run_child(report, number, first + count, limits)
    return report


def _run_child(report: Report, number: int, stop: int, limits: Limits) -> int:
    """Let one child do cases number ... stop - 1, and return the number after the last one that it came to."""
    command = [sys.executable, "-m", "Testing.fuzz.harness", report.target, str(report.seed), str(number), str(stop)]
    with tempfile.TemporaryFile() as log, tempfile.TemporaryDirectory(prefix="liverseg-fuzz-") as folder:
        child = subprocess.Popen(
            [*command, str(limits.grown), folder],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            env=_environment(),
        )
        assert child.stdout is not None
        lines: queue.Queue[bytes | None] = queue.Queue()
        pump = threading.Thread(target=_pump, args=(child.stdout, lines), daemon=True)
        pump.start()
        ended = "ended"
        try:
            _expect(lines, _START_SECONDS)
            while number < stop:
                answer = json.loads(_expect(lines, limits.seconds))
                number = _note(report, number, answer)
        except queue.Empty:
            ended = f"hang of more than {limits.seconds:g} s"
        except EOFError:
            child.wait()
            ended = f"signal {-child.returncode}" if child.returncode < 0 else f"exit status {child.returncode}"
        finally:
            child.kill()
            child.wait()
            pump.join(_START_SECONDS)
        if number < stop:
            log.seek(0)
            report.escapes.append(Escape(number, ended, _tail(log)))
            number += 1
    return number


def _note(report: Report, number: int, answer: dict[str, Any]) -> int:
    if answer["escape"]:
        report.escapes.append(Escape(number, answer["outcome"], answer["detail"]))
    else:
        report.outcomes[answer["outcome"]] += 1
    return number + 1


def _environment() -> dict[str, str]:
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def _pump(stream: IO[bytes], lines: queue.Queue[bytes | None]) -> None:
    with stream:
        for line in stream:
            lines.put(line)
        lines.put(None)


def _expect(lines: queue.Queue[bytes | None], seconds: float) -> bytes:
    line = lines.get(timeout=seconds)
    if line is None:
        raise EOFError
    return line


def _tail(log: IO[bytes]) -> str:
    return log.read()[-3000:].decode("utf-8", "replace")


# The child's half.


def _child(target: str, seed: int, first: int, stop: int, grown: int, folder: Path) -> None:
    """Do the cases and write one line of JSON for each."""
    import faulthandler

    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # whatever a library prints must not mix with the answers
    faulthandler.enable()
    module = importlib.import_module(target)
    _limit_memory(grown)
    print(json.dumps("ready"), file=answers)
    for number in range(first, stop):
        room = folder / str(number)
        room.mkdir()
        before = _peak_memory(reset=True)
        started = time.monotonic()
        answer = _judge(module, seed, number, room)
        taken = _peak_memory() - before
        if taken > grown and not answer["escape"]:
            seconds = time.monotonic() - started
            detail = f"{taken >> 20} MiB in {seconds:.1f} s, then {answer['outcome']}"
            answer = {"escape": True, "outcome": "memory", "detail": detail}
        print(json.dumps(answer), file=answers)
        _empty(room)


def _judge(module: Any, seed: int, number: int, room: Path) -> dict[str, Any]:
    import traceback

    try:
        try:
            outcome = module.case(seed, number, room)
        except LiverSegError as error:
            outcome = refusal(error)
    except Exception as error:
        return {"escape": True, "outcome": type(error).__name__, "detail": traceback.format_exc(limit=-6)[-3000:]}
    return {"escape": False, "outcome": outcome, "detail": ""}


def _empty(room: Path) -> None:
    import shutil

    shutil.rmtree(room, ignore_errors=True)


def _limit_memory(grown: int) -> None:
    """No request for memory may come near what the machine has; twice the limit, so that we see by how much."""
    try:
        import resource
    except ImportError:  # Windows: only the peak is looked at, afterwards
        return
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return  # macOS takes no notice of this limit
    limit = pages * resource.getpagesize() + 2 * grown + (1 << 30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _peak_memory(*, reset: bool = False) -> int:
    """Most bytes of memory held since the last reset, 0 where the system does not tell."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return int(re.search(r"VmHWM:\s*(\d+)", status)[1]) * 1024  # type: ignore[index]


if __name__ == "__main__":
    name, *numbers, place = sys.argv[1:]
    _child(name, *(int(n) for n in numbers), Path(place))  # type: ignore[call-arg, arg-type]
