"""The store: models are fetched, added, checked and removed, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import shutil
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from LiverSegLib.errors import InstallCancelled, LicenseNotAcceptedError, LiverSegError, ModelError
from LiverSegLib.models import find_package, find_partner, read_package
from LiverSegLib.models.catalogue import Entry
from LiverSegLib.models.download import Patience
from LiverSegLib.models.installed import ModelStore
from LiverSegLib.models.store import DEFAULT, built_in_names, model_names
from LiverSegLib.models.transfer import Transfer
from Testing.conftest import MakePackage
from Testing.models.web_server import Site, serving

QUICK = Patience(timeout_s=2.0, pauses_s=(0.01, 0.01))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place for models of our own."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "LIVERSEG_CATALOGUE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LIVERSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LIVERSEG_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def packed(source: Path, path: Path) -> bytes:
    """A package in a zip, one folder down."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for one in sorted(p for p in source.rglob("*") if p.is_file()):
            file.write(one, f"{source.name}/{one.relative_to(source).as_posix()}")
    return path.read_bytes()


@pytest.fixture
def content(random_package: MakePackage, tmp_path: Path) -> bytes:
    """A sound package as a zip."""
    return packed(random_package(), tmp_path / "package.zip")


@pytest.fixture
def site(content: bytes) -> Iterator[Site]:
    with serving(Site(files={"/toy.zip": content})) as running:
        yield running


def write_catalogue(folder: Path, *entries: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "catalogue.json").write_text(json.dumps({"version": 1, "models": list(entries)}), encoding="utf-8")


def described(site: Site, **changes: Any) -> dict[str, Any]:
    found = {
        "id": "toy_ct",
        "title": "Toy",
        "modality": "CT",
        "license": "Apache-2.0",
        "license_note": "Cite the paper.",
        "url": f"{site.address}/toy.zip",
        "bytes": len(site.files["/toy.zip"]),
        "checksum": f"sha256:{hashlib.sha256(site.files['/toy.zip']).hexdigest()}",
        "targets": ["liver"],
    }
    return {key: value for key, value in (found | changes).items() if value is not None}


@pytest.fixture
def store(folder: Path, site: Site) -> ModelStore:
    write_catalogue(folder, described(site))
    return ModelStore(patience=QUICK)


def entry(store: ModelStore, name: str = "toy_ct") -> Entry:
    return store.find(name).entry


def install(store: ModelStore, name: str = "toy_ct", **how: Any) -> Path:
    return store.install(entry(store, name), accept_license=True, **how)


def state(store: ModelStore, name: str = "toy_ct") -> str:
    return next(listed.state for listed in store.entries() if listed.entry.id == name)


def left(folder: Path) -> set[str]:
    """What lies in the place for models beside its own notes."""
    return {path.name for path in folder.iterdir()} - {"catalogue.json", ".records", ".locks", ".downloads"}


def test_a_model_is_installed_and_found_by_its_name(store: ModelStore, folder: Path) -> None:
    assert state(store) == "not installed"
    with pytest.raises(ModelError, match="liverseg models get toy_ct"):
        find_package("toy_ct")
    seen: list[Transfer] = []
    path = install(store, progress=seen.append)
    assert path == folder / "toy_ct" == find_package("toy_ct") == store.path_of("toy_ct")
    assert state(store) == "installed"
    assert read_package(path).labels[0].name == "liver"
    assert list(dict.fromkeys(one.stage for one in seen)) == ["download", "check", "unpack", "prepare", "list"]
    assert model_names() == [*built_in_names(), "toy_ct"]
    assert left(folder) == {"toy_ct"}
    assert list((folder / ".downloads").iterdir()) == []
    store.verify("toy_ct")


def test_what_is_installed_is_not_fetched_again(store: ModelStore, site: Site) -> None:
    install(store)
    install(store)
    assert len(site.asked) == 1


def test_the_built_in_models_need_nothing(store: ModelStore) -> None:
    listed = store.find(DEFAULT)
    assert listed.state == "built in"
    assert listed.accepted
    assert listed.entry.about.license == "CC BY-SA 4.0"
    assert store.install(listed.entry) == find_package(DEFAULT) == listed.path
    with pytest.raises(ModelError, match="ships with LiverSeg and cannot be removed"):
        store.remove(DEFAULT)
    store.verify(DEFAULT)


