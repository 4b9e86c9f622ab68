"""What the journal says of a case: tries, interruptions, changes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from LiverSegLib.batch.fingerprint import key_of, work_key
from LiverSegLib.batch.folder import BatchFolder
from LiverSegLib.batch.history import INTERRUPTIONS, TRIES, histories, left_to_do
from LiverSegLib.batch.records import DONE, FAILED, STARTED, STOPPED, BatchCase, Record
from LiverSegLib.request import SegmentationRequest, Settings

CASE = BatchCase(name="a", path=Path("a.nii"))


def records(*events: str, key: str = "k") -> list[Record]:
    return [
        Record(name="a", input="a.nii", key=key, event=event, time=float(number), sentence="bad." * (event == FAILED))
        for number, event in enumerate(events)
    ]


@pytest.mark.parametrize(
    ("events", "left"),
    [
        ((), True),
        ((STARTED,), True),
        ((STARTED, FAILED) * (TRIES - 1), True),
        ((STARTED, FAILED) * TRIES, False),
        ((STARTED, FAILED) * TRIES + (STARTED,), False),
        ((STARTED, STOPPED) * 20, True),
        ((STARTED,) * INTERRUPTIONS, True),
        ((STARTED,) * (INTERRUPTIONS + 1), False),
        ((STARTED, DONE), True),  # its record tells no files
    ],
)
def test_what_is_left_to_do(events: tuple[str, ...], left: bool, tmp_path: Path) -> None:
    past = histories(records(*events))
    assert bool(left_to_do([CASE], {"a": "k"}, past, BatchFolder(tmp_path))) is left
    assert left_to_do([CASE], {"a": "changed"}, past, BatchFolder(tmp_path)) == [(CASE, 0)]


def test_a_case_that_ends_every_run_is_told_of() -> None:
    history = histories(records(*[STARTED] * (INTERRUPTIONS + 1)))["a"]
    assert history.has_failed
    assert history.sentence == "a.nii was at work at 10 sudden ends of the run; look at it by itself."


def test_a_line_survives_names_that_are_no_text() -> None:
    record = Record(name="a", input=os.fsdecode(b"\xff.nii"), key="k", event=STARTED, time=1.0)
    assert Record.read(record.line()) == record
    assert Record.read(record.line()[:-5]) is None
    assert Record.read(b'{"name": 3}\n') is None


def test_the_key_tells_changes_of_input_model_and_settings(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(b"1")
    image, request = tmp_path / "a.nii", SegmentationRequest()
    image.write_bytes(b"one")

    def key(asked: SegmentationRequest = request) -> str:
        return key_of(image, work_key(asked, [tmp_path / "model"], []))

    keys = [
        key(),
        key(SegmentationRequest(targets=("liver",))),
        key(SegmentationRequest(settings=Settings(overlap=0.1))),
    ]
    (tmp_path / "model" / "weights").write_bytes(b"2")
    keys.append(key())
    image.write_bytes(b"other")
    keys.append(key())
    assert len(set(keys)) == len(keys)
    assert key(SegmentationRequest(device="cpu")) == key()
    before = key()
    moved = tmp_path / "moved" / "a.nii"
    moved.parent.mkdir()
    image.rename(moved)
    assert key_of(moved, work_key(request, [tmp_path / "model"], [])) == before


def test_the_key_of_a_series_tells_one_more_slice(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"1.2.{number}").write_bytes(b"x")
    before = key_of(tmp_path / "1.2.0", "w")
    (tmp_path / "1.2.3").write_bytes(b"x")
    assert key_of(tmp_path / "1.2.0", "w") != before
    assert key_of(tmp_path / "gone.nii", "w") != key_of(tmp_path / "1.2.0", "w")
