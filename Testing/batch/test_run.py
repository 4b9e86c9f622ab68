"""The run itself, with real processes that crash, hang, are killed for memory, or are ended by themselves."""

from __future__ import annotations

import csv
import json
import sys
import threading
import time
from pathlib import Path

import pytest

from LiverSegLib.batch.collect import collect
from LiverSegLib.batch.folder import BatchFolder, Part
from LiverSegLib.batch.history import histories, left_to_do
from LiverSegLib.batch.records import DONE, STOPPED, BatchCase
from LiverSegLib.batch.run import Count, Crew, Run
from LiverSegLib.batch.wire import Setup
from LiverSegLib.errors import OutputError, WorkerError
from LiverSegLib.request import SegmentationRequest

COMMAND = [sys.executable, "-m", "Testing.batch.standin"]


@pytest.fixture
def folder(tmp_path: Path) -> BatchFolder:
    return BatchFolder(tmp_path / "out")


def cases(*names: str) -> list[BatchCase]:
    return [BatchCase(name=name, path=Path(f"/images/{name}.nii")) for name in names]


def make(
    folder: BatchFolder,
    names: list[str],
    *,
    workers: int = 2,
    timeout_s: float = 60.0,
    model: str | None = None,
    key: str = "k",
    retry_failed: bool = False,
) -> Run:
    """A run over what is left to do of these cases."""
    every, keys = cases(*names), dict.fromkeys(names, key)
    left = left_to_do(every, keys, histories(folder.records()), folder, retry_failed=retry_failed)
    setup = Setup(out=str(folder.path), request=SegmentationRequest(model=model))
    crew = Crew(command=COMMAND, setup=setup, environments=[{}] * workers, timeout_s=timeout_s)
    return Run(left, keys, folder, Part(), crew)


def do(folder: BatchFolder, names: list[str], **how: object) -> Count:
    with folder.held(Part()):
        return make(folder, names, **how).work()  # type: ignore[arg-type]


def table(folder: BatchFolder) -> dict[str, dict[str, str]]:
    collect(folder)
    with folder.table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["name"] for row in rows}) == len(rows)
    return {row["name"]: row for row in rows}


def test_no_case_ends_the_run(folder: BatchFolder) -> None:
    names = ["a", "crash_1", "b", "memory_1", "hang_1", "exit_1", "noise_1", "flaky_1", "bad_1", "disk_1", "c"]
    count = do(folder, names, timeout_s=2.0)
    rows = table(folder)
    assert (count.done, count.failed) == (4, 7)
    assert {name for name, row in rows.items() if row["status"] == "done"} == {"a", "b", "c", "flaky_1"}
    assert rows["flaky_1"]["tries"] == "2"
    told = {name: (row["tries"], row["message"]) for name, row in rows.items()}
    assert told["bad_1"] == ("1", "bad_1 is <b>bad</b>.")  # another try would end the same way
    assert told["disk_1"][0] == "3"
    for name, reason in {
        "crash_1": "SIGSEGV, a crash of a native library",
        "memory_1": "SIGKILL, most likely because memory ran out",
        "hang_1": "longer than 2 s (--timeout)",
        "exit_1": "exit status 7",
        "noise_1": "not understood",
    }.items():
        assert reason in told[name][1]
        assert told[name][0] == "3"
    failed = [json.loads(line) for line in folder.failed.read_text().splitlines()]
    assert {entry["name"] for entry in failed} == set(names) - {"a", "b", "c", "flaky_1"}
    assert "<b>" not in folder.page.read_text()


def test_what_is_finished_is_done_again_only_when_it_must(folder: BatchFolder) -> None:
    do(folder, ["a", "b", "bad_1"])
    assert do(folder, ["a", "b", "bad_1"]).total == 0
    (folder.case("a") / "result").unlink()
    assert do(folder, ["a", "b", "bad_1"]).done == 1
    assert do(folder, ["a", "b", "bad_1"], retry_failed=True).failed == 1
    assert do(folder, ["a", "b", "bad_1"], key="another model").total == 3
    assert do(folder, ["a", "b", "bad_1"], key="another model").total == 0


def test_half_a_line_of_a_killed_run_is_no_obstacle(folder: BatchFolder) -> None:
    do(folder, ["a", "b"])
    journal = folder.journal(Part())
    journal.write_bytes(journal.read_bytes()[:-40])
    assert do(folder, ["a", "b", "c"]).done == 2
    assert do(folder, ["a", "b", "c"]).total == 0


def test_stopping_costs_no_try(folder: BatchFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    with folder.held(Part()):
        run = make(folder, ["hang_1", "hang_2", "hang_3"])
        started = time.monotonic()

        def interrupt(_: Count) -> None:
            if len(folder.records()) >= 2:
                raise KeyboardInterrupt

        monkeypatch.setattr(run, "_progress", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run.work()
    assert time.monotonic() - started < 60
    past = histories(folder.records())
    assert [(one.last.event, one.tries, one.interruptions) for one in past.values()] == [(STOPPED, 0, 0)] * 2
    assert len(left_to_do(cases("hang_1"), {"hang_1": "k"}, past, folder)) == 1


def test_two_runs_on_one_folder_do_not_fight(folder: BatchFolder) -> None:
    with folder.held(Part()):
        with pytest.raises(OutputError, match="Another run is at work"), folder.held(Part()):
            pass
        with pytest.raises(OutputError, match="number of parts"), folder.held(Part(1, 2)):
            pass
        assert not folder.is_idle()
    with folder.held(Part(1, 2)), folder.held(Part(2, 2)):
        pass
    assert folder.is_idle()


def test_parts_at_the_same_time_give_one_table(folder: BatchFolder) -> None:
    names = [f"slow_{number}" for number in range(8)]

    def part(number: int) -> None:
        mine = [name for name in names if int(name[-1]) % 2 == number - 1]
        every, keys = cases(*mine), dict.fromkeys(mine, "k")
        crew = Crew(command=COMMAND, setup=Setup(out=str(folder.path)), environments=[{}], timeout_s=60)
        with folder.held(Part(number, 2)):
            Run([(case, 0) for case in every], keys, folder, Part(number, 2), crew).work()

    threads = [threading.Thread(target=part, args=(number,)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {row["status"] for row in table(folder).values()} == {DONE}
    # Whoever goes on alone knows what both have done.
    assert do(folder, names).total == 0


def test_processes_that_cannot_work_end_the_run_with_a_sentence(folder: BatchFolder) -> None:
    with pytest.raises(WorkerError, match="There is no model gone"):
        do(folder, ["a"], model="gone")
    with pytest.raises(WorkerError, match="5 worker processes died before their first case"):
        do(folder, ["a"], model="broken")


def test_a_folder_without_a_batch_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="holds no batch"):
        collect(BatchFolder(tmp_path))
