"""`liverseg batch` as it is typed: what is refused, what is told, and a tree from start to table."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from LiverSegLib.cli.batch_command import duration, progress_text
from LiverSegLib.cli.commands import app
from LiverSegLib.errors import LiverSegError, OutputError
from Testing.conftest import MakePackage
from Testing.io import test_io_dicom as dicom
from Testing.kill_test.inputs import write_inputs
from Testing.kill_test.verdict import faults


def batch(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["batch", *map(str, arguments)])


def test_a_tree_becomes_a_table(tmp_path: Path, threshold_package: MakePackage) -> None:
    truths = write_inputs(tmp_path / "images", 26)
    out, package = tmp_path / "out", threshold_package(labels=1)
    arguments = (tmp_path / "images", "-o", out, "--model", package, "--device", "cpu", "--workers", 1)
    done = batch(*arguments)
    assert isinstance(done.exception, LiverSegError)  # one of them is damaged
    assert "26 cases, 0 of them finished; 26 to do with 1 process." in done.output
    assert "26 cases: 25 done, 1 failed" in done.output
    assert faults(out, truths) == []
    with (out / "table.csv").open(newline="") as file:
        row = next(row for row in csv.DictReader(file) if row["status"] == "done")
    assert row["model"] == "Toy model 1.2.3"
    assert int(row["peak_mib"]) > 50
    again = batch(*arguments)
    assert "26 cases, 26 of them finished; 0 to do." in again.output
    assert again.exit_code == 0
    (out / "table.csv").unlink()
    assert batch("--collect", out).exit_code == 0
    assert faults(out, truths) == []


def test_cases_get_a_report_and_dicom_where_they_are_dicom(tmp_path: Path, threshold_package: MakePackage) -> None:
    write_inputs(tmp_path / "images", 1)
    place = {"StudyInstanceUID": "1.2.3.40", "FrameOfReferenceUID": "1.2.3.41"}
    for k in range(6):
        dicom.save(tmp_path / "images" / "ct", dicom.image(k, **place), f"IM{k}")
    arguments = (tmp_path / "images", "-o", tmp_path / "out", "--model", threshold_package(labels=1), "--workers", 1)
    done = batch(*arguments, "--dicom", "--report")
    assert done.exit_code == 0, done.output
    written = sorted(path.name for path in (tmp_path / "out" / "cases").rglob("*") if path.suffix in (".dcm", ".html"))
    assert [name.partition("_")[2] for name in written if name.startswith("ct")] == ["report.html", "seg.dcm", "sr.dcm"]
    assert len(written) == 4
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert page.count("_report.html") >= 2
    assert "2 of them finished; 0 to do." in batch(*arguments, "--dicom", "--report").output
    assert "0 of them finished; 2 to do" in batch(*arguments, "--report").output


def test_a_folder_with_files_of_others_is_refused(tmp_path: Path, threshold_package: MakePackage) -> None:
    write_inputs(tmp_path / "images", 1)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "index.html").write_text("mine")
    done = batch(tmp_path / "images", "-o", tmp_path / "out", "--model", threshold_package(labels=1))
    assert isinstance(done.exception, OutputError)
    assert "holds other files and no batch" in str(done.exception)
    assert (tmp_path / "out" / "index.html").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "give a list or a folder"),
        (("images",), "give a list or a folder"),
        (("images", "-o", "out", "--part", "3", "--parts", "2"), "part 3 of 2"),
    ],
)
def test_what_cannot_be_meant_is_told(arguments: tuple[str, ...], told: str) -> None:
    done = batch(*arguments)
    assert done.exit_code == 2
    assert told in " ".join(done.output.replace("│", " ").split())


def test_progress_tells_the_time_that_is_left() -> None:
    assert progress_text(0, 10, 0, 5) == "Loading the model"
    assert progress_text(100, 1100, 2, 310) == "2 failed, 3.1 s a case, 52 min left"
    assert [duration(seconds) for seconds in (40, 720, 12000, 187200)] == ["40 s", "12 min", "3 h 20 min", "2 d 4 h"]
