"""Names from packages and files on the screen, in tables and in the log: shown, never obeyed; and screens that fail."""

from __future__ import annotations

import csv
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from LiverSegLib import __version__
from LiverSegLib.cli.commands import app, metrics_text, result_table
from LiverSegLib.cli.outputs import write_outputs
from LiverSegLib.cli.screen import console, plain, show_error, show_note
from LiverSegLib.errors import LiverSegError
from LiverSegLib.io import read_volume, write_labelmap, write_measurements_csv, write_measurements_json, write_seg_nrrd
from LiverSegLib.labels import label_for, labels_for
from LiverSegLib.measure import Measurements, SegmentMeasurement, measure
from LiverSegLib.printable import csv_text, printable
from LiverSegLib.volume import Result, Volume
from Testing.conftest import MakePackage

ROOT = Path(__file__).resolve().parents[2]
WICKED = ["\x1b]0;pwned\x07", "\x1b[31mred", "[/x]", "[link=http://evil]click[/link]", "a\nb", "\u202egpj", ":smile:"]
Liverseg = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def liverseg(tmp_path: Path) -> Liverseg:
    def run(*arguments: object, shell: str = '"$@"', **environment: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", "-c", f"set -o pipefail; {shell}", "bash", sys.executable, "-m", "LiverSegLib.cli"]
        variables = {**os.environ, "LIVERSEG_CACHE": str(tmp_path / "cache"), "COLUMNS": "200", **environment}
        return subprocess.run(
            [*command, *map(str, arguments)], capture_output=True, text=True, cwd=ROOT, env=variables, check=False
        )

    return run


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    array = np.full((32, 32, 32), -100, np.int16)
    array[8:24, 8:24, 8:24] = 150
    path = tmp_path / "Meyer_Hans.nii"
    nib.save(nib.Nifti1Image(array, np.diag([2.0, 2.0, 2.0, 1.0])), path)
    return path


def spoil(package: Path, **changes: object) -> Path:
    """Put wicked texts where a package has names; its maker has not listed checksums."""
    path = package / "configs" / "metadata.json"
    (package / "checksums.sha256").unlink()
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return package


def is_harmless(text: str) -> bool:
    return all(character.isprintable() or character == "\n" for character in text)


@pytest.mark.parametrize("wicked", WICKED)
def test_names_are_shown_and_never_obeyed(
    wicked: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    console().print(result_table(f"file {wicked}", result_with(f"label {wicked}")))
    show_note(f"note {wicked}")
    show_error(LiverSegError(f"sentence {wicked}"))
    shown, errors = capsys.readouterr()
    assert is_harmless(shown + errors)
    for place in ("file", "label", "note"):
        assert f"{place} {printable(wicked)}".lower() in shown.lower()
    assert errors == f"Error: sentence {printable(wicked)}\n"


def test_a_license_and_a_folder_are_shown_as_they_are(ct: Path, threshold_package: MakePackage) -> None:
    package = spoil(threshold_package(), license="free [link=http://evil]click[/link] [/x] :smile:")
    done = CliRunner().invoke(app, ["info", str(package)], env={"COLUMNS": "250"})
    assert done.exit_code == 0, done.exception
    assert "free [link=http://evil]click[/link] [/x] :smile:" in done.output
    for name in ("o[red]3", "o[/y]3", "o\x1b[31m3"):
        out = ct.parent / name
        arguments = ["segment", str(ct), "-o", str(out), "--model", str(package), "--device", "cpu", "--no-overlay"]
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.exception
        assert is_harmless(done.output)
        assert printable(f"{out}/Meyer_Hans.seg.nrrd") in done.output
        assert (out / "Meyer_Hans.seg.nrrd").is_file()


def test_pieces_of_an_organ_have_a_column_and_a_row_together() -> None:
    labels = labels_for({number: f"liver_segment_{number}" for number in range(1, 9)})
    labelmap = np.arange(100 * 9, dtype=np.uint16).reshape(100, 3, 3) % 9
    measured = measure(labelmap.astype(np.uint8), np.diag([4.0, 5, 5, 1]), labels)
    result = Result(labelmap=labelmap.astype(np.uint8), affine=np.eye(4), labels=labels, measurements=measured)
    table = result_table("ct.nii", result)
    assert [column.header for column in table.columns][1:] == [
        "Volume (mL)",
        "Longest diameter (mm)",
        plain("% of liver"),
    ]
    rows = list(zip(*(map(str, column.cells) for column in table.columns), strict=True))
    assert rows == [*((label.name, "10.0", "", "12.5") for label in labels), ("liver", "80.0", "", "")]
    assert len(result_table("ct.nii", result_with("liver")).columns) == 3


def test_an_error_sentence_is_harmless_too(liverseg: Liverseg, tmp_path: Path) -> None:
    bad = tmp_path / "\x1b[31m[bold]x\n.nii"
    bad.write_text("no image")
    done = liverseg("segment", bad, "-o", tmp_path / "out", "--device", "cpu")
    assert done.returncode == 1
    assert is_harmless(done.stderr)
    assert "\\x1b[31m[bold]x\\n.nii" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Leber, Größe 3 – 肝臓 🫀", "Leber, Größe 3 – 肝臓 🫀"),
        ("a\tb\r\n", "a\\tb\\r\\n"),
        ("\x9b31m", "\\x9b31m"),
        ("\udcff.nii", "\\xff.nii"),
        ("\ud800", "\\ud800"),
        ("\u2066\u200b\u2028", "\\u2066\\u200b\\u2028"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize("name", ["=cmd|' /c calc'!a0", "+1", "-1", "@sum(a1)", "\tx", "\rx", "=1+1"])
def test_no_cell_of_the_tables_is_a_formula(tmp_path: Path, name: str) -> None:
    assert csv_text(name) == f"'{printable(name)}"
    result = result_with(name)
    write_measurements_csv(tmp_path / "a.csv", result.measurements)
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        row = next(csv.DictReader(file))
    assert row["name"] == f"'{printable(name)}"
    assert (row["voxels"], row["volume_ml"]) == ("12", "0.096")


def test_other_cells_stay_as_they_are() -> None:
    assert [csv_text(text) for text in ("liver", "'a", "a=b", "")] == ["liver", "'a", "a=b", ""]


def result_with(name: str) -> Result:
    measured = Measurements(segments=(SegmentMeasurement(name=name, voxels=12, volume_ml=0.096),))
    return Result(
        labelmap=np.ones((3, 2, 2), np.uint8),
        affine=np.eye(4),
        labels=(label_for(1, name),),
        measurements=measured,
        warnings=(name,),
        model=name,
    )


def test_names_that_are_no_text_can_be_written(tmp_path: Path) -> None:
    result = result_with("\ud800 \udcff")
    for ending, write in (
        (".csv", lambda path, result: write_measurements_csv(path, result.measurements)),
        (".json", write_measurements_json),
        (".seg.nrrd", write_seg_nrrd),
        (".nii.gz", write_labelmap),
    ):
        write(tmp_path / f"a{ending}", result)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["model"] == "\ud800 \udcff"
    np.testing.assert_array_equal(read_volume(tmp_path / "a.seg.nrrd").array, result.labelmap)


def test_a_very_wide_picture_has_all_its_results(tmp_path: Path) -> None:
    labelmap = np.zeros((40_000, 3, 1), np.uint8)
    labelmap[100:30_000, 1] = 1
    result = Result(
        labelmap=labelmap,
        affine=np.diag([-1.0, -1.0, 1.0, 1.0]),
        labels=(label_for(1, "liver"),),
        measurements=Measurements(),
    )
    volume = Volume(labelmap, result.affine, "wide.png")
    files = write_outputs(tmp_path, "wide", volume, result, picture=True)
    assert [path.name for path in files if not path.is_file()] == []
    found = read_volume(tmp_path / "wide_labels.nii.gz")
    np.testing.assert_array_equal(found.array, labelmap)
    np.testing.assert_array_equal(found.affine, result.affine)


@pytest.mark.parametrize("option", ["--model", "--within", "info"])
def test_a_home_that_nobody_has(option: str, ct: Path, liverseg: Liverseg) -> None:
    arguments = ["info", "~nosuch/x"] if option == "info" else ["segment", ct, option, "~nosuch/x"]
    done = liverseg(*arguments)
    assert done.returncode == 1
    assert "~nosuch/x begins with the home of a user who is not known here" in done.stderr


@pytest.mark.parametrize(
    ("found", "text"),
    [("good", ""), ([1, 2], ""), (None, ""), ({"dice": 0.912345678, "n": 3, "set": "a"}, "dice 0.912346, n 3, set a")],
)
def test_an_evaluation_may_be_anything(found: object, text: str) -> None:
    assert metrics_text(found) == text


def test_version(liverseg: Liverseg) -> None:
    done = liverseg("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"LiverSeg {__version__}\n", "")


def test_a_screen_that_only_knows_ascii(liverseg: Liverseg, threshold_package: MakePackage) -> None:
    package = spoil(threshold_package(), license="Lizenz für alle")
    done = liverseg("info", package, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Lizenz f\\xfcr alle" in done.stdout


def test_a_reader_that_has_seen_enough(liverseg: Liverseg, threshold_package: MakePackage) -> None:
    done = liverseg("info", threshold_package(), shell='"$@" | head -c 1')
    assert (done.returncode, done.stderr) == (0, "")
    assert liverseg("info", threshold_package(), shell='"$@" >&-').returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux")
def test_a_screen_that_cannot_be_written_to(liverseg: Liverseg, threshold_package: MakePackage) -> None:
    done = liverseg("info", threshold_package(), shell='"$@" > /dev/full')
    assert done.returncode == 1
    assert done.stderr.startswith("Error: The output could not be shown (No space left on device);")
    assert done.stderr.count("\n") == 1


def test_the_log_is_the_users_own_and_names_no_patient(liverseg: Liverseg, ct: Path, tmp_path: Path) -> None:
    folder = tmp_path / "Schmidt_Eva"
    folder.mkdir()
    (folder / "Schmidt_Eva_1957.nii").write_text("no image")
    logs = tmp_path / "cache" / "logs"
    logs.mkdir(parents=True)
    (logs / "liverseg.log").write_text("of an earlier version\n")
    (logs / "liverseg.log").chmod(0o644)
    inputs = [ct, folder, folder / "Schmidt_Eva_1957.nii"]
    done = liverseg("segment", *inputs, "-o", tmp_path / "Results of Schmidt", "--device", "cpu", "--no-overlay")
    assert done.returncode == 1
    assert "Schmidt_Eva_1957.nii" in done.stderr
    story = (logs / "liverseg.log").read_text()
    assert "Traceback" in story
    assert "<input 3>" in story
    for name in ("Schmidt", "Meyer", "Eva"):
        assert name not in story
    assert stat.S_IMODE(logs.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in logs.iterdir()] == [0o600]
