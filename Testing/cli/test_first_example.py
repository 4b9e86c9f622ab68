"""The first example of README and docs, as it is written: the commands run, and the promised numbers come out."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from LiverSegLib.cli import commands
from LiverSegLib.phantom import make_phantom
from Testing import documented
from Training.__main__ import app
from Training.data.phantoms import write_dataset
from Training.evaluation.scores import read_scores

ROOT = Path(__file__).parents[2]
TINY = [
    "preprocess.pixdim=[12, 12, 12]",
    "patch_size=[16, 16, 16]",
    "inference.roi_size=[16, 16, 16]",
    "network.arguments={init_filters: 8, blocks_down: [1, 1], dsdepth: 1}",
    "optimization.max_epochs=1",
    "optimization.samples_per_epoch=2",
    "optimization.validate_every=1",
    "split={validation_fraction: 0.25, test_fraction: 0.25}",
]
"""Overrides that let the example run in seconds."""


def example(document: str) -> list[list[str]]:
    """The commands of the first block of a document that makes phantoms, word by word."""
    block = next(block for block in documented.blocks(document, "sh") if "-m Training phantom" in block)
    return [list(words) for words in documented.lines(block) if words[0] != "pip"]


def promised(document: str) -> tuple[float, float]:
    """The Dice of liver and tumor that a document promises."""
    text = " ".join((ROOT / document).read_text(encoding="utf-8").split())
    found = re.search(r"liver Dice of at least (0\.\d+) and a tumou?r Dice above (0\.\d+)", text)
    assert found is not None, f"{document} promises nothing"
    return float(found[1]), float(found[2])


def run(words: list[str]) -> str:
    """Run a documented command in this process."""
    program: typer.Typer = commands.app
    arguments = words[1:]
    if words[0] == "python":
        assert words[1:3] == ["-m", "Training"]
        program, arguments = app, words[3:]
    done = CliRunner().invoke(program, arguments)
    assert done.exit_code == 0, (words, done.output, done.exception)
    return done.output


def tiny(words: list[str]) -> list[str]:
    """The same command on a handful of phantoms, coarse and short."""
    if "phantom" in words:
        count = words.index("--count") + 1
        return [*words[:count], "4", *words[count + 1 :]]
    if {"prepare", "train"} & set(words):
        return [*words, *(f"--set={change}" for change in TINY)]
    return words


def test_both_documents_show_the_same_example() -> None:
    short, long = example("README.md"), example("docs/training.md")
    assert [words for words in long if words in short] == short
    assert promised("README.md") == promised("docs/training.md") == (0.93, 0.4)


def test_the_commands_run_as_documented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # As documented but for the scanner's voxels, which are finer than the recipe's need.
    coarse = {"spacing": (5.0, 5.0, 5.0)}
    monkeypatch.setattr("Training.data.phantoms.make_phantom", lambda seed, **how: make_phantom(seed, **how | coarse))
    for words in example("docs/training.md"):
        run(tiny(words))
    scores = read_scores(tmp_path / "scores/first")
    assert scores.summary["cases"] == 1
    assert (tmp_path / "runs/first/report.html").is_file()
    assert "lesions found" in (tmp_path / "packages/first/docs/README.md").read_text()
    assert list(tmp_path.glob("**/*_labels.nii.gz"))


def test_easy_phantoms_are_what_they_are_said_to_be(tmp_path: Path) -> None:
    from LiverSegLib.io import read_volume
    from LiverSegLib.measure import find_lesions

    write_dataset(tmp_path, 3, seed=4, easy=True, spacing=(4.0, 4.0, 4.0))
    longest: list[float] = []
    for path in sorted((tmp_path / "labelsTr").iterdir()):
        volume = read_volume(path)
        height = max(np.abs(np.diff(volume.affine[2, :3] * np.array(volume.array.shape), prepend=0)))
        assert height < 400  # no trunk
        longest += [lesion.longest_diameter_mm for lesion in find_lesions(volume.array == 2, volume.affine)]
    assert longest
    assert min(longest) > 12  # where the liver's edge cuts a lesion it is smaller


def test_a_lesion_size_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="lesion_mm"):
        make_phantom(1, lesion_mm=(30.0, 20.0))


@pytest.mark.slow
def test_the_example_keeps_its_promise(tmp_path: Path) -> None:
    """The block, command by command, in processes of their own; about ten minutes on two cores."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    for words in example("docs/training.md"):
        program = ["-m", "LiverSegLib.cli", *words[1:]] if words[0] == "liverseg" else words[1:]
        subprocess.run([sys.executable, *program], cwd=tmp_path, env=environment, check=True)
    scores = read_scores(tmp_path / "scores/first")
    summary = scores.summary
    liver, tumor = promised("docs/training.md")
    assert summary["liver_dice_n"] == summary["cases"] == 12
    assert summary["liver_dice_mean"] >= liver
    assert summary["tumor_dice_mean"] > tumor
    assert summary["lesions_found"] > summary["lesions_reference"] / 2
