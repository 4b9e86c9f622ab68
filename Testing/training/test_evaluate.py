"""Evaluation: the same engine, labels matched by name, failures that do not stop, the report, the tail test."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
import yaml
from typer.testing import CliRunner

from LiverSegLib.engine.segmenter import Segmenter
from LiverSegLib.errors import OutputError
from LiverSegLib.labels import label_for
from LiverSegLib.measure import Measurements
from LiverSegLib.models import read_package
from LiverSegLib.phantom import make_phantom
from LiverSegLib.volume import Result, Volume
from Training.__main__ import app
from Training.data.phantoms import write_dataset
from Training.errors import DataError
from Training.evaluation.cases import LabeledVolume, Unreadable, load_cases
from Training.evaluation.evaluate import evaluate, score
from Training.evaluation.robustness import ALTERATIONS, STRESS, altered, resampled
from Training.evaluation.scores import read_scores
from Training.reports.evaluation_report import write_report
from Training.reports.score_tables import markdown

Array = npt.NDArray[Any]
COARSE = {"pixdim": (8.0, 8.0, 8.0), "overlap": 0.0}


def labeled(
    name: str, volume: Volume, reference: Array | None, names: tuple[str, ...] = ("liver",), patient: str = ""
) -> LabeledVolume:
    return LabeledVolume(name=name, volume=volume, reference=reference, names=names, patient=patient or name)


@pytest.fixture(scope="module")
def case() -> LabeledVolume:
    phantom = make_phantom(12, spacing=(5, 5, 5), phase="portal", lesions=2)
    return labeled("phantom", phantom.volume, phantom.labelmap, ("liver", "tumor"), "p1")


@pytest.fixture(scope="module")
def alterations(case: LabeledVolume) -> list[LabeledVolume]:
    return list(altered(case))


@pytest.fixture
def segmenter(threshold_package: Callable[..., Path]) -> Segmenter:
    """Calls everything above 100 HU liver and above 200 HU tumor."""
    return Segmenter(threshold_package(**COARSE), "cpu")


def result_of(labelmap: Array, *names: str) -> Result:
    labels = tuple(label_for(n, name) for n, name in enumerate(names, start=1))
    return Result(labelmap=labelmap.astype(np.uint8), affine=np.eye(4), labels=labels, measurements=Measurements())


def drawn(array: Array, *names: str) -> LabeledVolume:
    return labeled("drawn", Volume(np.zeros(array.shape), np.eye(4), "drawn"), array.astype(np.uint8), names)


def save(array: Array, affine: npt.NDArray[np.float64], path: Path) -> None:
    nib.save(nib.Nifti1Image(array, affine), path)


def strips() -> Array:
    """Background, liver and tumor, three voxels each."""
    return np.repeat([0, 1, 2], 3)[:, None, None] * np.ones((1, 4, 4), int)


def test_the_liver_includes_the_tumor_of_both() -> None:
    found = strips()
    found[6] = 1  # one slice of tumor taken for liver
    made = score(drawn(strips(), "liver", "tumor"), result_of(found, "liver", "tumor"))
    liver, tumor = made.labels
    assert (liver.label, liver.dice) == ("liver", 1.0)
    assert tumor.dice == pytest.approx(2 * 2 / 5)
    assert made.confusion == [[48, 0, 0], [0, 48, 0], [0, 16, 32]]
    assert made.classes is not None
    assert made.classes.pixel_accuracy == pytest.approx(1 - 16 / 144)
    assert made.lesions is not None
    assert (made.lesions.sensitivity, made.lesions.precision) == (1, 1)


@pytest.mark.parametrize("who", ["model", "reference"])
def test_a_tumor_that_only_one_side_knows_is_liver(who: str) -> None:
    plain, rich = (strips() > 0).astype(int), strips()
    if who == "model":
        made = score(drawn(plain, "liver"), result_of(rich, "liver", "tumor"))
    else:
        made = score(drawn(rich, "liver", "tumor"), result_of(plain, "liver"))
    assert made.labels[0].dice == 1.0
    assert made.classes is not None
    assert made.classes.miou == 1.0
    assert made.lesions is None


SEGMENTS = tuple(f"liver_segment_{number}" for number in range(1, 9))


def cut() -> Array:
    """Background, then the eight segments of the liver, two voxels each."""
    return np.repeat(range(9), 2)[:, None, None] * np.ones((1, 4, 4), int)


def test_segments_are_scored_each_and_as_the_liver_that_they_make_up() -> None:
    found = cut()
    found[2] = 2  # one slice of the first taken for the second
    made = score(drawn(cut(), *SEGMENTS), result_of(found, *SEGMENTS))
    dice = {row.label: row.dice for row in made.labels}
    assert list(dice) == [*SEGMENTS, "liver"]
    assert (dice["liver"], dice["liver_segment_3"]) == (1, 1)
    assert (dice["liver_segment_1"], dice["liver_segment_2"]) == pytest.approx((2 / 3, 4 / 5))
    assert made.lesions is None
    assert made.classes is not None
    assert made.classes.miou == pytest.approx((1 + 1 / 2 + 2 / 3 + 6) / 9)  # the liver is no class beside its segments


def test_a_reference_of_segments_scores_a_model_of_the_liver() -> None:
    found = np.where(cut() > 0, 1, 0)
    found[-2:] = 2
    made = score(drawn(cut(), *SEGMENTS), result_of(found, "liver", "tumor"))
    assert [(row.label, row.dice) for row in made.labels] == [("liver", 1.0), ("tumor", None)]
    assert made.labels[1].volume_ml == pytest.approx(32 / 1000)
    assert made.lesions is None


def test_a_reference_of_the_liver_scores_a_model_of_segments() -> None:
    reference = np.where(cut() > 0, 1, 0)
    reference[-1] = 2
    made = score(drawn(reference, "liver", "tumor"), result_of(cut(), *SEGMENTS))
    assert [(row.label, row.dice) for row in made.labels] == [*((name, None) for name in SEGMENTS), ("liver", 1.0)]
    assert {row.volume_ml for row in made.labels[:8]} == {32 / 1000}
    assert made.classes is not None
    assert made.classes.miou == 1


def test_some_segments_are_not_taken_for_the_liver() -> None:
    with pytest.raises(DataError, match="reference has liver_segment_1, liver_segment_2 but the model segments liver;"):
        score(drawn(np.minimum(cut(), 2), *SEGMENTS[:2]), result_of(cut() > 0, "liver"))


def test_labels_are_matched_by_name_not_by_value() -> None:
    reference = np.where(strips() == 1, 2, np.where(strips() == 2, 1, 0))
    made = score(drawn(reference, "spleen", "liver"), result_of(strips(), "liver", "spleen"))
    assert [(row.label, row.dice) for row in made.labels] == [("liver", 1.0), ("spleen", 1.0)]


def test_an_organ_that_only_the_reference_has_is_background() -> None:
    made = score(drawn(strips(), "liver", "spleen"), result_of(np.where(strips() == 1, 1, 0), "liver"))
    assert made.labels[0].dice == 1.0
    assert made.confusion == [[96, 0], [0, 48]]


def test_no_common_label_is_one_sentence() -> None:
    with pytest.raises(DataError, match="reference has lung but the model segments liver"):
        score(drawn(strips() > 0, "lung"), result_of(strips() > 0, "liver"))


def test_scores_survive_the_files(case: LabeledVolume, segmenter: Segmenter, tmp_path: Path) -> None:
    unlabeled = labeled("no reference", case.volume, None)
    scores = evaluate([case, unlabeled], segmenter, tmp_path, title="title", command="command")
    assert read_scores(tmp_path) == scores
    dice = scores.cases[0].labels[0].dice
    assert dice is not None
    assert 0 < dice < 1
    assert scores.summary["liver_dice_mean"] == dice
    assert (scores.summary["cases"], scores.summary["patients"]) == (1, 1)
    assert {"f_score", "miou", "mpa", "lesion_sensitivity"} <= scores.summary.keys()
    assert scores.cases[1].labels[0].dice is None
    assert scores.cases[1].labels[0].volume_ml == scores.cases[0].labels[0].volume_ml
    rows = list(csv.DictReader((tmp_path / "scores.csv").read_text(encoding="utf-8").splitlines()))
    assert [(row["case"], row["label"]) for row in rows] == [
        ("phantom", "liver"),
        ("phantom", "tumor"),
        ("no reference", "liver"),
        ("no reference", "tumor"),
    ]
    assert float(rows[0]["dice"]) == dice
    assert rows[2]["dice"] == ""
    assert all((tmp_path / str(c.picture)).is_file() for c in scores.cases)
    assert "| phantom | liver |" in markdown(scores)


def test_a_case_that_fails_is_named_and_the_others_go_on(
    case: LabeledVolume, segmenter: Segmenter, tmp_path: Path
) -> None:
    blank = labeled("blank", Volume(np.zeros((8, 8, 8)), np.eye(4), "blank"), np.zeros((8, 8, 8), np.uint8))
    lung = replace(case, name="lung", names=("lung",))
    cases: list[LabeledVolume | Unreadable] = [Unreadable("gone", "gone.nii.gz does not exist."), blank, lung, case]
    scores = evaluate(cases, segmenter, tmp_path, report=write_report)
    errors = {one.case: one.error for one in scores.cases}
    assert errors["gone"] == "gone.nii.gz does not exist."
    assert "same value" in errors["blank"] or "everywhere" in errors["blank"]
    assert "lung" in errors["lung"]
    assert errors["phantom"] == ""
    assert scores.summary["failed"] == 3
    assert scores.summary["cases"] == 1
    assert "3 of 4 cases failed" in (tmp_path / "report.html").read_text()


def test_the_report_escapes_names_and_needs_nothing_from_the_net(
    case: LabeledVolume, segmenter: Segmenter, tmp_path: Path
) -> None:
    strange = replace(case, name="../<script>alert(1)</script> & co", patient='"p"')
    scores = evaluate([strange], segmenter, tmp_path, title="<b>title</b>", report=write_report)
    text = (tmp_path / "report.html").read_text()
    assert "<script" not in text
    assert "<b>" not in text
    assert "&lt;script&gt;" in text
    assert "http://" not in text
    assert "https://" not in text
    picture = scores.cases[0].picture
    assert picture is not None
    assert picture in text
    assert (tmp_path / picture).resolve().parent == tmp_path.resolve() / "pictures"


def test_the_worst_case_comes_first(case: LabeledVolume, segmenter: Segmenter, tmp_path: Path) -> None:
    assert case.reference is not None
    wrong = replace(case, name="moved", reference=np.roll(case.reference, 8, axis=0))
    evaluate([case, wrong], segmenter, tmp_path, pictures_below=-0.1, report=write_report)
    text = (tmp_path / "report.html").read_text()
    cases = text[text.index("Cases, worst first") :]
    assert cases.index("moved") < cases.index("phantom")
    assert not list((tmp_path / "pictures").iterdir())


def test_statistics_are_over_patients(case: LabeledVolume, segmenter: Segmenter) -> None:
    assert case.reference is not None
    several = [replace(case, name=f"c{n}", reference=np.roll(case.reference, n, axis=0), patient="p") for n in range(3)]
    scores = evaluate(several, segmenter)
    liver = next(row.values for row in scores.statistics if (row.label, row.metric) == ("liver", "dice"))
    assert (scores.summary["cases"], scores.summary["patients"]) == (3, 1)
    assert liver.ci_low is None
    other = evaluate([*several, replace(case, name="other", patient="q")], segmenter)
    liver = next(row.values for row in other.statistics if (row.label, row.metric) == ("liver", "dice"))
    assert liver.minimum is not None
    assert liver.ci_low is not None
    assert liver.mean is not None
    assert liver.minimum <= liver.ci_low <= liver.mean <= (liver.ci_high or 0) <= 1


def test_damaged_or_missing_scores_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="run `python -m Training evaluate"):
        read_scores(tmp_path)
    (tmp_path / "scores.json").write_text(json.dumps({"title": "old", "cases": []}))
    with pytest.raises(DataError, match="run evaluate again"):
        read_scores(tmp_path)


def test_a_folder_that_cannot_be_made_is_one_sentence(segmenter: Segmenter, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made"):
        evaluate([], segmenter, tmp_path / "file" / "out")


def test_many_cases_give_a_short_table(case: LabeledVolume, segmenter: Segmenter) -> None:
    one = evaluate([case], segmenter)
    cases = [one.cases[0].model_copy(update={"case": str(n)}) for n in range(60)]
    many = one.model_copy(update={"cases": cases})
    text = markdown(many)
    assert "The worst 10 of 60 cases" in text
    assert text.count("| liver |") < 30


def test_cases_come_from_a_yaml_list(case: LabeledVolume, tmp_path: Path) -> None:
    assert case.reference is not None
    save(case.volume.array, case.volume.affine, tmp_path / "a.nii.gz")
    save(case.reference * 5, case.volume.affine, tmp_path / "b.nii.gz")
    listing = tmp_path / "cases.yaml"
    entry = {"name": "one", "image": "a.nii.gz", "label": "b.nii.gz"}
    listing.write_text(yaml.safe_dump([{**entry, "values": [5, 10]}, {**entry, "name": "two", "image": "gone.nii.gz"}]))
    loaded, gone = load_cases(listing, tmp_path)
    assert isinstance(loaded, LabeledVolume)
    assert loaded.names == ("liver",)
    assert loaded.reference is not None
    assert np.array_equal(loaded.reference, case.reference > 0)
    assert isinstance(gone, Unreadable)
    assert "gone.nii.gz" in gone.reason
    listing.write_text(yaml.safe_dump([{**entry, "labels": {5: "Liver", 10: "cancer"}}]))
    (loaded,) = load_cases(listing, tmp_path)
    assert isinstance(loaded, LabeledVolume)
    assert loaded.names == ("liver", "tumor")
    assert np.array_equal(loaded.reference, case.reference)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([{"name": "one", "picture": "a.nii.gz"}], "not a list of cases: .*image|picture"),
        ([{"name": "a", "image": "a", "values": [1], "labels": {1: "x"}}], "both values and labels"),
        ([{"name": "a", "image": "a"}, {"name": "a", "image": "b"}], "two cases called a"),
        ("nonsense", "not a list of cases"),
        ([], "lists no case"),
        (None, "not a list of cases"),
    ],
)
def test_a_wrong_list_is_one_sentence(entries: object, words: str, tmp_path: Path) -> None:
    (tmp_path / "cases.yaml").write_text(yaml.safe_dump(entries))
    with pytest.raises(DataError, match=words):
        list(load_cases(tmp_path / "cases.yaml"))


def test_a_missing_list_and_a_folder_without_a_listing_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        next(load_cases(tmp_path / "cases.yaml"))
    with pytest.raises(DataError, match=r"dataset\.json"):
        next(load_cases(tmp_path))


def test_an_msd_folder_tells_its_labels(case: LabeledVolume, tmp_path: Path) -> None:
    assert case.reference is not None
    save(case.volume.array, case.volume.affine, tmp_path / "image.nii.gz")
    save(case.reference, case.volume.affine, tmp_path / "label.nii.gz")
    listing = {
        "labels": {"0": "background", "1": "spleen", "2": "cancer"},
        "training": [{"image": "./image.nii.gz", "label": "./label.nii.gz"}],
    }
    (tmp_path / "dataset.json").write_text(json.dumps(listing))
    (loaded,) = load_cases(tmp_path)
    assert isinstance(loaded, LabeledVolume)
    assert loaded.names == ("spleen", "tumor")
    assert np.array_equal(loaded.reference, case.reference)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"training": [{"image": "../image.nii.gz", "label": "label.nii.gz"}]}, "leaves"),
        ({"training": [{"image": "image.nii.gz"}]}, "without an image and a label"),
        ({"labels": {}}, "does not tell what the labels mean"),
    ],
)
def test_a_bad_msd_listing_is_refused_as_prepare_refuses_it(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    listing = {"labels": {"1": "liver"}, "training": [{"image": "image.nii.gz", "label": "label.nii.gz"}], **change}
    (tmp_path / "dataset.json").write_text(json.dumps(listing))
    with pytest.raises(DataError, match=words):
        next(load_cases(tmp_path))


def test_the_command_ends_with_1_if_a_case_failed(
    case: LabeledVolume, threshold_package: Callable[..., Path], tmp_path: Path
) -> None:
    assert case.reference is not None
    save(case.volume.array, case.volume.affine, tmp_path / "a.nii.gz")
    save(case.reference, case.volume.affine, tmp_path / "b.nii.gz")
    entries = [{"name": "good", "image": "a.nii.gz", "label": "b.nii.gz", "labels": {1: "liver", 2: "tumor"}}]
    listing = tmp_path / "cases.yaml"
    arguments = [
        "evaluate",
        str(listing),
        "--model",
        str(threshold_package(**COARSE)),
        "--data",
        str(tmp_path),
        "--device",
        "cpu",
        "-o",
        str(tmp_path / "out"),
    ]
    listing.write_text(yaml.safe_dump(entries))
    good = CliRunner().invoke(app, arguments)
    assert good.exit_code == 0, good.output
    assert "Summary" in good.output
    listing.write_text(yaml.safe_dump([{"name": "bad", "image": "gone.nii.gz"}, *entries]))
    bad = CliRunner().invoke(app, arguments)
    assert bad.exit_code == 1
    assert "Failed: bad" in bad.output
    assert [c.case for c in read_scores(tmp_path / "out").cases if not c.error] == ["good"]


def test_altered_cases_calibrate_a_package(
    case: LabeledVolume, threshold_package: Callable[..., Path], tmp_path: Path
) -> None:
    """The documented way: evaluate altered cases, then calibrate."""
    assert case.reference is not None
    save(case.volume.array, case.volume.affine, tmp_path / "a.nii.gz")
    save(case.reference, case.volume.affine, tmp_path / "b.nii.gz")
    entry = {"image": "a.nii.gz", "label": "b.nii.gz", "labels": {1: "liver", 2: "tumor"}}
    listing = tmp_path / "cases.yaml"
    listing.write_text(yaml.safe_dump([{"name": "one", **entry}, {"name": "two", **entry}]))
    package = str(threshold_package(**COARSE))
    common = ["evaluate", str(listing), "--data", str(tmp_path), "--model", package, "--device", "cpu"]
    done = CliRunner().invoke(app, [*common, "--stress", "--pictures-below", "0", "-o", str(tmp_path / "stress")])
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(app, ["calibrate", package, str(tmp_path / "stress")])
    assert done.exit_code == 0, done.output
    calibration = read_package(package).calibration
    assert calibration is not None
    assert set(calibration.weights) == {"certainty", "gray", "spread"}


def test_a_prepared_folder_is_evaluated_by_split(tmp_path: Path, segmenter: Segmenter) -> None:
    from Training.data.prepare import prepare
    from Training.recipe import load_recipe

    write_dataset(tmp_path / "data", 4, spacing=(7, 7, 7))
    source = "sources=[{kind: msd, name: msd, folder: data, labels: {1: 1, 2: 2}}]"
    changes = [source, "labels={1: liver, 2: tumor}", "network.arguments.out_channels=3", "patch_size=[32, 32, 32]"]
    recipe = load_recipe("liver3d_phantom", changes)
    prepare(recipe, tmp_path, tmp_path / "prepared")
    held_out = list(load_cases(tmp_path / "prepared", split="val"))
    everything = list(load_cases(tmp_path / "prepared", split="all"))
    assert 0 < len(held_out) < len(everything) == 4
    first = held_out[0]
    assert isinstance(first, LabeledVolume)
    assert first.reference is not None
    assert first.names == tuple(recipe.labels.values())
    assert first.reference.shape == first.volume.array.shape
    scores = evaluate(held_out, segmenter)
    assert not any(one.error for one in scores.cases)
    with pytest.raises(DataError, match="nothing"):
        next(load_cases(tmp_path / "prepared", split="nothing"))


def test_every_alteration_keeps_image_and_reference_together(alterations: list[LabeledVolume]) -> None:
    found = {other.name: other for other in alterations}
    assert len(found) == len(ALTERATIONS)
    plain = found["phantom, as it is"]
    assert plain.reference is not None
    for name, other in found.items():
        assert other.reference is not None
        assert other.volume.array.shape == other.reference.shape
        assert other.reference.any(), name
        assert other.reference.max() == 1, name
        assert (other.names, other.patient) == (("liver",), "p1")
        if not name.endswith("as it is"):
            same = other.volume.array.shape == plain.volume.array.shape
            assert not same or not np.array_equal(other.volume.array, plain.volume.array), name


def test_stress_changes_the_image_and_keeps_the_organ(case: LabeledVolume) -> None:
    plain = resampled(case)
    for other in altered(case, STRESS):
        assert other.reference is not None
        assert other.reference.any(), other.name
        assert other.volume.array.shape == other.reference.shape
        assert np.isfinite(other.volume.array).all()
        same = other.volume.array.shape == plain.volume.array.shape
        assert not same or not np.array_equal(other.volume.array, plain.volume.array), other.name


def test_alterations_are_the_same_twice(case: LabeledVolume, alterations: list[LabeledVolume]) -> None:
    for one, two in zip(alterations, altered(case), strict=True):
        assert np.array_equal(one.volume.array, two.volume.array), one.name
