"""The client's state machine, driven by hand: no process, no waiting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from LiverSegLib.engine.progress import Progress
from LiverSegLib.errors import OutputError, ProtocolError, WorkerError
from LiverSegLib.request import SegmentationRequest
from LiverSegLib.volume import Volume
from LiverSegLib.worker import messages
from LiverSegLib.worker.arrays import done_from, volume_from
from LiverSegLib.worker.codec import decode, encode
from LiverSegLib.worker.messages import Cancelled, Report
from LiverSegLib.worker.session import Failed, Finished, Logged, Terminate, WorkerSession
from Testing.worker.examples import AFFINE, HELLO, a_result

REQUEST = SegmentationRequest(device="cpu", targets=("liver",))


class FakeTime:
    """A clock that a test sets."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> FakeTime:
    return FakeTime()


@pytest.fixture
def session(clock: FakeTime, tmp_path: Path) -> WorkerSession:
    return WorkerSession(clock=clock, folder_parent=tmp_path)


def a_volume() -> Volume:
    return Volume(np.zeros((2, 3, 4), np.int16), AFFINE, "ct 1", "CT")


def sent(session: WorkerSession) -> list[messages.Message]:
    return [decode(line) for line in session.data_to_send().splitlines()]


def greeted(session: WorkerSession) -> None:
    session.started()
    session.feed(encode(HELLO))
    session.data_to_send()


def files(session: WorkerSession) -> list[Path]:
    return list(session.folder.path.glob("*.npy"))


def test_a_session_from_start_to_result(session: WorkerSession) -> None:
    request = session.segment(a_volume(), REQUEST)
    assert session.needs_process
    session.started()
    assert not session.needs_process
    assert [type(m) for m in sent(session)] == [messages.Open]
    assert session.feed(encode(HELLO)[:10]) == []
    assert session.feed(encode(HELLO)[10:]) == [HELLO]
    (message,) = sent(session)
    assert isinstance(message, messages.Segment)
    assert (message.id, message.request) == (request, REQUEST)
    progress = Progress("network", 1, 2)
    assert session.feed(encode(Report(request, progress))) == [Report(request, progress)]
    done = done_from(a_result(), request, session.folder.path, warm=True)
    (event,) = session.feed(encode(done))
    assert isinstance(event, Finished)
    assert event.warm
    assert files(session) == []


def test_the_channels_of_a_volume_go_with_it_and_are_removed_with_it(session: WorkerSession) -> None:
    channels = [np.full((2, 3, 4), value, np.int16) for value in (1, 2, 3)]
    volume = Volume(channels[0], AFFINE, "t1", "MR", further=(channels[1], channels[2].transpose(2, 1, 0).T))
    request = session.segment(volume, REQUEST)
    session.started()
    session.feed(encode(HELLO))
    message = sent(session)[-1]
    assert isinstance(message, messages.Segment)
    found = volume_from(message, session.folder.path)
    assert [channel.flat[0] for channel in found.channels] == [1, 2, 3]
    assert len(files(session)) == 3
    session.feed(encode(Cancelled(request)))
    assert files(session) == []


