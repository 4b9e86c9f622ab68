"""Learning from corrected cases: better, never worse on what is held back, and the package stays whole."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml

from LiverSegLib.errors import ModelError
from LiverSegLib.labels import labels_for
from LiverSegLib.models import Guide, read_package
from LiverSegLib.models.intensity import ScaleRange
from LiverSegLib.models.weights import loaded_network
from Testing.conftest import MakePackage
from Training.corrections.finetune import Lesson, finetune
from Training.corrections.folder import corrected_sources
from Training.corrections.looks import Look, LookFile, Rule, kept, look_at
from Training.corrections.package import lost_partners
from Training.data.prepare import prepare
from Training.data.readers import load_index
from Training.errors import DataError, RunError
from Training.fit.callbacks import StoppedError
from Training.fit.train import Hardware
from Training.recipe import load_recipe
from Training.recipe.options import CT_ONLY

CPU = Hardware(accelerator="cpu", devices="1")
SMALL = (
    "inference.roi_size=[24, 24, 24]",
    "patch_size=[16, 16, 16]",
    "optimization.samples_per_epoch=6",
    "optimization.learning_rate=0.01",
)


def write_case(folder: Path, number: int) -> dict[str, str]:
    """A ball of a liver with a lesion, 24 voxels of 8 mm along each axis; the entry of dataset.json."""
    rng = np.random.default_rng(number)
    grid = np.indices((24, 24, 24)) + 0.5
    far = [np.sqrt(((grid - rng.uniform(10, 14, (3, 1, 1, 1))) ** 2).sum(0)) for _ in range(2)]
    label = (far[0] < 8).astype(np.uint8)
    label[(far[1] < 3) & (label > 0)] = 2
    image = np.array([-90, 110, 240])[label] + rng.normal(0, 15, label.shape)
    affine = np.diag([8.0, 8, 8, 1])
    names = f"imagesTr/case_{number}.nii.gz", f"labelsTr/case_{number}.nii.gz"
    for name, array in zip(names, (image.astype(np.int16), label), strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(array, affine), folder / name)
    return {"image": f"./{names[0]}", "label": f"./{names[1]}"}


def write_cases(folder: Path, count: int = 4, first: int = 0) -> Path:
    """A folder of corrected cases, as Slicer writes it."""
    listed = [write_case(folder, first + number) for number in range(count)]
    content = {"labels": {"0": "background", "1": "liver", "2": "tumor"}, "training": listed}
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def corrected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four corrected cases."""
    return write_cases(tmp_path_factory.mktemp("data") / "corrected")


def say_drawn(folder: Path, labels: dict[str, list[str]]) -> None:
    entries = [
        {"case": case, "labels": drawn, "who": "reader 1", "when": "2026-01-01"} for case, drawn in labels.items()
    ]
    (folder / "corrections.json").write_text(json.dumps(entries))


@pytest.fixture
def start(random_package: MakePackage) -> Path:
    """A package that knows nothing yet."""
    return random_package(labels=2, pixdim=(8.0, 8.0, 8.0))


def test_a_package_learns_and_stays_what_it_is(start: Path, corrected: Path, tmp_path: Path) -> None:
    lesson = Lesson(start=start, cases=corrected, run=tmp_path / "run", looks=3, changes=SMALL)
    learned = finetune(lesson, tmp_path / "better", workers=0, hardware=CPU)

    assert [look.number for look in learned.looks] == [0, 1, 2, 3]
    assert learned.kept.number > 0
    assert learned.kept.score > learned.looks[0].score
    before, after = read_package(start), read_package(tmp_path / "better")
    assert after.version == "1.2.3+1"
    assert (after.labels, after.pixdim, after.inferer, after.network) == (
        before.labels,
        before.pixdim,
        before.inferer,
        before.network,
    )
    card = (tmp_path / "better" / "docs" / "README.md").read_text()
    assert "| corrected | liver |" in card
    # The scores of the table are those of the weights in the package.
    again = Lesson(start=tmp_path / "better", cases=corrected, run=tmp_path / "again", looks=1, changes=SMALL)
    assert finetune(again, workers=0, hardware=CPU).looks[0].score == pytest.approx(learned.kept.score, abs=2e-3)


