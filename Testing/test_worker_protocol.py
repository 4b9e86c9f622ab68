"""The worker's messages, files and session, without a process."""

from __future__ import annotations

import contextlib
import json
import os
import random
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import pytest

from LiverSegLib.engine.progress import Progress
from LiverSegLib.engine.segmenter import Settings
from LiverSegLib.errors import InputError, LiverSegError, ModelError, SegmentationCancelled
from LiverSegLib.measure import Lesion, Measurements, SegmentMeasurement
from LiverSegLib.volume import Result, Volume, label_for
from LiverSegLib.worker import messages, region
from LiverSegLib.worker.convert import matrix_of, message_from, result_from
from LiverSegLib.worker.errors import KINDS, ProtocolError, WorkerError, error_from, kind_of
from LiverSegLib.worker.folder import ArrayFolder, check_private, path_in, read_array, write_array
from LiverSegLib.worker.protocol import LineBuffer, decode, encode
from LiverSegLib.worker.values import SegmentSettings

AFFINE = np.array([[0.7, 0.1, 0, -120.3], [-0.1, 0.7, 0.2, 1 / 3], [0, -0.2, 2.5, 7e-7], [0, 0, 0, 1.0]])
HELLO = messages.Hello(messages.PROTOCOL, "0.1.0", "3.12.1", "2.13.0", None, "/usr/bin/python", 7)
SEGMENT = messages.Segment(
    3, "volume-1.npy", matrix_of(AFFINE), "Bäuche/ct 1", "CT", "starter", "cpu", SegmentSettings(overlap=0.5),
    ((0, 4), (1, 3), (2, 5)), ("liver",),
)  # fmt: skip
EXAMPLES: list[messages.Message] = [
    messages.Open(1, "/tmp/ü"), HELLO, messages.ListDevices(1), messages.Load(2), SEGMENT,
    messages.Devices(1, (messages.DeviceInfo("cuda:0", "GPU", 2**36, None),)),
    messages.Loaded(2, "Starter 1.0", "cpu", False, 3.25), messages.Cancel(3), messages.Cancelled(3),
    messages.Report(3, Progress("network", 1, 7, "windows", 1.5)),
    messages.Failure(None, "ProtocolError", "No."), messages.Released(600.0), messages.Bye(),
]  # fmt: skip


def a_result() -> Result:
    labelmap = np.zeros((4, 5, 6), np.uint8, order="F")
    labelmap[1:3, 2, 3] = 1
    measured = Measurements(
        (SegmentMeasurement("liver", 2, 0.1 + 0.2),), (Lesion(1 / 3, 7.5, (-1.0, 2.0, 1e-17)),), None
    )
    labels = (label_for(1, "liver"), label_for(2, "tumor"))
    return Result(labelmap, AFFINE, labels, measured, {"network": 1.25}, ("a note",), "cpu (float32)", "Toy 1")


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


def test_settings_are_those_of_the_engine() -> None:
    mine, theirs = ([(f.name, f.default) for f in fields(kind)] for kind in (SegmentSettings, Settings))
    assert mine == theirs


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


@pytest.mark.parametrize("dtype", ["int16", ">i2", "float64", "bool", "uint8"])
def test_an_array_is_written_as_it_lies(tmp_path: Path, dtype: str) -> None:
    c_order = (np.arange(60).reshape(3, 4, 5) % 7).astype(dtype)
    views = {"c": c_order, "f": c_order.T, "strided": c_order[::2, 1:, ::-1]}
    for name, array in views.items():
        write_array(tmp_path / f"{name}.npy", array)
        for mapped in (False, True):
            back = read_array(tmp_path, f"{name}.npy", mapped)
            assert back.dtype == array.dtype
            assert np.array_equal(back, array)
            assert back.flags.c_contiguous == (name == "c")


def test_the_folder_is_private_and_goes_away(tmp_path: Path) -> None:
    folder = ArrayFolder(tmp_path)
    check_private(folder.path)
    assert os.name == "nt" or folder.path.stat().st_mode & 0o777 == 0o700
    name = folder.put(np.zeros((2, 2, 2)))
    assert (folder.path / name).is_file()
    old = tmp_path / "liverseg-worker-old"
    old.mkdir()
    os.utime(old, (0, 0))
    ArrayFolder(tmp_path).close()
    assert not old.exists()
    folder.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["../x.npy", "/x.npy", "a/b.npy", ".x.npy", "x.npz", "x.npy\n", "", "C:x.npy"])
def test_files_outside_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ProtocolError):
        path_in(tmp_path, name)


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_links_and_open_folders_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "real.npy", np.zeros(3))
    (tmp_path / "link.npy").symlink_to(tmp_path / "real.npy")
    with pytest.raises(ProtocolError, match="link"):
        read_array(tmp_path, "link.npy")
    tmp_path.chmod(0o755)
    with pytest.raises(ProtocolError, match="private"):
        check_private(tmp_path)
    with pytest.raises(ProtocolError, match="not there"):
        check_private(tmp_path / "none")


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "evil.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ProtocolError, match="cannot be read"):
        read_array(tmp_path, "evil.npy")


def test_a_region_lies_in_the_same_place() -> None:
    volume = Volume(np.arange(120).reshape(4, 5, 6), AFFINE, "ct")
    roi = region.clip_roi(((-3, 3), (2, 4), (5, 99)), (4, 5, 6), "ct")
    assert roi == ((0, 3), (2, 4), (5, 6))
    part = region.crop(volume, roi)
    assert np.allclose(part.affine @ [1, 1, 0, 1], AFFINE @ [1, 3, 5, 1])
    assert part.array[1, 1, 0] == volume.array[1, 3, 5]
    with pytest.raises(InputError, match="lies outside ct"):
        region.clip_roi(((4, 9), (0, 5), (0, 6)), (4, 5, 6), "ct")


def test_without_tumours_the_liver_is_whole() -> None:
    result = a_result()
    result.labelmap[1, 2, 3] = 2
    liver = region.keep(result, region.check_targets(["Liver"], result.labels, "Toy"))
    assert int((liver.labelmap == 1).sum()) == 2
    assert [label.name for label in liver.labels] == ["liver"]
    assert liver.measurements.lesions == ()
    with pytest.raises(InputError, match="does not segment 'spleen'; choose among liver, tumor"):
        region.check_targets(["spleen"], result.labels, "Toy")


def test_every_kind_of_error_is_ours() -> None:
    assert all(issubclass(kind, LiverSegError) for kind in KINDS.values())
    assert SegmentationCancelled in KINDS.values()