def test_no_file_is_left_where_the_disk_fills_up(session: WorkerSession, monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.zeros((2, 3, 4), np.int16)
    put, count = session.folder.put, iter(range(9))

    def fill(channel: Any) -> str:
        if next(count):
            raise OutputError("The disk is full; free space.")
        return put(channel)

    monkeypatch.setattr(session.folder, "put", fill)
    with pytest.raises(OutputError, match="disk is full"):
        session.segment(Volume(array, AFFINE, further=(array,)), REQUEST)
    assert files(session) == []


def test_a_warm_up_goes_before_the_segmentation_that_joins_it(session: WorkerSession) -> None:
    warming = session.warm_up("starter", "cpu")
    assert session.needs_process
    request = session.segment(a_volume(), REQUEST)
    session.started()
    session.feed(encode(HELLO))
    opened, warm_up, segment = sent(session)
    assert isinstance(opened, messages.Open)
    assert warm_up == messages.WarmUp(warming, "starter", "cpu")
    assert isinstance(segment, messages.Segment)
    assert session.feed(encode(messages.Warmed(warming))) == [messages.Warmed(warming)]
    assert session.cancel(warming) == []
    done = done_from(a_result(), request, session.folder.path, warm=True)
    assert isinstance(session.feed(encode(done))[0], Finished)


def test_cancel_before_during_and_after(session: WorkerSession, clock: FakeTime) -> None:
    first = session.segment(a_volume(), REQUEST)
    assert session.cancel(first) == [Cancelled(first)]
    assert not session.needs_process
    greeted(session)
    second = session.segment(a_volume(), REQUEST)
    session.data_to_send()
    assert session.cancel(second) == session.cancel(second) == []
    assert sent(session) == [messages.Cancel(second)]
    assert session.deadline() == pytest.approx(clock.now + 0.7)
    assert session.feed(encode(Report(second, Progress("network", 1, 2)))) == []
    assert session.feed(encode(Cancelled(second))) == [Cancelled(second)]
    assert session.cancel(second) == []
    assert (session.deadline(), files(session)) == (None, [])


def test_a_result_that_crosses_a_cancel_is_dropped(session: WorkerSession) -> None:
    greeted(session)
    request = session.segment(a_volume(), REQUEST)
    session.cancel(request)
    done = done_from(a_result(), request, session.folder.path, warm=False)
    assert session.feed(encode(done)) == [Cancelled(request)]
    assert files(session) == []


def test_a_cancel_without_answer_ends_the_process_and_keeps_the_other_requests(
    session: WorkerSession, clock: FakeTime
) -> None:
    greeted(session)
    stuck, other = session.segment(a_volume(), REQUEST), session.list_devices()
    session.cancel(stuck)
    assert session.tick() == []
    clock.now += 0.8
    assert session.tick() == [Terminate(1.0), Cancelled(stuck)]
    assert session.needs_process
    session.started()
    session.feed(encode(HELLO))
    assert sent(session)[1:] == [messages.ListDevices(other)]


def test_a_crash_is_one_sentence_with_the_log_beside_it(session: WorkerSession) -> None:
    greeted(session)
    request = session.segment(a_volume(), REQUEST)
    assert session.feed_log(b"Traceback\nOops") == [Logged("Traceback")]
    logged, failed = session.exited(-9)
    assert logged == Logged("Oops")
    assert isinstance(failed, Failed)
    assert failed.id == request
    assert isinstance(failed.error, WorkerError)
    assert str(failed.error) == (
        "The segmentation process stopped unexpectedly (exit code -9) while segmenting ct 1; "
        "perhaps memory ran out; run it again or look into the log."
    )
    assert failed.details == "Traceback\nOops"
    assert session.exited(-9) == []
    assert session.feed(encode(HELLO)) == []


def test_a_silent_end_while_computing_names_memory(session: WorkerSession) -> None:
    """Slicer's Python is a launcher: of a worker that the system killed it tells exit code 1."""
    greeted(session)
    session.segment(a_volume(), REQUEST)
    session.feed_log(b"reading the model\n")
    (failed,) = session.exited(1)
    assert isinstance(failed, Failed)
    assert "(exit code 1)" in str(failed.error)
    assert "perhaps memory ran out" in str(failed.error)


@pytest.mark.parametrize("why", ["traceback", "no volume"])
def test_an_end_with_another_reason_does_not_name_memory(session: WorkerSession, why: str) -> None:
    greeted(session)
    if why == "no volume":
        session.list_devices()
    else:
        session.segment(a_volume(), REQUEST)
        session.feed_log(b"Traceback (most recent call last):\n  File\nRuntimeError: x\n")
    failed = session.exited(1)[-1]
    assert isinstance(failed, Failed)
    assert "memory" not in str(failed.error)


def test_a_process_that_says_nothing_or_another_version(session: WorkerSession, clock: FakeTime) -> None:
    session.list_devices()
    session.started()
    clock.now += 61
    ended, failed = session.tick()
    assert isinstance(ended, Terminate)
    assert isinstance(failed, Failed)
    assert "did not answer within 60 s while looking for devices" in str(failed.error)
    session.list_devices()
    session.started()
    ended, failed = session.feed(encode(messages.Hello(99, 1)))
    assert isinstance(ended, Terminate)
    assert isinstance(failed, Failed)
    assert "different LiverSeg versions" in str(failed.error)


def test_garbage_from_the_worker_fails_the_requests(session: WorkerSession) -> None:
    greeted(session)
    session.list_devices()
    ended, failed = session.feed(b"Segmentation fault\n")
    assert isinstance(ended, Terminate)
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, ProtocolError)


def test_stop_gives_everything_up(session: WorkerSession, tmp_path: Path) -> None:
    greeted(session)
    one, two = session.segment(a_volume(), REQUEST), session.list_devices()
    assert session.stop() == [Terminate(1.0), Cancelled(one), Cancelled(two)]
    assert session.stop() == []
    session.close()
    assert not list(tmp_path.iterdir())


def test_one_segmentation_at_a_time(session: WorkerSession) -> None:
    greeted(session)
    first = session.segment(a_volume(), REQUEST)
    with pytest.raises(AssertionError, match="one segmentation at a time"):
        session.segment(a_volume(), REQUEST)
    session.cancel(first)
    session.segment(a_volume(), REQUEST)
    assert len(files(session)) == 2


def test_a_request_is_encoded_once(session: WorkerSession, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[messages.Message] = []
    monkeypatch.setattr("LiverSegLib.worker.session.encode", lambda m: encoded.append(m) or encode(m))
    session.segment(a_volume(), REQUEST)
    greeted(session)
    assert [type(m) for m in encoded] == [messages.Segment, messages.Open]


def test_a_cuda_error_ends_the_process_before_anything_else_is_sent_to_it(session: WorkerSession) -> None:
    greeted(session)
    request = session.segment(a_volume(), REQUEST)
    details = "Traceback ...\ntorch.AcceleratorError: CUDA error: an illegal memory access was encountered"
    failure = messages.Failure(id=request, kind="WorkerError", sentence="It failed.", details=details)
    ended, failed = session.feed(encode(failure))
    assert isinstance(ended, Terminate)
    assert isinstance(failed, Failed)
    session.segment(a_volume(), REQUEST)
    assert session.needs_process
