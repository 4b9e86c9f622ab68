"""How arrays cross from process to process, and the box and labels that a request may choose."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from LiverSegLib.worker.errors import ProtocolError
from LiverSegLib.worker.folder import ArrayFolder, check_private, path_in, read_array, write_array


@pytest.mark.parametrize("dtype", ["int16", ">i2", "float64", "bool", "uint8"])
def test_an_array_is_written_as_it_lies(tmp_path: Path, dtype: str) -> None:
    c_order = (np.arange(60).reshape(3, 4, 5) % 7).astype(dtype)
    views = {"c": c_order, "f": c_order.T, "strided": c_order[::2, 1:, ::-1]}
    for name, array in views.items():
        write_array(tmp_path / f"{name}.npy", array)
        for mapped in (None, "r", "c"):
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
    folder.close()
    folder.close()
    assert not list(tmp_path.iterdir())


def test_what_a_crash_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    alive = ArrayFolder(tmp_path)
    new, old, crashed = (tmp_path / f"liverseg-worker-{name}" for name in ("new", "old", "crashed"))
    for path in (new, old, crashed):
        path.mkdir()
    (crashed / ".lock").touch()
    os.utime(old, (0, 0))
    ArrayFolder(tmp_path).close()
    assert {path.name for path in tmp_path.iterdir()} == {alive.path.name, new.name}
    alive.close()


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
