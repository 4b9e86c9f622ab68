"""`liverseg models`: what people type and read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from LiverSegLib.cli.commands import app
from LiverSegLib.errors import LicenseNotAcceptedError, ModelError
from Testing.conftest import MakePackage
from Testing.models.test_installed import packed
from Testing.models.web_server import Site, serving

Run = Callable[..., Any]
"""Runs `liverseg models` in this process; gives its exit code, output and exception."""


@pytest.fixture
def site(random_package: MakePackage, tmp_path: Path) -> Iterator[Site]:
    with serving(Site(files={"/toy.zip": packed(random_package(), tmp_path / "toy.zip")})) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, site: Site) -> Path:
    """A place for models, with a catalogue that has one of the site's."""
    for name in ("http_proxy", "HTTP_PROXY", "LIVERSEG_CATALOGUE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LIVERSEG_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("LIVERSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "300")
    content = site.files["/toy.zip"]
    entry = {
        "id": "toy",
        "title": "Toy liver",
        "modality": "CT",
        "license": "CC BY 4.0",
        "license_note": "Name the authors.",
        "url": f"{site.address}/toy.zip",
        "bytes": len(content),
        "checksum": f"sha256:{hashlib.sha256(content).hexdigest()}",
        "targets": ["liver"],
        "metrics": [{"name": "liver Dice", "value": 0.9, "source": "a paper"}],
    }
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "own.json").write_text(json.dumps({"version": 1, "models": [entry]}))
    return tmp_path / "models"


@pytest.fixture
def run(folder: Path) -> Run:
    assert folder.is_dir()

    def work(*words: str, **how: Any) -> Any:
        return CliRunner().invoke(app, ["models", *words], **how)

    return work


def test_the_list(run: Run) -> None:
    found = run("list")
    assert found.exit_code == 0
    line = next(line for line in found.output.splitlines() if " toy " in line)
    for words in ("Toy liver", "CT", "liver Dice 0.9", "not installed"):
        assert words in line
    assert "built in" in found.output
    assert "totalseg_liver_segments_ct" in found.output


def test_the_list_for_programs(run: Run) -> None:
    data = {one["id"]: one for one in json.loads(run("list", "--json").output)}
    assert data["toy"]["state"] == "not installed"
    assert data["toy"]["targets"] == ["liver"]
    assert data["liver_ct_starter"]["state"] == "built in"
    assert Path(data["liver_ct_starter"]["path"]).is_dir()


def test_a_problem_of_a_catalogue_is_told_beside_the_list(run: Run, folder: Path) -> None:
    (folder / "broken.json").write_text("{")
    found = run("list")
    assert found.exit_code == 0
    assert "broken.json cannot be read as JSON" in found.output


def test_all_that_is_known_of_a_model(run: Run) -> None:
    found = run("show", "toy")
    for words in ("Toy liver", "CC BY 4.0; Name the authors.", "liver Dice 0.9 (a paper)", "nnU", "/toy.zip"):
        assert (words in found.output) == (words != "nnU")
    data = json.loads(run("show", "totalseg_liver_lesions_ct", "--json").output)
    assert data["guide"] == {"model": "totalseg_ct_fast", "margin_mm": 20.0}
    assert data["names"] == {"1": "tumor"}
    assert "Is fetched, too" in run("show", "totalseg_liver_lesions_ct").output


def test_a_license_is_shown_and_asked_for(run: Run, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = run("get", "toy")
    assert isinstance(refused.exception, LicenseNotAcceptedError)
    assert "Toy liver is under this license:" in refused.output
    assert "Name the authors." in refused.output
    assert site.asked == []
    monkeypatch.setattr("LiverSegLib.cli.models._is_person", lambda: True)
    assert isinstance(run("get", "toy", input="n\n").exception, LicenseNotAcceptedError)
    assert site.asked == []
    taken = run("get", "toy", input="y\n")
    assert taken.exit_code == 0
    assert "toy is installed in" in taken.output
    assert run("remove", "toy").exit_code == 0
    again = run("get", "toy")
    assert again.exit_code == 0
    assert "is under this license" not in again.output


def test_a_model_from_its_address_to_its_end(run: Run, site: Site, folder: Path) -> None:
    found = run("get", "toy", "--accept-license")
    assert found.exit_code == 0, found.output
    assert "liverseg segment IMAGE --model toy" in found.output
    assert "is installed already" in run("get", "toy").output
    assert len(site.asked) == 1
    assert run("verify").output.count("every file is as it was installed") >= 2
    assert CliRunner().invoke(app, ["info", "toy"]).exit_code == 0
    (folder / "toy" / "LICENSE").write_text("x")
    broken = run("verify", "toy")
    assert isinstance(broken.exception, ModelError)
    assert "LICENSE has a wrong checksum" in str(broken.exception)
    assert "damaged" in run("list").output
    assert run("get", "toy").exit_code == 0
    assert run("remove", "toy").output.strip() == "toy was removed."
    assert not (folder / "toy").exists()


def test_a_file_is_added(run: Run, tmp_path: Path, site: Site) -> None:
    refused = run("add", str(tmp_path / "toy.zip"))
    assert isinstance(refused.exception, LicenseNotAcceptedError)
    assert "Name the authors." in refused.output
    found = run("add", str(tmp_path / "toy.zip"), "--accept-license")
    assert "toy is installed in" in found.output
    assert site.asked == []
    mine = run("add", str(tmp_path / "toy.zip"), "--name", "mine")
    assert "mine is installed in" in mine.output
    assert '"id": "mine"' in run("list", "--json").output


@pytest.mark.parametrize("words", [("show", "nobody"), ("get", "nobody"), ("remove", "nobody"), ("verify", "nobody")])
def test_a_model_nobody_knows(run: Run, words: tuple[str, ...]) -> None:
    found = run(*words)
    assert isinstance(found.exception, ModelError)
    assert "There is no model nobody" in str(found.exception) or "is not installed" in str(found.exception)


def test_the_table_for_a_page(run: Run) -> None:
    text = run("list", "--markdown").output
    assert text.startswith("| id | what |")
    assert "| `toy` | Toy liver |" in text
