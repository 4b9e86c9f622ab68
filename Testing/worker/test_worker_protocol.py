"""The worker's messages, files and session, without a process."""

from __future__ import annotations

import contextlib
import json
import random
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from LiverSegLib.engine.progress import Progress
from LiverSegLib.errors import LiverSegError, ModelError, SegmentationCancelled
from LiverSegLib.measure import Lesion, Measurements, SegmentMeasurement
from LiverSegLib.request import Settings
from LiverSegLib.volume import Result, label_for
from LiverSegLib.worker import messages
from LiverSegLib.worker.convert import matrix_of, message_from, result_from
from LiverSegLib.worker.errors import KINDS, ProtocolError, WorkerError, error_from, kind_of
from LiverSegLib.worker.protocol import LineBuffer, decode, encode

AFFINE = np.array([[0.7, 0.1, 0, -120.3], [-0.1, 0.7, 0.2, 1 / 3], [0, -0.2, 2.5, 7e-7], [0, 0, 0, 1.0]])
HELLO = messages.Hello(messages.PROTOCOL, "0.1.0", "3.12.1", "2.13.0", None, "/usr/bin/python", 7)
SEGMENT = messages.Segment(
    3, "volume-1.npy", matrix_of(AFFINE), "Bäuche/ct 1", "CT", "starter", "cpu", Settings(overlap=0.5),
    ((0, 4), (1, 3), (2, 5)), ("liver",),
)  # fmt: skip
EXAMPLES: list[messages.Message] = [
    messages.Open(1, "/tmp/ü"),
    HELLO,
    messages.ListDevices(1),
    messages.Load(2),
    SEGMENT,
    messages.Devices(1, (messages.DeviceInfo("cuda:0", "GPU", 2**36, None),)),
    messages.Loaded(2, "Starter 1.0", "cpu", False, 3.25),
    messages.Cancel(3),
    messages.Cancelled(3),
    messages.Report(3, Progress("network", 1, 7, "windows", 1.5)),
    messages.Failure(None, "ProtocolError", "No."),
    messages.Released(600.0),
    messages.Bye(),
]


def a_result() -> Result:
    labelmap = np.zeros((4, 5, 6), np.uint8, order="F")
    labelmap[1:3, 2, 3] = 1
    measured = Measurements(
        segments=(SegmentMeasurement(name="liver", voxels=2, volume_ml=0.1 + 0.2),),
        lesions=(Lesion(volume_ml=1 / 3, longest_diameter_mm=7.5, center_ras=(-1.0, 2.0, 1e-17)),),
    )
    labels = (label_for(1, "liver"), label_for(2, "tumor"))
    return Result(
        labelmap=labelmap,
        affine=AFFINE,
        labels=labels,
        measurements=measured,
        timings={"network": 1.25},
        warnings=("a note",),
        device="cpu (float32)",
        model="Toy 1",
    )


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
        ({"id": None}, "segment.id should be of type int"),
        ({"id": True}, "segment.id should be of type int"),
        ({"id": 0}, "ids count from 1"),
        ({"colour": 1}, "unknown field 'colour'"),
        ({"affine": [[1, 0, 0, 0]]}, "should have 4 items, not 1"),
        ({"affine": 7}, "segment.affine"),
        ({"volume": "../other.npy"}, "'../other.npy' is not allowed"),
        ({"volume": "/etc/passwd"}, "not allowed"),
        ({"settings": {"overlap": 2}}, "overlap 2 is not allowed"),
        ({"settings": 1}, "segment.settings should be an object"),
        ({"roi": [[0, 1], [0, 1]]}, "should have 3 items"),
        ({"targets": ["liver", 3]}, "segment.targets[1] should be of type str"),
    ],
)
def test_a_wrong_message_is_refused_in_a_sentence(change: dict[str, object], words: str) -> None:
    data = {"type": "segment", **asdict(SEGMENT), **change}
    with pytest.raises(ProtocolError) as caught:
        decode(json.dumps(data).encode())
    assert words in str(caught.value)


@pytest.mark.parametrize("line", [b"", b"[]", b"{", b'{"type":"cancel","id":NaN}', b"\xff\xfe", b"[" * 100_000])
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
    with pytest.raises(ProtocolError, match="released cannot be sent"):
        encode(messages.Released(float("nan")))


def test_lines_are_cut_wherever_the_bytes_break_and_long_ones_dropped() -> None:
    buffer = LineBuffer(limit=8)
    found = [line for byte in b"one\n123456789\ntwo\n\nrest" for line in buffer.feed(bytes([byte]))]
    assert found == [b"one", None, b"two", b""]
    assert LineBuffer(limit=8).feed(b"123456789\nok\n") == [None, b"ok"]


def test_an_error_keeps_its_class() -> None:
    for kind in KINDS.values():
        assert type(error_from(kind_of(kind("No.")), "No.")) is kind

    class SpecialError(ModelError):
        pass

    assert kind_of(SpecialError("No.")) == "ModelError"
    assert type(error_from("Surprise", "No.")) is WorkerError


def test_a_result_survives_the_way(tmp_path: Path) -> None:
    result = a_result()
    message = decode(encode(message_from(result, 5, tmp_path)))
    assert isinstance(message, messages.Done)
    back = result_from(message, tmp_path)
    assert back.labelmap.dtype == np.uint8
    assert back.labelmap.flags.f_contiguous
    assert np.array_equal(back.labelmap, result.labelmap)
    assert np.array_equal(back.affine, result.affine)
    for name in ("labels", "measurements", "timings", "warnings", "device", "model"):
        assert getattr(back, name) == getattr(result, name)


def test_every_kind_of_error_is_ours() -> None:
    assert all(issubclass(kind, LiverSegError) for kind in KINDS.values())
    assert SegmentationCancelled in KINDS.values()
