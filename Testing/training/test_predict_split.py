"""The masks of a whole part of a prepared folder, and the scores of each class."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from Testing.conftest import MakePackage
from Testing.recipe_data import SMALL, write_slices2d
from Training.__main__ import app
from Training.data.readers import load_index
from Training.evaluation.classes import class_scores
from Training.evaluation.scores import read_scores
from Training.recipe import load_recipe
from Training.reports.score_tables import markdown

pytestmark = pytest.mark.usefixtures("float32")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("split")
    data = write_slices2d(folder / "raw")
    run("prepare", "unet2d_bn", "--data", data, "-o", folder / "prepared", *(f"--set={c}" for c in SMALL["unet2d_bn"]))
    return folder / "prepared"


def run(*words: str | Path) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture
def package(threshold_package: MakePackage) -> Path:
    return threshold_package(2, pixdim=(-1.0, -1.0, -1.0), axcodes="LPS")


@pytest.mark.parametrize("split", ["val", "all"])
def test_every_case_of_the_part_gets_its_mask(split: str, package: Path, prepared: Path, tmp_path: Path) -> None:
    run("predict", package, "--data", prepared, "--split", split, "-o", tmp_path, "--device=cpu")
    recipe = load_recipe(prepared / "recipe.yaml")
    wanted = {case.id for case in load_index(prepared, recipe) if split in (case.split, "all")}
    masks = {path.name.removesuffix("_labels.png") for path in tmp_path.glob("*_labels.png")}
    assert masks == wanted
    assert len(masks) == {"val": 4, "all": 8}[split]
    with Image.open(next(tmp_path.glob("*_labels.png"))) as mask:
        assert mask.size == (64, 64)
        assert set(np.unique(np.asarray(mask))) == {0, 1}
    with (tmp_path / "summary.csv").open() as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["done"] * len(wanted)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "name images or folders"),
        (["picture.png", "--data", "prepared"], "name images or folders"),
        (["--data", "prepared", "--slices"], "are for images"),
    ],
)
def test_images_or_a_prepared_folder_and_not_both(words: list[str], said: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["predict", "model", *words, "-o", str(tmp_path)])
    assert done.exit_code == 2
    assert said in " ".join(done.output.split())


def test_each_class_has_its_scores_the_background_too(package: Path, prepared: Path, tmp_path: Path) -> None:
    shown = run("evaluate", prepared, "--model", package, "-o", tmp_path, "--device=cpu")
    scores = read_scores(tmp_path)
    matrix = np.sum([case["confusion"] for case in json.loads((tmp_path / "scores.json").read_text())["cases"]], axis=0)
    background, liver = class_scores(scores)
    assert (background.label, liver.label) == ("background", "liver")
    for number, row in enumerate((background, liver)):
        right, drawn, found = matrix[number, number], matrix[number].sum(), matrix[:, number].sum()
        assert row.iou == pytest.approx(right / (drawn + found - right))
        assert row.accuracy == pytest.approx(right / drawn)
        assert (row.drawn, row.found) == (drawn, found)
    assert scores.summary["miou"] == pytest.approx(np.mean([row.iou for row in (background, liver)]))
    assert scores.summary["mpa"] == pytest.approx(np.mean([row.accuracy for row in (background, liver)]))
    page = (tmp_path / "report.html").read_text()
    for text in (shown, page, markdown(scores)):
        assert "background" in text
        assert f"{background.iou:.3f}" in text
