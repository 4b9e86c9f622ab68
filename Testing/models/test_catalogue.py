"""The catalogue: ours is sound, a hospital's is added, and a damaged one hides nothing."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from LiverSegLib.errors import ModelError
from LiverSegLib.labels import KNOWN_NAMES
from LiverSegLib.models import read_description
from LiverSegLib.models.catalogue import OURS, Catalogue, read_catalogue
from LiverSegLib.models.catalogue_table import markdown_table
from LiverSegLib.models.installed import ModelStore
from LiverSegLib.models.sidecar import FILE, sidecar_entry, sidecar_from
from LiverSegLib.models.spec import MODEL_NAME
from LiverSegLib.models.store import BUILT_IN, built_in_names

ROOT = Path(__file__).resolve().parents[2]
GOOD = {"id": "mine", "title": "Mine", "license": "CC0", "url": "https://models.example.org/mine.zip"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIVERSEG_MODELS", str(tmp_path / "models"))
    monkeypatch.delenv("LIVERSEG_CATALOGUE", raising=False)
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def write(path: Path, *entries: Any, version: Any = 1) -> Path:
    path.write_text(json.dumps({"version": version, "models": list(entries)}), encoding="utf-8")
    return path


def ours() -> Catalogue:
    return read_catalogue(Path("/nonexistent"))


def test_our_catalogue_is_sound() -> None:
    found = ours()
    assert found.problems == ()
    assert len(found.entries) == len(json.loads(OURS.read_text(encoding="utf-8"))["models"]) > 20
    for entry in found.entries.values():
        assert re.fullmatch(MODEL_NAME, entry.id)
        assert entry.about.modality in ("CT", "MR")
        assert entry.about.targets
        assert entry.about.data_source
        assert entry.about.intended_use
        assert entry.note
        assert entry.license_url.startswith("https://")
        assert not entry.non_commercial
        assert all(metric.source for metric in entry.metrics)


def test_what_is_fetched_lies_at_an_address_of_its_own() -> None:
    urls = [entry.url for entry in ours().entries.values() if entry.url]
    assert len(urls) == len(set(urls)) > 15
    assert all(url.startswith("https://") and url.endswith(".zip") for url in urls)


def test_guides_are_in_the_catalogue() -> None:
    found = ours()
    for entry in found.entries.values():
        guide = entry.about.guide
        assert guide is None or found.find(guide.model) is not None
        assert guide is None or found.entries[guide.model].about.modality == entry.about.modality


def test_labels_that_are_renamed_are_ours_or_targets() -> None:
    for entry in ours().entries.values():
        assert set(entry.about.names.values()) <= {*KNOWN_NAMES, *entry.about.targets}


def test_what_ships_with_us_is_as_its_package_says() -> None:
    found = ours()
    for name in built_in_names():
        entry, description = found.entries[name], read_description(BUILT_IN / name)
        assert entry.url == ""
        assert entry.about.license == description.license
        assert entry.about.version == description.version
        assert entry.about.modality == description.modality
        assert entry.about.targets == tuple(label.name for label in description.labels)
        for metric in entry.metrics:
            label = metric.name.removesuffix(" Dice")
            stated = description.metrics.get(f"{label}_dice_mean")
            assert stated is None or stated == metric.value


def test_an_entry_goes_with_its_model_as_it_is() -> None:
    for entry in ours().entries.values():
        assert sidecar_from(json.loads(json.dumps(sidecar_entry(entry.about)))) == entry.about
    assert FILE == "liverseg.json"


def test_the_page_shows_the_catalogue() -> None:
    text = (ROOT / "docs" / "models_catalogue.md").read_text(encoding="utf-8")
    listed = ModelStore("/nonexistent").entries()
    assert markdown_table(one.entry for one in listed) in text


def test_a_table_is_one_whatever_an_entry_says() -> None:
    entry = ours().entries["totalseg_ct"]
    about = replace(entry.about, title="A | B", license="X")
    text = markdown_table([replace(entry, about=about, non_commercial=True, bytes=0)])
    assert text.splitlines()[-1].count("|") == 8
    assert "X, not for commercial use" in text
    assert "not known" in text


def test_a_hospital_adds_its_own(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder / "hospital.json", GOOD, dict(GOOD, id="other"))
    named = write(tmp_path / "named.json", dict(GOOD, id="named"))
    (tmp_path / "many").mkdir()
    write(tmp_path / "many" / "a.json", dict(GOOD, id="in_folder"))
    monkeypatch.setenv("LIVERSEG_CATALOGUE", os.pathsep.join([str(named), str(tmp_path / "many")]))
    found = read_catalogue()
    assert found.problems == ()
    assert list(found.entries)[-4:] == ["mine", "other", "named", "in_folder"]


def test_a_later_entry_takes_the_place_of_an_earlier_one(folder: Path) -> None:
    """A hospital whose network blocks the world points to a server of its own."""
    write(folder / "hospital.json", dict(GOOD, id="totalseg_ct"))
    found = read_catalogue()
    assert found.entries["totalseg_ct"].url == GOOD["url"]
    assert len(found.entries) == len(ours().entries)


def test_an_entry_cannot_take_the_place_of_a_built_in_model(folder: Path) -> None:
    write(folder / "hospital.json", dict(GOOD, id="liver_ct_starter"))
    listed = ModelStore().find("liver_ct_starter")
    assert (listed.state, listed.path) == ("built in", BUILT_IN / "liver_ct_starter")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"id": ""}, "has no id"),
        ({"id": "../evil"}, "the id '../evil'"),
        ({"title": ""}, "has no title"),
        ({"license": ""}, "has no license"),
        ({"family": "pickle"}, "none of bundle, nnunet, auto3dseg"),
        ({"url": "http://models.example.org/a.zip"}, "must begin with https://"),
        ({"url": "file:///etc/passwd"}, "must begin with https://"),
        ({"bytes": -1}, "has -1 bytes"),
        ({"bytes": "many"}, "bytes should be of type int"),
        ({"checksum": "md5:" + "0" * 32}, "the checksum"),
        ({"checksum": "sha256:" + "g" * 64}, "the checksum"),
        ({"metrics": [{"name": "Dice", "value": "good", "source": ""}]}, "value should be of type float"),
        ({"metrics": [{"name": "", "value": 1, "source": ""}]}, "a metric without a name"),
        ({"timings": [{"device": "GPU", "seconds": -1, "source": ""}]}, "a time that is none"),
        ({"memory_gb": -1}, "has -1.0 GB"),
        ({"note": "a\nb"}, "not one line"),
        ({"note": "x" * 2001}, "not one line"),
        ({"about": {}}, "unknown field 'about'"),
        ({"run": "rm -rf /"}, "unknown field 'run'"),
        ({"guide": {"model": "/etc"}}, "the guide"),
        ({"names": {"0": "a"}}, "names of values"),
    ],
)
def test_an_entry_that_makes_no_sense(folder: Path, change: dict[str, Any], words: str) -> None:
    path = write(folder / "hospital.json", GOOD | change, dict(GOOD, id="good"))
    found = read_catalogue()
    (problem,) = found.problems
    assert problem.startswith(f"Entry 1 of {path} is left out: ")
    assert words in problem
    assert problem.isprintable()
    assert found.find("good") is not None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b'{"version": 1}',
        b'{"version": 2, "models": []}',
        b'{"version": 1, "models": ["a"]}',
        b"[" * 10**5,
    ],
)
def test_a_damaged_catalogue_hides_nothing(folder: Path, content: bytes) -> None:
    (folder / "broken.json").write_bytes(content)
    found = read_catalogue()
    (problem,) = found.problems
    assert str(folder / "broken.json") in problem
    assert list(found.entries) == list(ours().entries)


def test_a_catalogue_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LIVERSEG_CATALOGUE", str(tmp_path / "nothing.json"))
    (problem,) = read_catalogue().problems
    assert "nothing.json cannot be read" in problem
    assert "LIVERSEG_CATALOGUE" in problem


def test_what_an_own_entry_lacks_is_told(folder: Path) -> None:
    write(folder / "hospital.json", {"id": "mine", "title": "Mine", "license": "CC0"})
    store = ModelStore()
    with pytest.raises(ModelError, match=r"The catalogue has no address for Mine; add its file"):
        store.install(store.find("mine").entry, accept_license=True)
