"""Packages whose files are no files, are not the listed ones, or lie elsewhere; and models that are no packages."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from LiverSegLib.errors import LiverSegError, ModelError
from LiverSegLib.models import find_package, read_package
from LiverSegLib.models.checksums import write_checksums
from LiverSegLib.models.weights import loaded_network
from LiverSegLib.volume import Volume
from LiverSegLib.worker.launch import worker_command
from Testing.worker_client import WorkerClient

MakePackage = Callable[..., Path]
FILES = ["configs/inference.json", "configs/metadata.json", "LICENSE", "checksums.sha256", "models/model.safetensors"]
pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")


def refusal(path: Path | str) -> str:
    with pytest.raises(ModelError) as caught:
        loaded_network(read_package(find_package(path)))
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert sentence.isprintable()
    return sentence


def put(kind: str, path: Path, outside: Path) -> None:
    """Something else in the place of a file."""
    content = path.read_bytes() if path.is_file() else b""
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "link":
        (outside / "secret").write_bytes(content)
        path.symlink_to(outside / "secret")
    else:
        path.mkdir()


@pytest.mark.parametrize("kind", ["pipe", "device", "link", "folder"])
@pytest.mark.parametrize("name", FILES)
def test_what_is_no_file_of_the_package_is_refused_at_once(
    random_package: MakePackage, tmp_path: Path, name: str, kind: str
) -> None:
    folder = random_package()
    if name != "checksums.sha256":
        (folder / "checksums.sha256").unlink()
    put(kind, folder / name, tmp_path)
    sentence = refusal(folder)
    assert str(folder / name) in sentence
    assert "cannot be part of a package" in sentence


def test_a_link_inside_the_package_is_followed(random_package: MakePackage) -> None:
    folder = random_package()
    (folder / "checksums.sha256").unlink()
    (folder / "models/model.safetensors").rename(folder / "weights")
    (folder / "models/model.safetensors").symlink_to("../weights")
    assert loaded_network(read_package(folder))


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_model_that_is_no_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    put(kind, tmp_path / "model.zip", tmp_path)
    assert "cannot be a model package: it is a folder, a pipe or a device" in refusal(tmp_path / "model.zip")


@pytest.mark.parametrize("name", ["x" * 300, "a/" * 3000, "~nosuchuser/x", "a\0b", "\udcff"])
def test_names_that_no_file_can_have(name: str) -> None:
    assert "There is no model" in refusal(name)


@pytest.mark.parametrize("name", ["configs/inference.json", "configs/metadata.json", "LICENSE", "docs/README.md"])
def test_every_listed_file_is_compared(random_package: MakePackage, name: str) -> None:
    folder = random_package()
    path = folder / name
    path.write_bytes(path.read_bytes() + b" ")
    assert f"{path} has a wrong checksum" in refusal(folder)


def test_weights_beside_the_loaded_ones_are_compared_too(random_package: MakePackage) -> None:
    folder = random_package()
    path = folder / "models/model.pt"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert f"{path} has a wrong checksum" in refusal(folder)


@pytest.mark.parametrize("name", [name for name in FILES if name != "checksums.sha256"])
def test_a_file_that_is_not_listed_is_refused(random_package: MakePackage, name: str) -> None:
    folder = random_package()
    listing = folder / "checksums.sha256"
    lines = [line for line in listing.read_text().splitlines() if not line.endswith(name)]
    listing.write_text("\n".join(lines))
    assert f"{folder / name} is not in the package's checksums.sha256" in refusal(folder)


@pytest.mark.parametrize(
    "text", ["nonsense", "0" * 64 + "  ../../x", "0" * 64 + "  /etc/passwd", "\n".join(["0" * 64 + "  a"] * 2)]
)
def test_a_list_that_is_none(random_package: MakePackage, text: str) -> None:
    folder = random_package()
    (folder / "checksums.sha256").write_text(text)
    assert "checksums.sha256 is not a checksum of a file of the package" in refusal(folder)


def test_a_list_of_sha256sum_is_understood(random_package: MakePackage) -> None:
    folder = random_package()
    listing = folder / "checksums.sha256"
    lines = [f"{line[:64]} *./{line[66:]}\r\n" for line in listing.read_text().splitlines()]
    listing.write_bytes("".join(lines).encode())
    assert loaded_network(read_package(folder))


def test_the_built_in_package_is_listed_in_full(tmp_path: Path) -> None:
    folder = tmp_path / "starter"
    shutil.copytree(find_package(None), folder)
    before = (folder / "checksums.sha256").read_text()
    write_checksums(folder)
    assert (folder / "checksums.sha256").read_text() == before


def test_a_worker_answers_to_every_path_with_a_sentence(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    # Without the limit a defect here would take the memory of the machine that runs the test.
    limited = ["sh", "-c", 'ulimit -v 16000000 && exec "$0" "$@"', *worker_command()]
    case = Volume(np.zeros((4, 4, 4), np.int16), np.eye(4))
    with WorkerClient(limited) as worker:
        for model in ("/dev/zero", str(tmp_path / "pipe"), "/", "x" * 5000, "~nosuchuser/x", "a\0b", "\ud800"):
            with pytest.raises(LiverSegError) as caught:
                worker.segment(case, model=model, device="cpu")
            assert isinstance(caught.value, ModelError), (model[:20], caught.value)
            assert len(str(caught.value)) < 1000


def test_a_nested_number_in_the_configuration_is_one_sentence(random_package: MakePackage) -> None:
    folder = random_package()
    (folder / "checksums.sha256").unlink()
    path = folder / "configs/metadata.json"
    data = json.loads(path.read_text())
    for name in ("eval_metrics", "name", "version"):
        path.write_text(json.dumps({**data, name: [[1]]}))
        assert f"the {name} [[1]]" in refusal(folder)
