"""liverseg.json: written and read back, and refused in one sentence where it makes no sense."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from LiverSegLib.errors import ModelError
from LiverSegLib.models.checksums import write_checksums
from LiverSegLib.models.folder import PackageFolder
from LiverSegLib.models.sidecar import FILE, Sidecar, is_axcodes, read_sidecar, sidecar_entry, write_sidecar
from LiverSegLib.models.spec import Guide

FULL = Sidecar(
    id="total_ct",
    title="Lebersegmente (größer)",
    version="2.0.0",
    modality="CT",
    license="Apache-2.0",
    data_source="1559 CTs",
    intended_use="research",
    axcodes="RAS",
    guide=Guide("liver_ct_starter", 20.0),
    targets=("liver",),
    names={5: "liver", 255: "other"},
    mirror=False,
)


def read(folder: Path) -> Sidecar:
    return read_sidecar(PackageFolder(folder))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_sidecar(tmp_path, FULL)
    assert read(tmp_path) == FULL
    write_sidecar(tmp_path, Sidecar())
    assert json.loads((tmp_path / FILE).read_text(encoding="utf-8")) == {}
    assert read(tmp_path) == Sidecar()


def test_a_folder_without_it_says_nothing(tmp_path: Path) -> None:
    assert read(tmp_path) == Sidecar()


def test_no_mirroring_is_told_apart_from_nothing_said(tmp_path: Path) -> None:
    write_sidecar(tmp_path, Sidecar(mirror=False))
    assert read(tmp_path).mirror is False
    assert sidecar_entry(Sidecar(mirror=False)) == {"mirror": False}


def test_its_checksum_counts(tmp_path: Path) -> None:
    write_sidecar(tmp_path, FULL)
    write_checksums(tmp_path)
    write_sidecar(tmp_path, Sidecar())
    with pytest.raises(ModelError, match="wrong checksum"):
        read(tmp_path)


@pytest.mark.parametrize("axcodes", ["RAS", "LPS", "SRA", "IPL"])
def test_directions_of_axes(axcodes: str) -> None:
    assert is_axcodes(axcodes)


@pytest.mark.parametrize("axcodes", ["", "RA", "RRS", "ras", "RASA", "RL.", "XYZ"])
def test_what_is_no_direction(axcodes: str) -> None:
    assert not is_axcodes(axcodes)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"path": "/etc"}, "unknown field 'path'"),
        ({"id": "../evil"}, "the id '../evil'"),
        ({"id": 5}, "liverseg.json.id should be of type str"),
        ({"title": "=HYPERLINK()"}, "the title"),
        ({"title": "x" * 101}, "the title"),
        ({"version": "\n"}, "the version"),
        ({"modality": ["CT"]}, "liverseg.json.modality should be of type str"),
        ({"license": "a\nb"}, "the text"),
        ({"license": "x" * 2001}, "the text"),
        ({"axcodes": "RAL"}, "the axcodes 'RAL'"),
        ({"guide": "total"}, "liverseg.json.guide should be"),
        ({"guide": {"model": "/etc/passwd"}}, "the guide"),
        ({"guide": {"model": "a", "margin_mm": -1}}, "the guide"),
        ({"guide": {"model": "a", "margin_mm": float("nan")}}, "margin_mm"),
        ({"guide": {"model": "a", "margin_mm": 10**400}}, "margin_mm"),
        ({"targets": "liver"}, "liverseg.json.targets"),
        ({"targets": [""]}, "the target ''"),
        ({"targets": ["a"] * 256}, "256 targets"),
        ({"names": ["liver"]}, "an object of names by value is needed"),
        ({"names": {"0": "background"}}, "names of values from 1 to 255"),
        ({"names": {"256": "liver"}}, "names of values from 1 to 255"),
        ({"names": {"-1": "liver"}}, "names of values from 1 to 255"),
        ({"names": {"1": 5}}, "names of values from 1 to 255"),
        ({"names": {"1": "[bold]"}}, "names of values from 1 to 255"),
        ({"mirror": 1}, "liverseg.json.mirror should be of type bool"),
        ({"title": "a\u202eb"}, "characters that cannot be shown"),
        ([], "does not hold a JSON object"),
    ],
)
def test_what_makes_no_sense(tmp_path: Path, content: Any, words: str) -> None:
    (tmp_path / FILE).write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ModelError) as caught:
        read(tmp_path)
    assert words in str(caught.value)
    assert str(tmp_path / FILE) in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"{", b"[" * 100_000, b'{"title": "' + b"x" * 1_000_001 + b'"}'])
def test_what_cannot_be_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(ModelError) as caught:
        read(tmp_path)
    assert str(tmp_path / FILE) in str(caught.value)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text("{}")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / FILE).symlink_to(tmp_path / "secret.json")
    with pytest.raises(ModelError, match="leads out of its folder"):
        read(tmp_path / "model")
