"""How a worker process begins and ends."""

from __future__ import annotations

import time

import numpy as np
import pytest

from LiverSegLib.worker.client import WorkerClient
from LiverSegLib.worker.errors import WorkerError
from Testing.conftest import DrawCase, MakePackage
from Testing.worker.test_worker import OBLIQUE, SHAPE, command


def test_an_idle_model_is_freed(random_package: MakePackage) -> None:
    lines: list[str] = []
    package = random_package()
    with WorkerClient(command=command(idle_seconds=0.3), on_log=lines.append) as client:
        client.start(package, "cpu")
        hello = client.session.hello
        # Warm or not: on a busy machine it may have been idle for long enough by now.
        client.start(package, "cpu")
        time.sleep(0.8)
        assert not client.start(package, "cpu").warm
        assert client.session.hello is hello  # the same process: torch stays imported
    assert any("The model was idle for 0 s and is freed" in line for line in lines)


def test_a_program_that_cannot_be_started(draw_case: DrawCase) -> None:
    case = draw_case(OBLIQUE, SHAPE, np.int16)
    with (
        WorkerClient(command=["/no/such/python"]) as client,
        pytest.raises(WorkerError, match="cannot be started: No such file"),
    ):
        client.segment(case)
    with (
        WorkerClient(command=[*command()[:1], "-c", "import sys; sys.exit('no luck')"]) as client,
        pytest.raises(WorkerError, match=r"could not start \(exit code 1\) while segmenting the drawn case"),
    ):
        client.segment(case)
    assert list(client.session.log) == ["no luck"]
