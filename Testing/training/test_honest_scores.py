"""A model that misses every lesion, on its way from masks to the card: no number may flatter it."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from LiverSegLib.models import read_package
from Testing.conftest import write_threshold
from Testing.training.test_export import made_run
from Training.__main__ import app
from Training.evaluation.cases import count_cases, load_cases

LESIONS_MM = {"small": (8,), "both": (14, 30), "large": (40,), "healthy": ()}
"""Side lengths of the cubes that stand for lesions, by case."""


def write_case(folder: Path, name: str, sides: tuple[int, ...], lesion_hu: int) -> None:
    """A cuboid liver of 150 HU with cubes of `lesion_hu` in it, 2 mm voxels."""
    hu = np.full((80, 48, 48), -100, np.int16)
    label = np.zeros(hu.shape, np.uint8)
    hu[4:76, 8:40, 8:40], label[4:76, 8:40, 8:40] = 150, 1
    at = 8
    for side in sides:
        place = slice(at, at + side // 2), slice(12, 12 + side // 2), slice(12, 12 + side // 2)
        hu[place], label[place] = lesion_hu, 2
        at += side // 2 + 8
    for kind, array in (("images", hu), ("labels", label)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(array, np.diag([2.0, 2, 2, 1])), folder / kind / f"{name}.nii.gz")


def write_data(folder: Path, lesion_hu: int = 120) -> Path:
    """An MSD folder of four livers; below 200 HU the toy model takes lesions for liver."""
    for name, sides in LESIONS_MM.items():
        write_case(folder, name, sides, lesion_hu)
    pairs = [{"image": f"images/{name}.nii.gz", "label": f"labels/{name}.nii.gz"} for name in LESIONS_MM]
    listing = {"labels": {"0": "background", "1": "liver", "2": "cancer"}, "training": pairs}
    (folder / "dataset.json").write_text(json.dumps(listing))
    return folder


def call(*arguments: str | Path) -> str:
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def widest(screen: str) -> int:
    """Columns of the longest line; a path may run on, so that it can be copied."""
    return max(len(line) for line in screen.splitlines() if not line.startswith("Report: "))


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Folder and screen of an evaluation of a model that finds no lesion."""
    folder = tmp_path_factory.mktemp("blind")
    data = write_data(folder / "blind data")
    write_threshold(folder / "threshold", overlap=0.0)
    screen = call("evaluate", data, "--model", folder / "threshold", "--device=cpu", "-o", folder / "scores")
    return folder / "scores", screen


WORDS = (
    "tumor: drawn in 3 of 4 cases, marked in 0 of these and in 0 others; nothing on either side in 1, left out of "
    "the means.",
    "0 of 4 lesions found (sensitivity 0.000); 0 of 0 marked ones false (precision -), 0.00 false lesions per scan; "
    "F1 0.000.",
)


def test_the_card_of_a_model_that_finds_no_lesion_says_so(blind: tuple[Path, str], tmp_path: Path) -> None:
    scores, _ = blind
    run, _ = made_run(tmp_path / "run", "liver3d_phantom", [])
    call("export", run, "-o", tmp_path / "package", "--results", scores)
    card = (tmp_path / "package" / "docs" / "README.md").read_text()
    for words in WORDS:
        assert words in card
    for row in (
        "| tumor | Dice | 0.000 [0.000, 0.000] | 0.000 | 0.000 | 3 | 1 |",
        "| tumor | HD95 (mm) | - | - | - | 0 | 4 |",
        "| tumor | ASSD (mm) | - | - | - | 0 | 4 |",
        "| tumor | lesion sensitivity | 0.000 [0.000, 0.000] | 0.000 | 0.000 | 3 | 1 |",
        "| tumor | lesion precision | - | - | - | 0 | 4 |",
        "| tumor | lesion F1 | 0.000 [0.000, 0.000] | 0.000 | 0.000 | 3 | 1 |",
        "| tumor | false lesions | 0.00 [0.00, 0.00] | 0.00 | 0.00 | 4 | 0 |",
        "| liver | Dice | 1.000 [1.000, 1.000] | 1.000 | 1.000 | 4 | 0 |",
        "| healthy | tumor | - | - | - | 0.0 | 0.0 |",
        "| under 10 mm | 0 | 0 | - | 0 | 0 | - |",
        "| all | 4 | 0 | 0.000 | 0 | 0 | - |",
    ):
        assert row in card, row
    metrics = read_package(tmp_path / "package").metrics
    assert (metrics["tumor_dice_mean"], metrics["tumor_dice_n"], metrics["tumor_dice_missing"]) == (0, 3, 1)
    assert "tumor_hd95_mm_mean" not in metrics
    assert metrics["tumor_hd95_mm_missing"] == 4
    assert (metrics["lesions_reference"], metrics["lesions_found"], metrics["lesions_false_per_scan"]) == (4, 0, 0)
    assert "lesion_precision" not in metrics
    page = call("report", run, "-o", tmp_path / "page.html", "--results", scores)
    assert str(tmp_path) in page.replace("\n", "")
    assert "0 of 4 lesions found" in (tmp_path / "page.html").read_text()


