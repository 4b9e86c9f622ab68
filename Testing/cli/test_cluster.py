"""Both adapters with real processes: submitit's executor for one machine, a local Dask cluster that loses one."""

from __future__ import annotations

import csv
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from LiverSegLib.cli import cluster
from LiverSegLib.cli.batch_run import Batch
from LiverSegLib.request import SegmentationRequest
from Testing.conftest import MakePackage
from Testing.kill_test.inputs import write_inputs
from Testing.kill_test.verdict import faults

PARTS = 2


@pytest.fixture
def batch(tmp_path: Path, threshold_package: MakePackage) -> Batch:
    write_inputs(tmp_path / "images", 26)
    request = SegmentationRequest(model=str(threshold_package(labels=1)), device="cpu")
    return Batch(source=tmp_path / "images", out=tmp_path / "out", request=request, workers=1)


def truths(folder: Path) -> list[Any]:
    return write_inputs(folder / "same", 26)


def wait_for(what: Callable[[], bool], seconds: float = 300) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_slurm_parts_give_one_table(tmp_path: Path, batch: Batch) -> None:
    pytest.importorskip("submitit", reason="submitit is not installed")
    jobs = cluster.submit_to_slurm(batch, PARTS, tmp_path / "logs", cluster="local", timeout_min=10)
    cases, done, failed = (sum(numbers) for numbers in zip(*(job.result() for job in jobs), strict=True))
    assert (cases, done, failed) == (26, 25, 1)
    assert faults(batch.out, truths(tmp_path)) == []


@pytest.mark.filterwarnings("default")
def test_a_part_whose_time_is_over_is_queued_again(batch: Batch) -> None:
    submitit = pytest.importorskip("submitit", reason="submitit is not installed")
    job = cluster.PartJob(batch, 2)
    again = job.checkpoint(2)
    assert isinstance(again, submitit.helpers.DelayedSubmission)
    assert (again.function, again.args) == (job, (2,))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_dask_starts_the_part_of_a_killed_process_again(tmp_path: Path, batch: Batch) -> None:
    distributed = pytest.importorskip("distributed", reason="dask is not installed")
    how = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**how) as local, distributed.Client(local) as client:
        futures = cluster.submit_to_dask(batch, PARTS, client)
        wait_for(lambda: len(list(batch.out.glob("cases/*/thumbnail.jpg"))) >= 2)
        victim = next(iter(client.run(os.getpid).values()))
        os.kill(victim, signal.SIGKILL)
        assert sum(numbers[0] for numbers in client.gather(futures)) == 26
    assert faults(batch.out, truths(tmp_path)) == []
    with (batch.out / "table.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 26
