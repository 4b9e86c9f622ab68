"""Learning from corrected cases: better, never worse on what is held back, and the package stays whole."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from LiverSegLib.models import read_package
from LiverSegLib.models.weights import loaded_network
from Testing.conftest import MakePackage
from Training.corrections.finetune import Lesson, finetune
from Training.fit.train import Hardware

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
