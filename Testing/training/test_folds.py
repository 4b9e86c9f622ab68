"""Cross-validation: each patient once, what is done is not done again, and one summary."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from typer.testing import CliRunner

from Testing.recipe_data import SMALL, write_slices2d
from Training.__main__ import app
from Training.data.prepare import prepare
from Training.errors import DataError, RunError
from Training.evaluation.scores import read_scores
from Training.folds.cross_validation import folds_of, together
from Training.recipe import load_recipe

CHANGES = [change for change in SMALL["unet2d_bn"] if not change.startswith("split")]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slice of each of three patients."""
    folder = tmp_path_factory.mktemp("folds")
    data = write_slices2d(folder / "data", patients=3, slices=1)
    prepare(load_recipe("unet2d_bn", [*CHANGES, "split={folds: 2}"]), data, folder / "prepared")
    return folder / "prepared"


def run(prepared: Path, out: Path, *more: str) -> str:
    changes = [word for change in CHANGES for word in ("--set", change)]
    words = ["folds", "unet2d_bn", "--data", str(prepared), "-o", str(out), "--folds", "2", "--workers", "0", *changes]
    found = CliRunner().invoke(app, [*words, *more], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.output


def test_each_patient_validates_once_and_what_is_done_is_kept(prepared: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    assert "Fold 1 of 2" in run(prepared, out, "--accelerator", "cpu", "--device", "cpu")
    whole = read_scores(out / "cross_validation")
    folds = [read_scores(out / f"fold_{number}" / "scores") for number in (0, 1)]
    assert len({case.case for case in whole.cases}) == len(whole.cases) == 2
    assert {case.patient for case in folds[0].cases}.isdisjoint(case.patient for case in folds[1].cases)
    assert whole.summary["patients"] == 2  # the recipe keeps the third for a test
    page = (out / "cross_validation" / "report.html").read_text()
    assert "<h2>Folds</h2>" in page
    pictures = [case.picture for case in whole.cases if case.picture]
    assert pictures
    assert all((out / "cross_validation" / picture).is_file() for picture in pictures)
    with (out / "cross_validation" / "folds.csv").open() as file:
        assert [row["fold"] for row in csv.DictReader(file)] == ["0", "1"]

    checkpoint = out / "fold_0" / "checkpoints" / "best.ckpt"
    before = checkpoint.stat().st_mtime_ns
    (out / "fold_1" / "scores" / "scores.json").unlink()  # as if it had been interrupted there
    again = run(prepared, out, "--accelerator", "cpu", "--device", "cpu")
    assert "Fold 0" not in again
    assert "Fold 1 of 2" in again
    assert checkpoint.stat().st_mtime_ns == before
    assert read_scores(out / "cross_validation").summary == pytest.approx(whole.summary)


def test_another_recipe_in_the_same_folder_is_refused(prepared: Path, tmp_path: Path) -> None:
    folds = folds_of("unet2d_bn", CHANGES, prepared, tmp_path, 2)
    folds[0].place.mkdir()
    folds[0].run.recipe_file.write_text((prepared / "recipe.yaml").read_text().replace("folds: 2", "folds: 3"))
    with pytest.raises(RunError, match="another recipe"):
        folds_of("unet2d_bn", CHANGES, prepared, tmp_path, 2)


def test_a_case_in_two_folds_is_refused() -> None:
    from Training.evaluation.scores import CaseScore, summarize

    one = summarize([CaseScore(case="a", patient="a")], ["liver"], 2.0)
    with pytest.raises(DataError, match="a is in two"):
        together([one, one], "")


def test_more_folds_than_patients_are_refused(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError):
        folds_of("unet2d_bn", CHANGES, prepared, tmp_path, 9)
