"""The client's state machine, driven by hand: no process, no waiting."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from LiverSegLib.engine.progress import Progress
from LiverSegLib.volume import Volume
from LiverSegLib.worker import events, messages
from LiverSegLib.worker.convert import message_from
from LiverSegLib.worker.errors import ProtocolError, WorkerError
from LiverSegLib.worker.events import State
from LiverSegLib.worker.protocol import decode, encode
from LiverSegLib.worker.session import WorkerSession
from Testing.worker.test_worker_protocol import AFFINE, HELLO, a_result


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


def state(session: WorkerSession) -> State:
    """The state, as a value that the type checker does not take for lasting."""
    return session.state


def files(session: WorkerSession) -> list[Path]:
    return list(session._pending.folder.glob("*.npy"))


def test_a_session_from_start_to_result(session: WorkerSession) -> None:
    request = session.segment(a_volume(), targets=["liver"])
    assert (session.state, session.needs_process) == (State.DEAD, True)
    session.started()
    assert state(session) is State.STARTING
    assert [type(m) for m in sent(session)] == [messages.Open]
    assert session.feed(encode(HELLO)[:10]) == []
    assert session.feed(encode(HELLO)[10:]) == [events.Ready(HELLO)]
    assert state(session) is State.BUSY
    (message,) = sent(session)
    assert isinstance(message, messages.Segment)
    assert message.id == request
    progress = Progress("network", 1, 2)
    assert session.feed(encode(messages.Report(request, progress))) == [events.Progressed(request, progress)]
    done = message_from(a_result(), request, session._pending.folder, warm=True)
    (event,) = session.feed(encode(done))
    assert isinstance(event, events.Finished)
    assert event.warm
    assert state(session) is State.IDLE
    assert files(session) == []


def test_cancel_before_during_and_after(session: WorkerSession, clock: FakeTime) -> None:
    first = session.segment(a_volume())
    assert session.cancel(first) == [events.Stopped(first)]
    assert not session.needs_process
    greeted(session)
    second = session.segment(a_volume())
    session.data_to_send()
    assert session.cancel(second) == session.cancel(second) == []
    assert sent(session) == [messages.Cancel(second)]
    assert state(session) is State.CANCELLING
    assert session.deadline() == pytest.approx(clock.now + 0.7)
    assert session.feed(encode(messages.Report(second, Progress("network", 1, 2)))) == []
    assert session.feed(encode(messages.Cancelled(second))) == [events.Stopped(second)]
    assert session.cancel(second) == []
    assert (session.deadline(), session.state, files(session)) == (None, State.IDLE, [])


def test_a_result_that_crosses_a_cancel_is_dropped(session: WorkerSession) -> None:
    greeted(session)
    request = session.segment(a_volume())
    session.cancel(request)
    done = message_from(a_result(), request, session._pending.folder)
    assert session.feed(encode(done)) == [events.Stopped(request)]
    assert files(session) == []


def test_a_cancel_without_answer_ends_the_process_and_keeps_the_other_requests(
    session: WorkerSession, clock: FakeTime
) -> None:
    greeted(session)
    stuck, other = session.segment(a_volume()), session.load()
    session.cancel(stuck)
    assert session.tick() == []
    clock.now += 0.8
    assert session.tick() == [events.Terminate(1.0), events.Stopped(stuck)]
    assert state(session) is State.DEAD
    assert session.needs_process
    session.started()
    session.feed(encode(HELLO))
    assert sent(session)[1:] == [messages.Load(other)]


def test_a_crash_is_one_sentence_with_the_log_beside_it(session: WorkerSession) -> None:
    greeted(session)
    request = session.segment(a_volume())
    assert session.feed_log(b"Traceback\nOops") == [events.Logged("Traceback")]
    logged, failed = session.exited(-9)
    assert logged == events.Logged("Oops")
    assert isinstance(failed, events.Failed)
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
    session.segment(a_volume())
    session.feed_log(b"reading the model\n")
    (failed,) = session.exited(1)
    assert isinstance(failed, events.Failed)
    assert "(exit code 1)" in str(failed.error)
    assert "perhaps memory ran out" in str(failed.error)


@pytest.mark.parametrize("why", ["traceback", "no volume"])
def test_an_end_with_another_reason_does_not_name_memory(session: WorkerSession, why: str) -> None:
    greeted(session)
    if why == "no volume":
        session.load()
    else:
        session.segment(a_volume())
        session.feed_log(b"Traceback (most recent call last):\n  File\nRuntimeError: x\n")
    failed = session.exited(1)[-1]
    assert isinstance(failed, events.Failed)
    assert "memory" not in str(failed.error)


def test_a_process_that_says_nothing_or_another_version(session: WorkerSession, clock: FakeTime) -> None:
    session.load()
    session.started()
    clock.now += 61
    ended, failed = session.tick()
    assert isinstance(ended, events.Terminate)
    assert isinstance(failed, events.Failed)
    assert "did not answer within 60 s while loading the model" in str(failed.error)
    session.load()
    session.started()
    other = messages.Hello(99, "9", "3.14", None, None, "python", 1)
    ended, failed = session.feed(encode(other))
    assert isinstance(ended, events.Terminate)
    assert isinstance(failed, events.Failed)
    assert "different LiverSeg versions" in str(failed.error)


def test_garbage_from_the_worker_fails_the_requests(session: WorkerSession) -> None:
    greeted(session)
    session.load()
    ended, failed = session.feed(b"Segmentation fault\n")
    assert isinstance(ended, events.Terminate)
    assert isinstance(failed, events.Failed)
    assert isinstance(failed.error, ProtocolError)


def test_stop_gives_everything_up(session: WorkerSession, tmp_path: Path) -> None:
    greeted(session)
    one, two = session.segment(a_volume()), session.list_devices()
    assert session.stop() == [events.Terminate(1.0), events.Stopped(one), events.Stopped(two)]
    assert session.stop() == []
    session.close()
    assert not list(tmp_path.iterdir())