def test_nothing_is_fetched_before_the_license_is_accepted(store: ModelStore, site: Site, folder: Path) -> None:
    with pytest.raises(LicenseNotAcceptedError, match=r"Toy is under the license Apache-2\.0"):
        store.install(entry(store))
    assert site.asked == []
    install(store)
    store.remove("toy_ct")
    assert state(store) == "not installed"
    assert store.accepted(entry(store))
    store.install(entry(store))
    store.remove("toy_ct")
    write_catalogue(folder, described(site, license_note="Pay."))
    with pytest.raises(LicenseNotAcceptedError):
        store.install(entry(store))


def test_a_model_brings_those_that_it_works_with(folder: Path, site: Site, content: bytes) -> None:
    site.files["/guide.zip"] = content
    guided = described(site, id="guided", guide={"model": "guide", "margin_mm": 20})
    write_catalogue(folder, guided, described(site, id="guide", guide={"model": DEFAULT}))
    store = ModelStore(patience=QUICK)
    assert [one.id for one in store.needed(entry(store, "guided"))] == ["guide", "guided"]
    install(store, "guided")
    assert {state(store, name) for name in ("guide", "guided")} == {"installed"}
    assert find_partner("guide", read_package(find_package("guided"))) == folder / "guide"
    assert [one.id for one in store.needed(entry(store, "guided"))] == ["guided"]


def test_a_partner_nobody_knows(folder: Path, site: Site) -> None:
    write_catalogue(folder, described(site, guide={"model": "nobody"}))
    store = ModelStore(patience=QUICK)
    with pytest.raises(ModelError, match="There is no model nobody"):
        install(store)


def test_two_models_that_name_each_other(folder: Path, site: Site) -> None:
    first = described(site, id="a", guide={"model": "b"})
    write_catalogue(folder, first, described(site, id="b", guide={"model": "a"}))
    store = ModelStore(patience=QUICK)
    assert {one.id for one in store.needed(entry(store, "a"))} == {"a", "b"}


def test_a_stopped_installation_leaves_nothing_and_goes_on_later(
    store: ModelStore, site: Site, folder: Path, content: bytes
) -> None:
    site.pause_s = 0.02
    part = folder / ".downloads" / "toy_ct.zip.part"
    with pytest.raises(InstallCancelled):
        install(store, should_stop=lambda: part.exists() and part.stat().st_size > len(content) // 4)
    assert left(folder) == set()
    site.pause_s = 0
    install(store)
    assert site.ranges_asked()[-1].startswith("bytes=")


@pytest.mark.parametrize("stage", ["check", "unpack", "prepare", "list"])
def test_a_stop_at_any_stage(store: ModelStore, folder: Path, stage: str) -> None:
    seen: list[str] = []
    with pytest.raises(InstallCancelled):
        install(store, progress=lambda one: seen.append(one.stage), should_stop=lambda: stage in seen)
    assert left(folder) == set()
    assert state(store) == "not installed"
    install(store)


def test_a_wrong_file_is_not_installed(store: ModelStore, site: Site, folder: Path) -> None:
    site.files["/toy.zip"] = b"x" * 1000
    with pytest.raises(ModelError, match="wrong checksum"):
        install(store)
    assert left(folder) == set()


def test_a_file_that_changed_since_the_first_time(folder: Path, site: Site, content: bytes) -> None:
    write_catalogue(folder, described(site, checksum=None))
    store = ModelStore(patience=QUICK)
    install(store)
    store.remove("toy_ct")
    site.files["/toy.zip"], site.tag = content + b"\0", '"two"'
    with pytest.raises(ModelError, match=r"another one than when it was first fetched.*--changed"):
        install(store)
    assert left(folder) == set()
    install(store, allow_change=True)
    assert state(store) == "installed"
    store.remove("toy_ct")
    install(store)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04" + bytes(100), b"no zip" * 100])
def test_what_is_no_zip(store: ModelStore, site: Site, folder: Path, content: bytes) -> None:
    site.files["/toy.zip"] = content
    write_catalogue(folder, described(site))
    with pytest.raises(ModelError, match=r"toy_ct\.zip"):
        install(store)
    assert left(folder) == set()


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/../../evil", "C:\\evil"])
def test_a_hostile_zip(store: ModelStore, site: Site, folder: Path, tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "package.zip", "a") as file:
        file.writestr(zipfile.ZipInfo(name), "evil")
    site.files["/toy.zip"] = (tmp_path / "package.zip").read_bytes()
    write_catalogue(folder, described(site))
    with pytest.raises(ModelError, match="leads outside; it is not unpacked"):
        install(store)
    assert left(folder) == set()
    assert not (folder.parent / "evil").exists()


def test_a_package_that_its_own_checksums_betray(
    folder: Path, site: Site, random_package: MakePackage, tmp_path: Path
) -> None:
    source = random_package()
    (source / "LICENSE").write_text("mine")
    site.files["/toy.zip"] = packed(source, tmp_path / "changed.zip")
    write_catalogue(folder, described(site))
    with pytest.raises(ModelError, match="LICENSE has a wrong checksum"):
        install(ModelStore(patience=QUICK))
    assert left(folder) == set()


def test_a_zip_of_two_models(folder: Path, site: Site, random_package: MakePackage, tmp_path: Path) -> None:
    both = tmp_path / "both"
    for name in ("one", "two"):
        shutil.copytree(random_package(), both / name)
    site.files["/toy.zip"] = packed(both, tmp_path / "both.zip")
    write_catalogue(folder, described(site))
    with pytest.raises(ModelError, match=r"holds 2 models \(one, two\); unpack it"):
        install(ModelStore(patience=QUICK))
    found = ModelStore(patience=QUICK).add(both / "one", name="first")
    assert found.state == "installed"


def test_too_little_space(store: ModelStore, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=1000))
    with pytest.raises(ModelError, match=r"not enough space.*1 kB are free.*LIVERSEG_MODELS"):
        install(store)
    assert left(folder) == set()