def test_screen_page_and_csv_say_so_too(blind: tuple[Path, str]) -> None:
    scores, screen = blind
    report = (scores / "report.html").read_text()
    for words in WORDS:
        assert words in " ".join(screen.split())
        assert words in report
    with (scores / "summary.csv").open() as file:
        summary = {(row["label"], row["metric"]): row for row in csv.DictReader(file)}
    assert [summary["tumor", "dice"][key] for key in ("n", "missing", "mean")] == ["3", "1", "0.0"]
    assert [summary["tumor", "hd95_mm"][key] for key in ("n", "missing", "mean")] == ["0", "4", ""]
    with (scores / "scores.csv").open() as file:
        cases = {row["case"]: row for row in csv.DictReader(file) if row["label"] == "tumor"}
    assert (cases["healthy"]["dice"], cases["healthy"]["reference_ml"]) == ("", "0.0")
    assert (cases["both"]["dice"], cases["both"]["hd95_mm"], cases["both"]["precision"]) == ("0.0", "", "")
    assert (cases["both"]["lesions_reference"], cases["both"]["lesions_found"]) == ("2", "0")


def test_a_comparison_shows_over_which_cases_it_is(
    blind: tuple[Path, str], threshold_package: Callable[..., Path], tmp_path: Path
) -> None:
    # The same anatomy with lesions that the toy model sees.
    seeing, package = write_data(tmp_path / "seeing data", lesion_hu=260), threshold_package(overlap=0.0)
    call("evaluate", seeing, "--model", package, "--device=cpu", "-o", tmp_path / "seeing")
    screen = call("compare", blind[0], tmp_path / "seeing", "-o", tmp_path / "both")
    text = (tmp_path / "both" / "comparison.md").read_text()
    assert "| all lesions pooled | found of drawn | 0 of 4 | 4 of 4 |" in text
    rows = {tuple(row.split(" | ")[:2]): row for row in text.splitlines()}
    hd95 = rows["| tumor", "HD95 (mm)"]
    assert hd95.endswith("| - | - | - | 0 | 4 | 0 |")
    assert "| tumor | HD95 (mm) | -, n 0, 4 missing | 0.0 [0.0, 0.0], n 3, 1 missing |" in text
    dice = rows["| tumor", "Dice"]
    assert dice.endswith("| - | - | 3 | 1 | 3 |")
    assert widest(screen) <= 80
    assert "n 3, 1 missing" in screen


def test_tables_on_the_screen_take_a_line_a_row_in_80_columns(blind: tuple[Path, str]) -> None:
    lines = blind[1].splitlines()
    assert widest(blind[1]) <= 80
    by_start = {" ".join(line.split()[:2]): line.split() for line in lines}
    assert by_start["both tumor"][2:] == ["0.000", "0.000", "-", "-", "0.0", "29.7", by_start["both tumor"][-1]]
    assert by_start["HD95 (mm)"][2:] == ["-", "-", "-", "0", "4"]
    assert by_start["volume error"][3:] == ["-100.0", "[-100.0,", "-100.0]", "-100.0", "-", "3", "1"]


def test_the_bar_knows_how_many_cases_there_are(
    threshold_package: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_data(tmp_path / "data")
    assert count_cases(data) == len(list(load_cases(data))) == 4
    assert count_cases(tmp_path / "nothing.yaml") is None
    screen = StringIO()
    monkeypatch.setattr("Training.commands.shared.console", Console(file=screen, force_terminal=True, width=80))
    call("evaluate", data, "--model", threshold_package(overlap=0.0), "--device=cpu")
    assert "4/4" in screen.getvalue()
