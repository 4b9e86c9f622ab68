"""The dialog of models: from a server to segments by clicks alone, and all that can go wrong on the way."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

slicer = pytest.importorskip("slicer", exc_type=ImportError)
pytest.importorskip("PySide6.QtWidgets", exc_type=ImportError)

from PySide6.QtCore import QPoint, Qt  # noqa: E402
from PySide6.QtTest import QTest  # noqa: E402
from PySide6.QtWidgets import QCheckBox, QMessageBox  # noqa: E402

from Testing.headless.case import is_idle  # noqa: E402
from Testing.models.web_server import Site, serving  # noqa: E402

pytest_plugins = ("Testing.module_case",)


def click(button: Any) -> None:
    assert button.isEnabled(), f"{button.text()} cannot be clicked"
    at = QPoint(10, button.height() // 2) if isinstance(button, QCheckBox) else QPoint()
    QTest.mouseClick(button, Qt.MouseButton.LeftButton, pos=at)


@pytest.fixture
def zipped(threshold_package: Any, tmp_path: Path) -> Path:
    """A sound package as a zip."""
    source, path = threshold_package(name="made"), tmp_path / "toy.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for one in sorted(p for p in source.rglob("*") if p.is_file()):
            file.write(one, f"toy/{one.relative_to(source).as_posix()}")
    return path


@pytest.fixture
def site(zipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A server with the package, and a catalogue that knows it."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "LIVERSEG_CATALOGUE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LIVERSEG_MODELS", str(tmp_path / "models"))
    content = zipped.read_bytes()
    with serving(Site(files={"/toy.zip": content})) as running:
        entry = {
            "id": "toy_ct",
            "title": "Toy liver <b>&",
            "modality": "CT",
            "license": "Apache-2.0",
            "license_note": "Cite the paper.",
            "license_url": "https://example.org/license",
            "url": f"{running.address}/toy.zip",
            "bytes": len(content),
            "checksum": f"sha256:{hashlib.sha256(content).hexdigest()}",
            "targets": ["liver", "tumor"],
            "metrics": [{"name": "liver Dice", "value": 0.965, "source": "a paper"}],
            "memory_gb": 4.0,
            "resolution": "1.5 mm",
        }
        other = entry | {"id": "mr_ribs", "title": "Ribs", "modality": "MR", "targets": ["rib"], "url": ""}
        (tmp_path / "models").mkdir()
        (tmp_path / "models" / "catalogue.json").write_text(json.dumps({"version": 1, "models": [entry, other]}))
        yield running


@pytest.fixture
def dialog(ready: Any, site: Site) -> Iterator[Any]:  # noqa: ARG001
    """The dialog, opened by a click."""
    panel = ready.widget.panel
    click(ready.widget.ui.modelsButton)
    yield panel.modelsDialog
    panel.modelsDialog.close()
    panel.modelsDialog = None
    panel.models.forget("toy_ct")
    panel.models.forget("toy")
    ready.spin(0.05)


def done(host: Any, dialog: Any) -> str:
    """Wait for the errand and give what the dialog says."""
    assert host.spin_until(lambda: dialog._errand is None, 120)
    return str(dialog.form.status.text())


def test_a_model_is_fetched_and_segments_by_clicks_alone(ready: Any, dialog: Any, site: Site) -> None:
    form, ui = dialog.form, ready.widget.ui
    QTest.keyClicks(form.search, "toy apache")
    assert form.table.item(form.table.currentRow(), 0).text() == "Toy liver <b>&"
    assert [form.table.isRowHidden(row) for row in range(form.table.rowCount())].count(False) == 1
    details = form.details.toPlainText()
    for words in ("Toy liver <b>&", "liver, liver tumor", "CT, seen at 1.5 mm", "liver Dice 0.965", "4 GB", "Cite the"):
        assert words in details
    assert not form.main.isEnabled()
    assert "Accept the license" in form.main.toolTip()
    click(form.accept)
    click(form.main)
    assert form.main.text() == "Cancel"
    assert done(ready, dialog) == "Toy liver <b>& is installed and chosen."
    assert site.asked
    assert form.main.text() == "Use it"
    assert not form.accept.isVisibleTo(form.dialog)
    click(form.close)
    assert ready.widget.panel.models.current.name == "toy_ct"
    click(ui.segmentButton)
    assert ready.spin_until(lambda: is_idle(ready), 300)
    ready.spin(0.05)
    assert ui.statusText.text().startswith("CT was segmented")


def test_an_installed_model_is_verified_removed_and_its_license_remembered(ready: Any, dialog: Any) -> None:
    form = dialog.form
    dialog.choose("toy_ct")
    click(form.accept)
    click(form.main)
    done(ready, dialog)
    click(form.verify)
    assert done(ready, dialog) == "Every file of Toy liver <b>& is as it should be."
    (weights,) = dialog._current.path.rglob("model.safetensors")
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    click(form.verify)
    assert "model.safetensors" in done(ready, dialog)
    ready.answers += [QMessageBox.StandardButton.No, QMessageBox.StandardButton.Yes]
    click(form.remove)
    assert dialog._errand is None
    click(form.remove)
    assert done(ready, dialog) == "Toy liver <b>& was removed."
    assert ready.widget.panel.models.current.name != "toy_ct"
    assert form.main.text() == "Install"
    assert form.main.isEnabled()
    assert not form.accept.isVisibleTo(form.dialog)


def test_a_slow_download_can_be_stopped_and_nothing_freezes(ready: Any, dialog: Any, site: Site) -> None:
    form = dialog.form
    site.pause_s = 0.3
    dialog.choose("toy_ct")
    click(form.accept)
    click(form.main)
    assert ready.spin_until(lambda: form.bar.value() > 0, 60)
    assert "Downloading" in form.status.text()
    click(form.main)
    assert "was not installed, as you wished" in done(ready, dialog)
    assert form.main.text() == "Install"
    assert not form.bar.isVisibleTo(form.dialog)


def test_a_server_without_the_file_is_a_sentence(ready: Any, dialog: Any, site: Site) -> None:
    form = dialog.form
    site.files.clear()
    dialog.choose("toy_ct")
    click(form.accept)
    click(form.main)
    said = done(ready, dialog)
    assert said.startswith("\u26a0")
    assert "toy.zip" in said


def test_a_file_of_the_catalogue_asks_for_its_license(
    ready: Any, dialog: Any, zipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import qt

    monkeypatch.setattr(qt, "QFileDialog", SimpleNamespace(getOpenFileName=lambda *_: (str(zipped), "")), raising=False)
    ready.answers.append(QMessageBox.StandardButton.Yes)
    click(dialog.form.file)
    assert done(ready, dialog) == "Toy liver <b>& is installed and chosen."
    assert "Apache-2.0" in ready.questions[0]


def test_what_cannot_be_installed_or_removed_is_not_offered(dialog: Any) -> None:
    form = dialog.form
    dialog.choose("mr_ribs")
    assert not form.main.isEnabled()
    assert "Ribs" in form.details.toPlainText()
    dialog.choose("liver_ct_starter")
    assert form.main.text() == "Use it"
    assert not form.remove.isEnabled()
    assert not form.verify.isEnabled()


def test_it_can_be_used_without_a_mouse_and_by_a_screen_reader(dialog: Any) -> None:
    form = dialog.form
    for widget in (form.search, form.table, form.details, form.bar):
        assert widget.accessibleName()
    order, widget = [], form.search
    for _ in range(40):
        widget = widget.nextInFocusChain()
        order += [widget] if widget in (form.table, form.details, form.accept, form.file, form.main) else []
    assert order[:3] == [form.table, form.details, form.accept]
