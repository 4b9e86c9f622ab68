"""Ctrl-C and SIGTERM at any moment: one line, exit status 130 or 143, all results of an input or none."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from Testing.conftest import MakePackage

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
ROOT = Path(__file__).resolve().parents[2]
SEGMENT = "Stopped; inputs that were finished have all their results, the others none."
FILES = {"box.seg.nrrd", "box_labels.nii.gz", "box_measurements.csv", "box_measurements.json", "box.png"}
HANGS = 300.0
"""Seconds after which a test gives up; nothing is concluded from them."""


def start(code: str, *arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def end(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    _, errors = process.communicate(timeout=HANGS)
    return process.returncode, errors.decode()


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + HANGS
    while not condition() and process.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.002)


WRITER = """
import sys
from pathlib import Path
from LiverSegLib import stopping
from LiverSegLib.io.atomic import atomic_files

def work():
    folder, number = Path(sys.argv[1]), 0
    while True:
        number += 1
        with atomic_files(folder) as opener:
            for name in "abcdefgh":
                with opener(folder / name) as file:
                    file.write(b"%d" % number)
sys.exit(stopping.run(work))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_set_of_files_is_old_or_new_at_any_moment(tmp_path: Path, number: int) -> None:
    rng = random.Random(number)
    for attempt in range(12):
        folder = tmp_path / f"{attempt}"
        folder.mkdir()
        process = start(WRITER, folder)
        wait_for(lambda folder=folder: (folder / "h").exists(), process)  # type: ignore[misc]
        time.sleep(rng.uniform(0, 0.05))
        process.send_signal(number)
        assert end(process) == (128 + number, "Stopped.\n")
        assert {path.name for path in folder.iterdir()} == set("abcdefgh")
        assert len({path.read_bytes() for path in folder.iterdir()}) == 1


DEAF = """
import sys, threading, time
from pathlib import Path
from LiverSegLib import stopping
from LiverSegLib.io.atomic import atomic_files

def work():
    folder = Path(sys.argv[1])
    with atomic_files(folder) as opener, opener(folder / "a") as file:
        file.write(b"half")
        print("ready", flush=True)
        while True:  # as a library that takes every exception for its own
            try:
                time.sleep(1000)
            except BaseException:
                pass
sys.exit(stopping.run(work))
"""


def test_a_library_that_does_not_listen_is_left_and_cleaned_up_after(tmp_path: Path) -> None:
    process = start(DEAF, tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    for _ in range(3):  # a user who presses it again and again
        process.send_signal(signal.SIGINT)
        time.sleep(0.01)
    assert end(process) == (130, "Stopped.\n")
    assert list(tmp_path.iterdir()) == []


COMPUTING = """
import sys
import numpy as np
from LiverSegLib import stopping

def work():
    big = np.random.default_rng(0).random((6000, 6000))
    print("ready", flush=True)
    np.linalg.svd(big)  # minutes in one call, in which Python hears nothing
    return 0
sys.exit(stopping.run(work))
"""


def test_a_long_computation_is_left(tmp_path: Path) -> None:
    process = start(COMPUTING, tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTERM)
    assert end(process) == (143, "Stopped.\n")


SLOW_DISK = """
import sys, time
from LiverSegLib import stopping

def work():
    with stopping.shielded():
        print("ready", flush=True)
        time.sleep(2)
        print("in place", flush=True)
    print("never", flush=True)
    return 0
sys.exit(stopping.run(work))
"""


def test_what_is_waited_for_is_said() -> None:
    process = start(SLOW_DISK)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=HANGS)
    assert (process.returncode, output) == (130, b"in place\n")
    assert errors == b"Stopping as soon as the files of this input are in place.\n"


def test_a_program_that_is_not_stopped_ends_as_ever() -> None:
    code = "import sys; from LiverSegLib import stopping; sys.exit(stopping.run(lambda: {}))"
    assert end(start(code.format("7"))) == (7, "")
    status, errors = end(start(code.format("1 / 0")))
    assert status == 1
    assert "ZeroDivisionError" in errors


@pytest.fixture
def segmenting(tmp_path: Path, threshold_package: MakePackage) -> Callable[[], subprocess.Popen[bytes]]:
    """Starts `liverseg segment` of a small image; its output folder is tmp_path / "out"."""
    array = np.full((64, 64, 64), -100, np.int16)
    array[10:50, 10:50, 10:50] = 150
    nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "box.nii")
    package = threshold_package(overlap=0.6)

    def begin() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "LiverSegLib.cli", "segment", str(tmp_path / "box.nii"), "-o",
                   str(tmp_path / "out"), "--model", str(package), "--device", "cpu"]  # fmt: skip
        environment = {**os.environ, "LIVERSEG_CACHE": str(tmp_path / "cache")}
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    return begin


MOMENTS = ["started", "segmenting 1 inputs", "segmenting <input 1>", "staged .seg.nrrd", "staged .json", "staged .png"]


def is_reached(moment: str, folder: Path) -> bool:
    """Whether a run has come that far, as its log and its temporary files tell."""
    if moment.startswith("staged"):
        try:
            return any(folder.glob(f"out/.liverseg-*.tmp/*{moment.removeprefix('staged ')}"))
        except FileNotFoundError:  # a folder went away while it was looked into
            return False
    log = folder / "cache" / "logs" / "liverseg.log"
    return log.is_file() and moment in log.read_text()


def check_stopped(folder: Path, status: int, errors: str, number: int = signal.SIGINT) -> None:
    """All or nothing, one line, and nothing temporary; a run that was over before says so by its status."""
    found = {path.name for path in folder.glob("out/*")}
    if status == 0:
        assert found == FILES
        return
    assert (status, errors) == (128 + number, f"{SEGMENT}\n")
    assert found in (set(), FILES)


@pytest.mark.parametrize("moment", MOMENTS)
def test_ctrl_c_at_every_stage_of_a_run(
    segmenting: Callable[[], subprocess.Popen[bytes]], tmp_path: Path, moment: str
) -> None:
    process = segmenting()
    wait_for(lambda: is_reached(moment, tmp_path), process)
    process.send_signal(signal.SIGINT)
    status, errors = end(process)
    check_stopped(tmp_path, status, errors.replace("Stopped.\n", f"{SEGMENT}\n") if moment == "started" else errors)
    if moment not in ("staged .json", "staged .png"):
        assert status == 130


@pytest.mark.timing
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("share", [0.1, 0.25, 0.4, 0.55, 0.7, 0.85, 0.95])
def test_a_stop_takes_less_than_a_second(
    segmenting: Callable[[], subprocess.Popen[bytes]], tmp_path: Path, share: float, number: int
) -> None:
    began = time.monotonic()
    assert end(segmenting())[0] == 0
    whole = time.monotonic() - began
    process = segmenting()
    (tmp_path / "cache" / "logs" / "liverseg.log").unlink()
    wait_for(lambda: is_reached("started", tmp_path), process)
    time.sleep(share * whole)
    asked = time.monotonic()
    process.send_signal(number)
    status, errors = end(process)
    took = time.monotonic() - asked
    check_stopped(tmp_path, status, errors.replace("Stopped.\n", f"{SEGMENT}\n"), number)
    assert took < 1.0
