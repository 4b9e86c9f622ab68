"""The worker process at its pipe: end-of-file, cancel while it loads, and lines that no client would write."""

from __future__ import annotations

import contextlib
import os
import queue
import random
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from LiverSegLib.request import SegmentationRequest, Settings
from LiverSegLib.volume import Volume
from LiverSegLib.worker import messages
from LiverSegLib.worker.arrays import ArrayFolder, matrix_of
from LiverSegLib.worker.codec import LineBuffer, decode, encode
from Testing.conftest import DrawCase, MakePackage
from Testing.worker.examples import OBLIQUE, SHAPE, SLOW, command

HANGS = 120.0
"""Seconds after which a test gives up; nothing is concluded from them."""


@pytest.fixture
def case(draw_case: DrawCase) -> Volume:
    return draw_case(OBLIQUE, SHAPE, np.int16)


class Pipe:
    """A worker process without session or client, to say what these never would."""

    def __init__(self, folder: Path, idle_seconds: float = 600.0) -> None:
        self.process = subprocess.Popen(
            command(idle_seconds), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._lines, self._found = LineBuffer(), queue.SimpleQueue[messages.Message]()
        assert isinstance(self.read(), messages.Hello)
        self.write(messages.Open(messages.PROTOCOL, str(folder)))

    def write(self, *items: messages.Message | bytes) -> None:
        """Write messages, or whatever bytes."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"".join(i if isinstance(i, bytes) else encode(i) for i in items))
        self.process.stdin.flush()

    def read(self) -> messages.Message:
        """The next message."""
        assert self.process.stdout is not None
        while self._found.empty():
            data = os.read(self.process.stdout.fileno(), 65536)
            assert data, "the worker ended"
            for line in self._lines.feed(data):
                assert line is not None
                self._found.put(decode(line))
        return self._found.get()

    def read_until(self, kind: type[messages.Message], stage: str = "") -> messages.Message:
        """The next message of a class, and for progress of a stage."""
        while True:
            message = self.read()
            if isinstance(message, kind) and (not stage or getattr(message, "progress").stage == stage):  # noqa: B009
                return message

    def __enter__(self) -> Pipe:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for end in (self.process.stdin, self.process.stdout):
            assert end is not None
            with contextlib.suppress(BrokenPipeError):
                end.close()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[ArrayFolder]:
    made = ArrayFolder(tmp_path)
    yield made
    made.close()


def request_for(
    volume: Volume, package: Path, folder: ArrayFolder, number: int = 1, settings: Settings = SLOW
) -> messages.Segment:
    return messages.Segment(
        number,
        volume=folder.put(volume.array),
        affine=matrix_of(volume.affine),
        request=SegmentationRequest(model=str(package), device="cpu", settings=settings),
    )


def test_end_of_file_ends_it_also_while_it_computes(
    random_package: MakePackage, case: Volume, folder: ArrayFolder
) -> None:
    with Pipe(folder.path) as pipe:
        pipe.write(request_for(case, random_package(), folder))
        pipe.read_until(messages.Report, "network")
        assert pipe.process.stdin is not None
        pipe.process.stdin.close()
        assert pipe.process.wait(HANGS) == 0
        assert pipe.process.stdout is not None
        rest = pipe.process.stdout.read()
        # It ended in the middle: no stage behind the network was begun, and no result was sent.
        assert b'"restore"' not in rest
        assert b'"type":"Done"' not in rest


def test_cancel_while_it_loads_is_answered_and_loses_nothing(
    random_package: MakePackage, case: Volume, folder: ArrayFolder
) -> None:
    with Pipe(folder.path) as pipe:
        package = random_package()
        pipe.write(request_for(case, package, folder), request_for(case, package, folder, 2))
        pipe.read_until(messages.Report, "start")
        # both, one of them twice, and one that never was
        pipe.write(*(messages.Cancel(n) for n in (1, 2, 1, 77)))
        answers = {pipe.read_until(messages.Cancelled) for _ in range(2)}
        assert answers == {messages.Cancelled(1), messages.Cancelled(2)}
        pipe.write(request_for(case, package, folder, 3, Settings()))
        found = pipe.read_until(messages.Done)
        assert isinstance(found, messages.Done)
        assert (found.id, found.warm) == (3, True)
        (folder.path / found.labelmap).unlink()
        assert not list(folder.path.glob("result*"))


def test_no_line_kills_it(random_package: MakePackage, case: Volume, folder: ArrayFolder, tmp_path: Path) -> None:
    np.save(tmp_path / "secret.npy", case.array)
    (folder.path / "link.npy").symlink_to(tmp_path / "secret.npy")
    wanted = request_for(case, random_package(), folder)
    chance = random.Random(1)
    with Pipe(folder.path) as pipe:
        for text in (b"../secret.npy", b"/etc/passwd", str(tmp_path / "secret.npy").encode()):
            pipe.write(encode(wanted).replace(wanted.volume.encode(), text))
            answer = pipe.read()
            assert isinstance(answer, messages.Failure)
            assert answer.kind == "ProtocolError"
            assert "not allowed" in answer.sentence
        noise = [chance.randbytes(chance.randrange(200)).replace(b"\n", b"") + b"\n" for _ in range(300)]
        pipe.write(*noise, b"x" * 20_000_000 + b"\n", messages.Cancel(9), messages.Open(99, "/"))
        pipe.write(replace(wanted, id=5, volume="link.npy"))
        refused = [pipe.read() for _ in range(len(noise) + 2)]
        assert all(isinstance(m, messages.Failure) and m.id is None for m in refused)
        linked = pipe.read_until(messages.Failure)
        assert isinstance(linked, messages.Failure)
        assert (linked.id, linked.kind) == (5, "ProtocolError")
        assert "link.npy cannot be read" in linked.sentence
