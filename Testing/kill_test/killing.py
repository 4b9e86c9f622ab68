"""Runs `liverseg batch` again and again and kills it, and its processes, at random moments, until it has ended."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_WHOLE_RUN = 0.25
"""Of all kills, the share that hits the run itself; the others hit one of its processes."""


@dataclass
class Kills:
    """How often the run was started and killed, and how long all of it took."""

    starts: int = 0
    workers: int = 0
    runs: int = 0
    seconds: float = 0.0


def run_and_kill(arguments: Sequence[str], table: Path, log: Path, *, every_s: float, most: int, seed: int) -> Kills:
    """Start `liverseg` with these arguments until it ends by itself and has written its table.

    On a slow machine all processes may be killed before they are ready; then it ends with a sentence, and is started
    again as a person would.

    Args:
        arguments: of the program.
        table: is written at the end.
        log: what it says is added here.
        every_s: mean time between two kills.
        most: how many kills there are at most; then it may come to its end.
        seed: of the moments and of the victims.

    Raises:
        RuntimeError: the program ended with a defect.
    """
    dice, kills, began = random.Random(seed), Kills(), time.monotonic()
    while True:
        kills.starts += 1
        with log.open("ab") as out:
            command = [sys.executable, "-m", "LiverSegLib.cli", *arguments]
            process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        try:
            _kill_at_random(process, dice, kills, every_s, most)
        finally:
            process.kill()
            process.wait()
        if process.returncode != -signal.SIGKILL and (process.returncode not in (0, 1) or table.exists()):
            break
    kills.seconds = time.monotonic() - began
    if process.returncode not in (0, 1):
        raise RuntimeError(f"the run ended with exit status {process.returncode}; see {log}")
    return kills


def _kill_at_random(
    process: subprocess.Popen[bytes], dice: random.Random, kills: Kills, every_s: float, most: int
) -> None:
    """Until the run is over, or was the victim."""
    while process.poll() is None:
        until = time.monotonic() + dice.expovariate(1 / every_s)
        while time.monotonic() < until and process.poll() is None:
            time.sleep(0.02)
        if process.poll() is not None or kills.workers + kills.runs >= most:
            process.wait()
            return
        victims = children_of(process.pid)
        if victims and dice.random() >= _WHOLE_RUN:
            with suppress(ProcessLookupError):
                os.kill(dice.choice(victims), signal.SIGKILL)
                kills.workers += 1
        else:
            process.kill()
            process.wait()
            kills.runs += 1
            return


def children_of(pid: int) -> list[int]:
    """The processes that a process has started (Linux)."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += [int(word) for word in path.read_text().split()]
    return found
