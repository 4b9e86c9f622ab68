"""A process of a batch that does no segmentation: what its cases are called says what becomes of them.

Run as a program. It shows what a native library may do to a process, without importing one.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from LiverSegLib.batch.folder import BatchFolder
from LiverSegLib.batch.records import Found
from LiverSegLib.batch.wire import DONE, FAILED, READY, UNUSABLE, Answer, Job, Setup, line_of, read_line


def say(answer: Answer) -> None:
    sys.stdout.buffer.write(line_of(answer))
    sys.stdout.buffer.flush()


def work(job: Job, folder: BatchFolder) -> Answer:
    """Crash, hang, fail or succeed."""
    kind = job.name.partition("_")[0]
    if kind == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if kind == "memory":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "exit":
        os._exit(7)
    if kind == "hang":
        time.sleep(3600)
    if kind == "noise":
        os.write(1, b"no JSON\n")
        time.sleep(3600)
    tried = folder.path / f"{job.name}.tried"
    if kind == "flaky" and not tried.exists():
        tried.touch()
        os.kill(os.getpid(), signal.SIGSEGV)
    if kind in ("bad", "disk"):
        return Answer(kind=FAILED, name=job.name, sentence=f"{job.name} is <b>bad</b>.", final=kind == "bad")
    if kind == "slow":
        time.sleep(0.2)
    place = folder.case(job.name)
    place.mkdir(parents=True, exist_ok=True)
    with (place / "result").open("ab") as file:
        file.write(f"{os.getpid()}\n".encode())
    size = (place / "result").stat().st_size
    found = Found(model="m", device="cpu", volumes_ml={"liver": 1.0}, files={f"cases/{job.name}/result": size})
    return Answer(kind=DONE, name=job.name, seconds=0.5, found=found)


def main() -> None:
    """As `LiverSegLib.cli.batch_worker` does."""
    setup = read_line(Setup, sys.stdin.buffer.readline())
    if setup.request.model == "gone":
        say(Answer(kind=UNUSABLE, sentence="There is no model gone."))
        time.sleep(3600)
    if setup.request.model == "broken":
        os._exit(1)
    say(Answer(kind=READY))
    while line := sys.stdin.buffer.readline():
        say(work(read_line(Job, line), BatchFolder(Path(setup.out))))


if __name__ == "__main__":
    main()