def test_a_disk_that_fills_up(store: ModelStore, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".downloads").mkdir()
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full, a disk that is always full")
    (folder / ".downloads" / "toy_ct.zip.part").symlink_to("/dev/full")
    monkeypatch.setattr(Path, "unlink", lambda *_arguments, **_more: None)
    with pytest.raises(LiverSegError, match="because the disk is full"):
        install(store)


def test_a_folder_that_may_not_be_written(store: ModelStore, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder.parent / "file").write_text("")
    monkeypatch.setenv("LIVERSEG_MODELS", str(folder.parent / "file" / "models"))
    other = ModelStore(patience=QUICK)
    with pytest.raises(LiverSegError, match="could not be written"):
        other.install(entry(store), accept_license=True)


def in_another_process(place: str, queue: Any) -> None:
    try:
        store = ModelStore(place, patience=QUICK)
        queue.put(str(store.install(store.find("toy_ct").entry, accept_license=True)))
    except BaseException as error:
        queue.put(repr(error))


def test_two_processes_install_the_same_model(store: ModelStore, site: Site, folder: Path) -> None:
    site.pause_s = 0.05
    context = multiprocessing.get_context("spawn")
    queue: Any = context.Queue()
    others = [context.Process(target=in_another_process, args=(str(folder), queue)) for _ in range(2)]
    for one in others:
        one.start()
    found = {queue.get(timeout=120) for _ in others}
    for one in others:
        one.join()
    assert found == {str(folder / "toy_ct")}
    assert len(site.asked) == 1
    store.verify("toy_ct")


def test_two_threads_install_the_same_model(store: ModelStore, site: Site) -> None:
    site.pause_s = 0.02
    seen: list[str] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            install(store, progress=lambda one: seen.append(one.stage))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert errors == []
    assert len(site.asked) == 1
    assert "wait" in seen


def test_one_who_waits_can_stop(store: ModelStore, site: Site) -> None:
    site.pause_s = 0.05
    first = threading.Thread(target=lambda: install(store))
    first.start()
    while not site.asked:
        time.sleep(0.01)
    waited: list[str] = []
    with pytest.raises(InstallCancelled):
        install(store, progress=lambda one: waited.append(one.stage), should_stop=lambda: "wait" in waited)
    first.join()
    assert state(store) == "installed"


def test_what_a_killed_process_left_is_removed(store: ModelStore, folder: Path) -> None:
    (folder / ".liverseg-0123456789ab.tmp").mkdir()
    install(store)
    assert left(folder) == {"toy_ct"}


Spoil = Callable[[Path], object]


