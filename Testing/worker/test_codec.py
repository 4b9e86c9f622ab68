"""The worker's messages as lines."""

from __future__ import annotations

import contextlib
import json
import random
from dataclasses import asdict

import pytest

from LiverSegLib import errors
from LiverSegLib.engine.progress import Progress
from LiverSegLib.errors import LiverSegError, ModelError, ProtocolError, WorkerError
from LiverSegLib.request import SegmentationRequest, Settings
from LiverSegLib.system import DeviceInfo
from LiverSegLib.worker import messages
from LiverSegLib.worker.arrays import matrix_of
from LiverSegLib.worker.codec import LineBuffer, decode, encode
from Testing.worker.examples import AFFINE, HELLO

SEGMENT = messages.Segment(
    3,
    volume="volume-1.npy",
    affine=matrix_of(AFFINE),
    name="Bäuche/ct 1",
    modality="CT",
    further=("volume-2.npy",),
    request=SegmentationRequest(
        model="starter",
        device="cpu",
        region=((0, 4), (1, 3), (2, 5)),
        targets=("liver",),
        settings=Settings(overlap=0.5),
    ),
)
EXAMPLES: list[messages.Message] = [
    messages.Open(1, "/tmp/ü"),
    HELLO,
    messages.ListDevices(1),
    messages.WarmUp(2, "starter", "cpu"),
    messages.WarmUp(2, None, "auto"),
    messages.Warmed(2),
    SEGMENT,
    messages.Devices(1, (DeviceInfo(name="cuda:0", title="GPU", free_bytes=2**36, total_bytes=None),)),
    messages.Cancel(3),
    messages.Cancelled(3),
    messages.Report(3, Progress("network", 1, 7, "windows", 1.5)),
    messages.Failure(id=None, kind="ProtocolError", sentence="No."),
]


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda m: type(m).__name__)
def test_a_message_survives_the_line(message: messages.Message) -> None:
    line = encode(message)
    assert line.count(b"\n") == 1
    assert decode(line) == message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"type": "dance"}, "'dance' is unknown"),
        ({"type": None}, "None is unknown"),
        ({"id": None}, "Segment.id should be of type int"),
        ({"id": True}, "Segment.id should be of type int"),
        ({"id": 0}, "ids count from 1"),
        ({"color": 1}, "unknown field 'color'"),
        ({"affine": [[1, 0, 0, 0]]}, "should have 4 items, not 1"),
        ({"affine": 7}, "Segment.affine"),
        ({"volume": "../other.npy"}, "'../other.npy' is not allowed"),
        ({"volume": "/etc/passwd"}, "not allowed"),
        ({"further": ["../other.npy"]}, "'../other.npy' is not allowed"),
        ({"further": "volume-2.npy"}, "Segment.further"),
        ({"request": {"settings": {"overlap": 2}}}, "overlap 2 is not allowed"),
        ({"request": {"settings": 1}}, "Segment.request.settings should be an object"),
        ({"request": {"region": [[0, 1], [0, 1]]}}, "should have 3 items"),
        ({"request": {"targets": ["liver", 3]}}, "Segment.request.targets[1] should be of type str"),
    ],
)
def test_a_wrong_message_is_refused_in_a_sentence(change: dict[str, object], words: str) -> None:
    data = {"type": "Segment", **asdict(SEGMENT), **change}
    with pytest.raises(ProtocolError) as caught:
        decode(json.dumps(data).encode())
    assert words in str(caught.value)


@pytest.mark.parametrize("line", [b"", b"[]", b"{", b'{"type":"Cancel","id":NaN}', b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_message_is_refused(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(line)


def test_random_lines_only_ever_raise_protocol_errors() -> None:
    chance = random.Random(0)
    for _ in range(2000):
        line = bytearray(encode(chance.choice(EXAMPLES)))
        for _ in range(chance.randint(1, 6)):
            line[chance.randrange(len(line))] = chance.randrange(256)
        with contextlib.suppress(ProtocolError):
            decode(bytes(line))


def test_not_a_number_is_not_sent() -> None:
    with pytest.raises(ProtocolError, match="Report cannot be sent"):
        encode(messages.Report(1, Progress("network", 1, 7, "windows", float("nan"))))


def test_lines_are_cut_wherever_the_bytes_break_and_long_ones_dropped() -> None:
    buffer = LineBuffer(limit=8)
    found = [line for byte in b"one\n123456789\ntwo\n\nrest" for line in buffer.feed(bytes([byte]))]
    assert found == [b"one", None, b"two", b""]
    assert LineBuffer(limit=8).feed(b"123456789\nok\n") == [None, b"ok"]


def test_an_error_keeps_its_class() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    assert len(kinds) >= 8
    for kind in kinds:
        assert issubclass(kind, LiverSegError)
        assert type(messages.Failure.of(kind("No.")).error) is kind

    class SpecialError(ModelError):
        pass

    assert messages.Failure.of(SpecialError("No.")).kind == "ModelError"
    assert type(messages.Failure(id=None, kind="Surprise", sentence="No.").error) is WorkerError