def test_where_nothing_is_better_the_start_is_kept(start: Path, corrected: Path, tmp_path: Path) -> None:
    # So small a step that no voxel changes its label.
    still = ("patch_size=[16, 16, 16]", "optimization.samples_per_epoch=2", "optimization.learning_rate=1e-12")
    lesson = Lesson(start=start, cases=corrected, run=tmp_path / "run", looks=2, changes=still)
    learned = finetune(lesson, tmp_path / "same", workers=0, hardware=CPU)
    assert learned.kept.number == 0
    old, new = (loaded_network(read_package(path)).state_dict() for path in (start, tmp_path / "same"))
    assert all(torch.allclose(old[name], new[name], atol=1e-3) for name in old)
    assert read_package(tmp_path / "same").version == "1.2.3"


def test_a_run_goes_on_where_it_was_stopped(
    start: Path, corrected: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lesson = Lesson(start=start, cases=corrected, run=tmp_path / "run", looks=2, changes=SMALL)
    whole = finetune(replace(lesson, run=tmp_path / "whole"), workers=0, hardware=CPU)

    write = LookFile.write

    def write_and_stop(file: LookFile, looks: list[Look]) -> None:
        write(file, looks)
        if len(looks) == 2:  # after the first look, before its epoch is saved
            raise StoppedError("stopped")

    monkeypatch.setattr(LookFile, "write", write_and_stop)
    with pytest.raises(StoppedError):
        finetune(lesson, workers=0, hardware=CPU)
    monkeypatch.undo()
    assert finetune(lesson, workers=0, hardware=CPU).looks == whole.looks
    # Nothing is left to do: the same command gives the same.
    assert finetune(lesson, workers=0, hardware=CPU).looks == whole.looks
    with pytest.raises(RunError, match="holds another run"):
        finetune(replace(lesson, looks=5), workers=0, hardware=CPU)


def test_older_data_is_shown_again_and_watched(start: Path, corrected: Path, tmp_path: Path) -> None:
    older = tmp_path / "older.yaml"
    older.write_text(yaml.safe_dump(OLDER))
    write_cases(tmp_path / "older", 3, first=10)
    recipe = load_recipe(older)
    prepare(recipe, tmp_path, tmp_path / "prepared")
    lesson = Lesson(
        start=start, cases=corrected, run=tmp_path / "run", replay=tmp_path / "prepared", looks=1, changes=SMALL
    )
    learned = finetune(lesson, workers=0, hardware=CPU)
    assert set(learned.looks[0].dice) == {"corrected", "earlier"}
    kept_recipe = load_recipe(tmp_path / "run" / "recipe.yaml")
    assert [(source.name, source.weight) for source in kept_recipe.sources] == [("older", 1.0), ("corrected", 1.0)]
    cases = load_index(tmp_path / "run" / "prepared", kept_recipe)
    assert sorted((case.source, case.split) for case in cases) == [
        ("corrected", "train"),
        ("corrected", "train"),
        ("corrected", "train"),
        ("corrected", "val"),
        ("older", "train"),
        ("older", "train"),
        ("older", "val"),
    ]
    other = load_recipe(older, ["preprocess.pixdim=[4, 4, 4]"])
    prepare(other, tmp_path, tmp_path / "finer")
    with pytest.raises(DataError, match="prepared with other voxel size"):
        finetune(replace(lesson, replay=tmp_path / "finer", run=tmp_path / "other"), workers=0, hardware=CPU)


OLDER = {
    "name": "older",
    "spatial_dims": 3,
    "labels": {1: "liver", 2: "tumor"},
    "sources": [{"kind": "msd", "name": "older", "folder": "older", "labels": {1: 1, 2: 2}}],
    "split": {"validation_fraction": 0.3},
    "preprocess": {"axcodes": "RAS", "pixdim": [8, 8, 8], "window": [-100, 300]},
    "network": {"name": "UNet", "arguments": {"channels": [4, 8, 16], "strides": [2, 2], "num_res_units": 1}},
    "patch_size": [16, 16, 16],
    "augment": dict.fromkeys(("affine", "elastic", *CT_ONLY), 0),
    "optimization": {"max_epochs": 1, "batch_size": 2},
    "inference": {"roi_size": [32, 32, 32]},
    "card": dict.fromkeys(("title", "version", "license", "data_source", "intended_use", "limits"), "a test"),
}


def test_the_guide_of_a_package_stays(
    start: Path, random_package: MakePackage, corrected: Path, tmp_path: Path
) -> None:
    random_package(labels=2, name="guide", pixdim=(8.0, 8.0, 8.0))
    guided = random_package(labels=2, name="guided", pixdim=(8.0, 8.0, 8.0), guide=Guide("guide", 30.0))
    assert guided.parent == start.parent
    run = tmp_path / "run"
    finetune(
        Lesson(start=guided, cases=corrected, run=run, looks=1, changes=SMALL), tmp_path / "b", workers=0, hardware=CPU
    )
    assert read_package(tmp_path / "b").guide == Guide("guide", 30.0)
    assert lost_partners(tmp_path / "b") == []
    (tmp_path / "far").mkdir()
    shutil.copytree(tmp_path / "b", tmp_path / "far" / "b")
    assert lost_partners(tmp_path / "far" / "b") == ["guide"]


def test_what_was_not_drawn_is_left_open(tmp_path: Path) -> None:
    folder = write_cases(tmp_path / "cases", 3)
    labels = labels_for({1: "liver", 2: "tumor"})
    (one,) = corrected_sources(folder, labels)
    assert (one["labels"], one["undivided"], one["exclude"]) == ({1: 1, 2: 2}, {}, [])
    say_drawn(folder, {"case_0": ["liver", "cancer"], "case_1": ["1"], "case_2": ["liver", "tumor"]})
    both, only = corrected_sources(folder, labels, ["corrected"])
    assert (both["name"], both["exclude"], both["undivided"]) == ("corrected2", ["case_1"], {})
    assert (only["name"], only["exclude"], only["undivided"]) == ("corrected3", ["case_0", "case_2"], {2: 1})
    # A model of the liver alone takes its tumors for liver.
    assert corrected_sources(folder, labels_for({1: "liver"}))[0]["labels"] == {1: 1, 2: 1}


def test_cases_that_cannot_teach_are_refused_in_a_sentence(tmp_path: Path) -> None:
    folder = write_cases(tmp_path / "cases", 1)
    with pytest.raises(DataError, match="has the labels liver, tumor, and the model lung"):
        corrected_sources(folder, labels_for({1: "lung"}))
    with pytest.raises(DataError, match="case_0 has no spleen drawn"):
        corrected_sources(folder, labels_for({1: "liver", 2: "spleen"}))
    (folder / "corrections.json").write_text("[1")
    with pytest.raises(DataError, match="is no list of cases with their labels"):
        corrected_sources(folder, labels_for({1: "liver"}))


def test_one_case_alone_and_models_that_recipes_cannot_say_are_refused(
    start: Path, random_package: MakePackage, tmp_path: Path
) -> None:
    folder = write_cases(tmp_path / "cases", 1)
    with pytest.raises(DataError, match="holds one case"):
        finetune(Lesson(start=start, cases=folder, run=tmp_path / "run", changes=SMALL), workers=0, hardware=CPU)
    with pytest.raises(ModelError, match="There is no model"):
        finetune(Lesson(start="nothing", cases=folder, run=tmp_path / "run"), workers=0, hardware=CPU)
    odd = random_package(name="odd", intensity=(ScaleRange(0, 1), ScaleRange(0, 1)))
    with pytest.raises(RunError, match="in a way that recipes do not have"):
        finetune(Lesson(start=odd, cases=folder, run=tmp_path / "run"), workers=0, hardware=CPU)


def test_only_what_harms_no_group_is_kept() -> None:
    def look(number: int, new: float, old: float, kept: bool = False) -> Look:
        return Look(number=number, dice={"corrected": {"liver": new}, "earlier": {"liver": old}}, kept=kept)

    begin = look(0, 0.5, 0.9)
    assert not Rule().keeps(look(1, 0.9, 0.89), [begin])
    assert Rule(may_lose=0.02).keeps(look(1, 0.9, 0.89), [begin])
    assert not Rule().keeps(look(1, 0.49, 0.99), [begin])
    better = look(1, 0.6, 0.9, kept=True)
    assert Rule().keeps(better, [begin])
    assert not Rule().keeps(look(2, 0.55, 0.91), [begin, better])
    assert kept([begin, better, look(2, 0.9, 0.1)]) is better
    assert not Rule(patience=2).over([begin, better, look(2, 0.9, 0.1)])
    assert Rule(patience=2).over([begin, better, look(2, 0.9, 0.1), look(3, 0.9, 0.1)])


def test_a_look_is_the_mean_over_the_images_of_each_group() -> None:
    sums = torch.tensor([[[4.0, 8], [1, 1]], [[8, 8], [1, 1]], [[0, 0], [1, 1]], [[1, 4], [1, 1]]], dtype=torch.float64)
    found = look_at(3, sums, ["corrected", "earlier", "earlier", "corrected"], ["liver"])
    assert found.dice == {"corrected": {"liver": 0.375}, "earlier": {"liver": 1.0}}