@pytest.mark.parametrize(
    ("spoil", "words", "seen"),
    [
        (lambda path: (path / "LICENSE").unlink(), "LICENSE is missing", "damaged"),
        (lambda path: (path / "LICENSE").write_text("x"), "LICENSE has a wrong checksum", "damaged"),
        (lambda path: shutil.rmtree(path / "configs"), "is missing", "damaged"),
        (lambda path: (path / "more.py").write_text("x"), "more.py was added", "installed"),
    ],
)
def test_damage_is_found_and_repaired(store: ModelStore, spoil: Spoil, words: str, seen: str) -> None:
    path = install(store)
    spoil(path)
    with pytest.raises(ModelError, match=words):
        store.verify("toy_ct")
    assert state(store) == seen
    if seen == "damaged":
        install(store)
    else:
        store.remove("toy_ct")
        install(store)
    store.verify("toy_ct")


def test_damage_of_the_same_size_is_found_by_a_check(store: ModelStore) -> None:
    path = install(store) / "models" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert state(store) == "installed"
    with pytest.raises(ModelError, match=r"model\.safetensors has a wrong checksum"):
        store.verify("toy_ct")


def test_a_file_is_installed_without_a_network(store: ModelStore, site: Site, tmp_path: Path) -> None:
    file = tmp_path / "download (1).zip"
    file.write_bytes(site.files["/toy.zip"])
    with pytest.raises(LicenseNotAcceptedError):
        store.add(file)
    found = store.add(file, accept_license=True)
    assert (found.entry.id, found.state) == ("toy_ct", "installed")
    assert site.asked == []
    assert file.exists()
    with pytest.raises(ModelError, match="There is a model toy_ct already"):
        store.add(file, accept_license=True)
    with pytest.raises(ModelError, match="There is a model liver_tumor3d_ct already"):
        store.add(file, name=DEFAULT)


def test_a_file_that_is_not_what_its_name_says(
    store: ModelStore, tmp_path: Path, threshold_package: MakePackage
) -> None:
    file = tmp_path / "toy.zip"
    packed(threshold_package(), file)
    with pytest.raises(ModelError, match="is not the file that the catalogue has for Toy"):
        store.add(file, accept_license=True)
    assert store.add(file, name="mine").entry.title == "Toy model"


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_model_of_ones_own(folder: Path, random_package: MakePackage, tmp_path: Path, is_zip: bool) -> None:
    source = random_package(name="my model")
    if is_zip:
        packed(source, tmp_path / "my model.zip")
        source = tmp_path / "my model.zip"
    store = ModelStore()
    found = store.add(source)
    assert (found.entry.id, found.state, found.path) == ("my_model", "installed", folder / "my_model")
    assert found.entry.about.targets == ("liver",)
    assert [one.entry.id for one in store.entries()][-1] == "my_model"
    assert source.exists()
    store.verify("my_model")
    store.remove("my_model")
    assert left(folder) == set()
    with pytest.raises(ModelError, match="There is no model my_model"):
        store.find("my_model")


def test_what_cannot_be_added(folder: Path, tmp_path: Path, random_package: MakePackage) -> None:
    store = ModelStore()
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.zip").write_text("x")
    for path, words in (
        (tmp_path / "nothing.zip", "cannot be read"),
        (tmp_path / "empty", "holds no model of a form that LiverSeg knows"),
        (tmp_path / "text.zip", "neither a package folder nor a zip"),
    ):
        with pytest.raises(ModelError, match=words):
            store.add(path)
    for name in ("../evil", "", "a b", "."):
        with pytest.raises(ModelError, match="cannot be the name of a model"):
            store.add(random_package(), name=name)
    linked = random_package(name="linked")
    (linked / "docs").mkdir(exist_ok=True)
    (linked / "docs" / "link").symlink_to("/etc/passwd")
    with pytest.raises(ModelError, match="is a link; a model is made of plain files"):
        store.add(linked)
    assert left(folder) <= set()


@pytest.mark.parametrize("name", ["../evil", "nobody", "", ".records", "a/b"])
def test_names_of_nothing(store: ModelStore, name: str) -> None:
    for ask in (store.find, store.verify, store.remove, store.path_of):
        with pytest.raises(ModelError):
            ask(name)


def test_a_name_in_the_folder_of_models_is_no_path_elsewhere(store: ModelStore, folder: Path) -> None:
    install(store)
    with pytest.raises(ModelError, match="There is no model"):
        find_package("../models/toy_ct")
    assert find_package(folder / "toy_ct") == folder / "toy_ct"
