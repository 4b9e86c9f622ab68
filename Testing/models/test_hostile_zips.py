"""Archives from strangers: nothing is written outside, nothing huge is unpacked, nothing half is left."""

from __future__ import annotations

import random
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from LiverSegLib.errors import ModelError
from LiverSegLib.models import archive, read_package

MakePackage = Callable[..., Path]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of our own, deep enough for ../ to end inside the test's folder."""
    folder = tmp_path / "a" / "b" / "cache"
    folder.mkdir(parents=True)
    monkeypatch.setenv("LIVERSEG_CACHE", str(folder))
    return folder


@pytest.fixture
def zipped(random_package: MakePackage, tmp_path: Path) -> Path:
    """A sound package as a zip, to be spoilt."""
    folder, path = random_package(), tmp_path / "package.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for source in sorted(p for p in folder.rglob("*") if p.is_file()):
            file.write(source, source.relative_to(folder).as_posix())
    return path


def refusal(path: Path, cache: Path) -> str:
    """What a user reads, after nothing was left in the cache."""
    with pytest.raises(ModelError) as caught:
        read_package(path)
    assert [p for p in cache.rglob("*") if p.is_file() or p.parent.name == "packages"] == []
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "../evil.txt",
        "configs/../../evil.txt",
        "/tmp/liverseg-evil.txt",
        "..\\evil.txt",
        "a\\..\\..\\evil.txt",
        "C:\\evil.txt",
        "c:evil.txt",
        "\\\\server\\share\\evil.txt",
        "\\evil.txt",
        "models/model.pt:stream",
    ],
)
def test_paths_that_lead_outside(zipped: Path, cache: Path, tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(zipped, "a") as file:
        file.writestr(zipfile.ZipInfo(name), "evil")
    before = {p for p in tmp_path.rglob("*") if "cache" not in p.parts}
    assert "which leads outside; it is not unpacked" in refusal(zipped, cache)
    assert {p for p in tmp_path.rglob("*") if "cache" not in p.parts} == before
    assert not Path("/tmp/liverseg-evil.txt").exists()


@pytest.mark.parametrize("target", ["/etc/passwd", "../../secret", "configs"])
def test_links(zipped: Path, cache: Path, target: str) -> None:
    link = zipfile.ZipInfo("models/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(zipped, "a") as file:
        file.writestr(link, target)
    assert "holds the link 'models/link'" in refusal(zipped, cache)


@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_pipes_and_devices(zipped: Path, cache: Path, kind: int) -> None:
    member = zipfile.ZipInfo("models/thing")
    member.external_attr = (kind | 0o666) << 16
    with zipfile.ZipFile(zipped, "a") as file:
        file.writestr(member, "")
    assert "holds 'models/thing', which is no file" in refusal(zipped, cache)


@pytest.mark.parametrize("name", ["\x1b[31mred/a", "configs/\x07", "x" * 250])
def test_odd_names(zipped: Path, cache: Path, name: str) -> None:
    with zipfile.ZipFile(zipped, "a") as file:
        file.writestr(zipfile.ZipInfo(name), "")
    sentence = refusal(zipped, cache)
    assert "which is odd; it is not unpacked" in sentence
    assert sentence.isprintable()


def declare(zipped: Path, *, size: int | None = None, packed: int | None = None) -> None:
    """Make the central directory tell lies about the first file's sizes."""
    data = bytearray(zipped.read_bytes())
    at = data.index(b"PK\x01\x02")
    if packed is not None:
        struct.pack_into("<I", data, at + 20, packed)
    if size is not None:
        struct.pack_into("<I", data, at + 24, size)
    zipped.write_bytes(data)


def test_ten_gigabytes_of_zeros(tmp_path: Path, cache: Path) -> None:
    # Ten megabytes of zeros, packed once; then a thousand entries in the directory that all point to it.
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("models/model.pt", bytes(10_000_000))
        file.filelist *= 1000
    assert "would unpack to 10.0 GB from" in refusal(path, cache)


def test_a_bomb_that_hides_its_ratio(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("models/zeros", bytes(100_000_000))
        file.writestr("configs/inference.json", "{}")
    declare(path, packed=0x7FFFFFFF)
    assert "would unpack to 0.1 GB from 0.1 MB" in refusal(path, cache)


@pytest.mark.parametrize("size", [0, 1, 100_000_000])
def test_sizes_that_are_lies(zipped: Path, cache: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_RATIO", 1e9)
    declare(zipped, size=size)
    assert any(words in refusal(zipped, cache) for words in ("damaged zip", "not have the size that it declares"))


def test_too_many_files(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "many.zip"
    with zipfile.ZipFile(path, "w") as file:
        for n in range(archive.MAX_FILES + 1):
            file.writestr(f"configs/{n}", "")
    assert "holds 2001 files, too many for a model package" in refusal(path, cache)


def test_no_package_inside(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "photos.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("beach.jpg", "blue")
    assert "holds no configs folder; it is not a model package" in refusal(path, cache)


@pytest.mark.parametrize("content", [b"", b"PK", b"not a zip at all" * 99])
def test_no_zip(tmp_path: Path, cache: Path, content: bytes) -> None:
    path = tmp_path / "package.zip"
    path.write_bytes(content)
    assert "is neither a package folder nor a zip" in refusal(path, cache)


def test_cut_zips(zipped: Path, cache: Path) -> None:
    whole = zipped.read_bytes()
    for length in range(0, len(whole), len(whole) // 20):
        zipped.write_bytes(whole[:length])
        refusal(zipped, cache)


def test_a_file_where_a_folder_is_needed(zipped: Path, cache: Path) -> None:
    with zipfile.ZipFile(zipped, "a") as file:
        file.writestr("configs/inference.json/evil", "evil")
    assert "cannot be unpacked into" in refusal(zipped, cache)


def test_random_damage_is_a_sentence_or_does_no_harm(zipped: Path, tmp_path: Path) -> None:
    dice, whole = random.Random(2), zipped.read_bytes()
    directory = whole.index(b"PK\x01\x02")
    sentences = []
    for n in range(200):
        data = bytearray(whole)
        for _ in range(dice.randint(1, 6)):
            data[dice.choice([dice.randrange(len(data)), dice.randrange(directory, len(data))])] = dice.randrange(256)
        path = tmp_path / f"{n}.zip"
        path.write_bytes(data)
        try:
            read_package(path)
        except ModelError as error:
            sentences.append(str(error))
    assert len(sentences) > 100
    assert list(tmp_path.rglob(".unpacking-*")) == []


def test_other_compressions_that_are_damaged(zipped: Path, cache: Path) -> None:
    for method in (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(zipped, "w", method) as file:
            file.writestr("configs/inference.json", random.Random(0).randbytes(5000))
        data = bytearray(zipped.read_bytes())
        data[120:160] = bytes(range(40))
        zipped.write_bytes(data)
        refusal(zipped, cache)


def test_a_cache_that_cannot_be_written(zipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("a file, not a folder")
    monkeypatch.setenv("LIVERSEG_CACHE", str(in_the_way))
    with pytest.raises(ModelError, match=r"package\.zip cannot be unpacked into .*file"):
        read_package(zipped)
    assert in_the_way.read_text() == "a file, not a folder"


def test_a_stopped_unpacking_leaves_nothing(zipped: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(archive, "_package_root", stop)
    with pytest.raises(KeyboardInterrupt):
        read_package(zipped)
    assert list((cache / "packages").iterdir()) == []
    monkeypatch.undo()
    monkeypatch.setenv("LIVERSEG_CACHE", str(cache))
    assert read_package(zipped).labels
