"""How a worker process begins and ends."""

from __future__ import annotations

import time

import numpy as np
import pytest

from LiverSegLib.errors import WorkerError
from LiverSegLib.volume import Volume
from Testing.conftest import DrawCase, MakePackage
from Testing.worker.examples import OBLIQUE, SHAPE, command
from Testing.worker_client import WorkerClient

BROKEN_GPU = """
import LiverSegLib.worker.work as work
def broken(*_):
    raise RuntimeError("CUDA error: an illegal memory access was encountered")
work._segment = broken
"""


@pytest.fixture
def case(draw_case: DrawCase) -> Volume:
    return draw_case(OBLIQUE, SHAPE, np.int16)


def test_an_idle_model_is_freed(random_package: MakePackage, case: Volume) -> None:
    lines: list[str] = []
    package = random_package()
    with WorkerClient(command(idle_seconds=0.3), on_log=lines.append) as client:
        client.segment(case, model=package, device="cpu")
        hello = client.session.hello
        # Warm or not: on a busy machine it may have been idle for long enough by now.
        client.segment(case, model=package, device="cpu")
        time.sleep(0.8)
        client.segment(case, model=package, device="cpu")
        assert not client.last_warm
        assert client.session.hello is hello  # the same process: torch stays imported
    assert any("The model was idle for 0 s and is freed" in line for line in lines)


def test_after_a_cuda_error_comes_a_new_process(case: Volume) -> None:
    pids: set[int] = set()

    def note_the_process() -> bool:
        if client.session.hello is not None:
            pids.add(client.session.hello.pid)
        return False

    with WorkerClient(command(hook=BROKEN_GPU)) as client:
        for _ in range(2):
            with pytest.raises(WorkerError, match=r"failed unexpectedly \(RuntimeError\)"):
                client.segment(case, should_stop=note_the_process, device="cpu")
            assert client.session.hello is None
    assert len(pids) == 2


def test_a_program_that_cannot_be_started(case: Volume) -> None:
    with (
        WorkerClient(["/no/such/python"]) as client,
        pytest.raises(WorkerError, match="cannot be started: No such file"),
    ):
        client.segment(case)
    with (
        WorkerClient([*command()[:1], "-c", "import sys; sys.exit('no luck')"]) as client,
        pytest.raises(WorkerError, match=r"could not start \(exit code 1\) while segmenting the drawn case"),
    ):
        client.segment(case)
    assert list(client.session.log) == ["no luck"]
