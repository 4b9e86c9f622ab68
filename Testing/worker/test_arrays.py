"""How arrays cross from process to process, and what is left of them: nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from LiverSegLib.errors import ProtocolError
from LiverSegLib.io.leftovers import temporary_name
from LiverSegLib.worker import messages
from LiverSegLib.worker.arrays import ArrayFolder, done_from, read_array, result_from, write_array
from LiverSegLib.worker.codec import decode, encode
from LiverSegLib.worker.messages import check_file
from Testing.worker.examples import a_result

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("dtype", ["int16", ">i2", "float64", "bool", "uint8"])
def test_an_array_is_written_as_it_lies(tmp_path: Path, dtype: str) -> None:
    c_order = (np.arange(60).reshape(3, 4, 5) % 7).astype(dtype)
    views = {"c": c_order, "f": c_order.T, "strided": c_order[::2, 1:, ::-1]}
    for name, array in views.items():
        write_array(tmp_path / f"{name}.npy", array)
        for mapped in (None, "r", "c"):
            back = read_array(tmp_path / f"{name}.npy", mapped)
            assert back.dtype == array.dtype
            assert np.array_equal(back, array)
            assert back.flags.c_contiguous == (name == "c")


def test_the_folder_is_private_and_goes_away(tmp_path: Path) -> None:
    folder = ArrayFolder(tmp_path)
    assert os.name == "nt" or folder.path.stat().st_mode & 0o777 == 0o700
    name = folder.put(np.zeros((2, 2, 2)))
    assert (folder.path / name).is_file()
    folder.close()
    folder.close()
    assert not list(tmp_path.iterdir())


def test_what_a_crash_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    alive = ArrayFolder(tmp_path)
    crashed, foreign = tmp_path / temporary_name(), tmp_path / "liverseg"
    for path in (crashed, foreign):
        path.mkdir()
        (path / "volume-1.npy").touch()
    if os.name == "nt":  # where a folder without its open file may be about to get it
        (crashed / ".lock").touch()
    ArrayFolder(tmp_path).close()
    assert set(tmp_path.iterdir()) == {alive.path, foreign}
    alive.close()


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_the_folder_of_a_killed_program_is_removed_by_the_next(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; import numpy as np; "
        "from LiverSegLib.worker.arrays import ArrayFolder; "
        "folder = ArrayFolder(Path(sys.argv[1])); folder.put(np.zeros((2, 2, 2))); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False, cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(tmp_path.rglob("*.npy"))) == 1
    ArrayFolder(tmp_path).close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["../x.npy", "/x.npy", "a/b.npy", ".x.npy", "x.npz", "x.npy\n", "", "C:x.npy"])
def test_files_outside_the_folder_are_refused(name: str) -> None:
    with pytest.raises(ProtocolError):
        check_file(name)


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_links_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "real.npy", np.zeros(3))
    (tmp_path / "link.npy").symlink_to(tmp_path / "real.npy")
    with pytest.raises(ProtocolError, match=r"link\.npy cannot be read"):
        read_array(tmp_path / "link.npy")


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "evil.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ProtocolError, match="cannot be read"):
        read_array(tmp_path / "evil.npy")


def test_a_result_survives_the_way(tmp_path: Path) -> None:
    result = a_result()
    message = decode(encode(done_from(result, 5, tmp_path, warm=True)))
    assert isinstance(message, messages.Done)
    back = result_from(message, tmp_path)
    assert back.labelmap.dtype == np.uint8
    assert back.labelmap.flags.f_contiguous
    assert np.array_equal(back.labelmap, result.labelmap)
    assert np.array_equal(back.affine, result.affine)
    for name in ("labels", "measurements", "timings", "warnings", "device", "model"):
        assert getattr(back, name) == getattr(result, name)
