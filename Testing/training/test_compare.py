"""Comparisons: cases matched by name, paired tests, honest notes, the files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from Training.__main__ import app
from Training.errors import DataError
from Training.evaluation.compare import compare, run_names
from Training.evaluation.metrics import LabelScore
from Training.evaluation.scores import CaseScore, summarize, write_scores
from Training.reports.comparison_report import markdown, write_comparison

# Right, false positive and false negative pixels of each of eight cases, of 1000.
GOOD = [(180 + n, 5 + n, 6) for n in range(8)]
BAD = [(150 + n, 20 + n, 36) for n in range(8)]


def dice_of(numbers: tuple[int, int, int]) -> float:
    right, false, missed = numbers
    return 2 * right / (2 * right + false + missed)


def scored(name: str, right: int, false: int, missed: int, patient: str) -> CaseScore:
    dice = dice_of((right, false, missed))
    row = LabelScore(
        label="liver",
        volume_ml=right + false,
        reference_ml=right + missed,
        volume_error_percent=0.0,
        dice=dice,
        iou=dice / (2 - dice),
        precision=right / (right + false),
        recall=right / (right + missed),
        nsd=dice,
        hd95_mm=None if name == "c0" else 10 * (1 - dice),
        assd_mm=1 - dice,
    )
    confusion = [[1000 - right - false - missed, false], [missed, right]]
    return CaseScore(case=name, patient=patient, labels=[row], confusion=confusion)


def folder_of(
    folder: Path, numbers: list[tuple[int, int, int]], tolerance: float = 2.0, patient: str = "", label: str = "liver"
) -> Path:
    folder.mkdir(parents=True)
    cases = [scored(f"c{n}", *three, patient=patient or f"c{n}") for n, three in enumerate(numbers)]
    if label != "liver":
        cases = [
            c.model_copy(update={"labels": [LabelScore(label=label, volume_ml=1.0)], "confusion": c.confusion})
            for c in cases
        ]
    write_scores(folder, summarize(cases, [label], tolerance, model=f"model {folder.parent.name}"))
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    return [
        folder_of(tmp_path / "vgg16" / "scores", GOOD),
        folder_of(tmp_path / "bn" / "scores", BAD),
        folder_of(tmp_path / "attention" / "scores", GOOD),
    ]


def test_runs_are_called_by_what_tells_them_apart(folders: list[Path]) -> None:
    assert run_names(folders) == ["vgg16", "bn", "attention"]
    with pytest.raises(DataError, match="given twice"):
        run_names([folders[0], folders[0]])


def test_differences_are_paired_and_corrected(folders: list[Path]) -> None:
    found = compare(folders)
    dice = {(d.first, d.second): d.result for d in found.differences if d.metric == "dice"}
    assert set(dice) == {("vgg16", "bn"), ("vgg16", "attention"), ("bn", "attention")}
    worse = dice["vgg16", "bn"]
    per_case = [dice_of(b) - dice_of(a) for a, b in zip(GOOD, BAD, strict=True)]
    assert worse.mean == pytest.approx(np.mean(per_case))
    assert worse.p == pytest.approx(2 / 2**8)
    assert worse.p_holm == pytest.approx(3 * 2 / 2**8)
    assert worse.ci_low is not None
    assert worse.ci_high is not None
    assert worse.mean is not None
    assert worse.ci_low < worse.mean < worse.ci_high < 0
    same = dice["vgg16", "attention"]
    assert (same.mean, same.p, same.p_holm) == (0, 1, 1)


def test_pooled_scores_are_of_all_pixels(folders: list[Path]) -> None:
    pooled = compare(folders).pooled[1]
    right, false, missed = np.sum(BAD, axis=0)
    background = 8000 - right - false - missed
    assert pooled["f_score"] == pytest.approx(2 * right / (2 * right + false + missed))
    ious = right / (right + false + missed), background / (background + false + missed)
    assert pooled["miou"] == pytest.approx(np.mean(ious))
    assert pooled["mpa"] == pytest.approx(np.mean([right / (right + missed), background / (background + false)]))


def test_a_case_without_a_distance_is_left_out_of_that_metric_only(folders: list[Path]) -> None:
    found = compare(folders)
    hd95 = next(row for row in found.rows if row.metric == "hd95_mm")
    assert hd95.runs[0] is not None
    assert (hd95.runs[0].n, hd95.runs[0].missing) == (7, 1)
    assert next(d.result.n for d in found.differences if d.metric == "hd95_mm") == 7


def test_few_patients_get_no_p_value(tmp_path: Path) -> None:
    folders = [folder_of(tmp_path / name, numbers[:5]) for name, numbers in (("a", GOOD), ("b", BAD))]
    found = compare(folders)
    assert all(d.result.p is None and d.result.p_holm is None for d in found.differences)
    assert "| - | - | 5 | 0 | 5 |" in markdown(found)
    assert "fewer than 6 patients" in markdown(found)


def test_slices_of_one_patient_count_once(tmp_path: Path) -> None:
    folders = [folder_of(tmp_path / name, numbers, patient="p") for name, numbers in (("a", GOOD), ("b", BAD))]
    found = compare(folders)
    assert found.patients == 1
    assert all(d.result.patients == 1 and d.result.p is None for d in found.differences)


def test_cases_that_not_all_scored_are_named(tmp_path: Path) -> None:
    found = compare([folder_of(tmp_path / "a", GOOD), folder_of(tmp_path / "b", BAD[:6])])
    assert found.cases == [f"c{n}" for n in range(6)]
    assert found.left_out == ["c6", "c7"]
    assert "Left out, because not every run scored them: c6, c7." in markdown(found)


@pytest.mark.parametrize("problem", ["one", "missing", "tolerance", "cases", "labels"])
def test_what_cannot_be_compared_is_one_sentence(problem: str, tmp_path: Path) -> None:
    first = folder_of(tmp_path / "a", GOOD)
    second = tmp_path / "b"
    words = {
        "one": "at least two folders",
        "missing": "holds no scores.json",
        "tolerance": "2 mm and 3 mm",
        "cases": "no scored case in common",
        "labels": "no label in common",
    }
    if problem == "tolerance":
        folder_of(second, BAD, tolerance=3.0)
    elif problem == "cases":
        folder_of(second, [])
    elif problem == "labels":
        folder_of(second, BAD, label="lung")
    with pytest.raises(DataError, match=words[problem]):
        compare([first] if problem == "one" else [first, second])


def test_the_command_writes_table_plot_and_page(folders: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "compared"
    done = CliRunner().invoke(app, ["compare", *map(str, folders), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert (out / "comparison.png").read_bytes().startswith(b"\x89PNG")
    text = (out / "comparison.md").read_text()
    for words in ("F-score", "mIoU", "mPA", "bn - vgg16", "attention - bn"):
        assert words in text
    header = next(line for line in text.splitlines() if line.startswith("| label"))
    assert header == "| label | metric | vgg16 | bn | attention |"
    page = (out / "comparison.html").read_text()
    assert "data:image/png;base64," in page
    assert "model bn" in page
    assert json.loads((out / "comparison.json").read_text())["runs"] == ["vgg16", "bn", "attention"]


def test_names_in_the_page_are_escaped(tmp_path: Path) -> None:
    folders = [folder_of(tmp_path / name, GOOD) for name in ("<i>a", "b|c")]
    write_comparison(tmp_path / "out", compare(folders))
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert "<i>" not in page
    assert "&lt;i&gt;a" in page
    assert "b\\|c" in (tmp_path / "out" / "comparison.md").read_text()
