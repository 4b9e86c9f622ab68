"""Preparing with several processes, and what it takes of the disk."""

from __future__ import annotations

import os
import shutil
import signal
from collections import namedtuple
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
import yaml
from PIL import Image
from typer.testing import CliRunner

from LiverSegLib import system
from Training.__main__ import app
from Training.data import workers as several
from Training.data.conversion import Conversion
from Training.data.estimate import Estimate, estimate, text
from Training.data.partial import Partial
from Training.data.prepare import BadDataError, check, prepare
from Training.data.readers import Entry, RawCase, list_cases
from Training.data.workers import convert_all, sensible_workers
from Training.errors import DataError
from Training.recipe import Recipe, load_recipe

LPS = np.diag([-2.0, -2.0, 3.0, 1.0])
SOURCE = {
    "kind": "files",
    "name": "ct",
    "image": "{name}_ct.nii.gz",
    "masks": [{"path": "{name}_label.nii.gz", "values": {1: 1, 2: 2}}],
}
SMALL = ["preprocess.pixdim=[3, 3, 4]", "patch_size=[8, 8, 8]", "inference.roi_size=[8, 8, 8]", "sampling={}"]
# Means and deviations depend on the order of sums, so on threads.
ZSCORE = (
    "preprocess.normalize=zscore",
    "augment={contrast: 0, organ_contrast: 0, lesion: 0, mass: 0, fluid: 0, arms: 0, crop_field: 0}",
)
Usage = namedtuple("Usage", "total used free")


def recipe_of(*changes: str) -> Recipe:
    sources = yaml.safe_dump([SOURCE], default_flow_style=True, width=10**6)
    return load_recipe("liver3d_phantom", [f"sources={sources}", *SMALL, *changes])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for seed in range(5):
        rng = np.random.default_rng(seed)
        image = np.full((40 + seed, 36, 20), -1000, np.int16)
        image[6:30, 5:25] = rng.integers(0, 100, (24, 20, 20))
        label = np.zeros(image.shape, np.uint8)
        label[8:20, 7:19, 3:15], label[9:14, 8:12, 4:9] = 1, 2
        for part, array in (("ct", image), ("label", label)):
            nib.save(nib.Nifti1Image(array, LPS), folder / f"p{seed}_{part}.nii.gz")
    return folder


def test_any_number_of_workers_writes_the_same(data: Path, tmp_path: Path) -> None:
    recipe = recipe_of(*ZSCORE)
    seen: list[tuple[int, int]] = []
    once = prepare(recipe, data, tmp_path / "once")
    twice = prepare(recipe, data, tmp_path / "twice", lambda done, total, _: seen.append((done, total)), workers=2)
    assert twice == once
    assert seen == [(done, 5) for done in range(6)]
    files = sorted(path.relative_to(tmp_path / "once") for path in (tmp_path / "once").rglob("*") if path.is_file())
    assert len(files) == 5 * 2 + 5
    for file in files:
        assert (tmp_path / "twice" / file).read_bytes() == (tmp_path / "once" / file).read_bytes(), file


@pytest.mark.slow
def test_errors_of_several_workers_come_in_the_order_of_the_recipe(data: Path, tmp_path: Path) -> None:
    for name in ("p1", "p3"):
        nib.save(nib.Nifti1Image(np.full((40, 36, 20), 9, np.uint8), LPS), data / f"{name}_label.nii.gz")
    with pytest.raises(BadDataError) as caught:
        prepare(recipe_of(), data, tmp_path / "out", workers=2)
    assert [finding.file for finding in caught.value.report.errors] == ["p1_label.nii.gz", "p3_label.nii.gz"]
    kept = {path.name for path in (tmp_path / ".out-partial/cases").glob("*_image.npy")}
    assert kept == {f"ct_p{n}_image.npy" for n in (0, 2, 4)}


def _killed(parent: int) -> RawCase:
    """What the system does when memory runs out, in a worker only."""
    assert os.getpid() != parent
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_killed_worker_is_one_sentence_and_costs_one_case(data: Path, tmp_path: Path) -> None:
    recipe, out = recipe_of(), tmp_path / "out"
    (source,) = recipe.sources
    first, second, *_ = list_cases(source, data)
    bad = Entry(name="bad", patient="bad", source="ct", read=partial(_killed, os.getpid()))
    conversion = Conversion(recipe, data, tmp_path / ".out-partial")
    Partial(tmp_path / ".out-partial", recipe)  # makes its folders
    with pytest.raises(DataError, match=r"was killed.*what is converted is kept.*--workers 1"):
        for _ in convert_all(conversion, [(0, source, first), (1, source, second), (2, source, bad)], 2):
            pass
    told: list[int] = []
    report = prepare(recipe, data, out, lambda done, _total, _name: told.append(done))
    assert len(report.cases) == 5
    # What was converted before is not converted again.
    assert told[0] in (0, 1, 2)
    assert told[-1] == 5


def test_the_estimate_is_what_is_written(data: Path, tmp_path: Path) -> None:
    for changes in ((), ZSCORE):
        recipe = recipe_of(*changes)
        found = estimate(list_cases(recipe.sources[0], data), recipe)
        out = tmp_path / f"out{len(changes)}"
        told: list[str] = []
        prepare(recipe, data, out, tell=told.append)
        written = sum(path.stat().st_size - 128 for path in (out / "cases").iterdir())  # 128 bytes of header each
        assert found is not None
        assert found.stored == written
        assert found.voxels == sum((40 + n) * 36 * 20 for n in range(5))
        assert found.largest == 44 * 36 * 20
        assert told[0].startswith(f"About {text(written)} will be written; the disk has ")


def test_headers_of_other_formats_tell_as_much(data: Path, tmp_path: Path) -> None:
    recipe = recipe_of()
    (source,) = recipe.sources
    (entry, *_) = list_cases(source, data)
    expected = estimate([entry], recipe)
    assert expected is not None
    image = SimpleITK.ReadImage(str(entry.image))
    for ending in (".nrrd", ".mha"):
        path = tmp_path / f"same{ending}"
        SimpleITK.WriteImage(image, str(path))
        assert estimate([Entry(name="a", patient="a", source="ct", image=path, read=entry.read)], recipe) == expected
    picture = tmp_path / "a.png"
    Image.fromarray(np.zeros((30, 40), np.uint8)).save(picture)
    found = estimate([Entry(name="a", patient="a", source="ct", image=picture, read=entry.read)], recipe)
    assert found == Estimate(stored=40 * 30 * 3, voxels=1200, largest=1200)
    nothing = Entry(name="a", patient="a", source="ct", read=entry.read)
    (tmp_path / "damaged.nii.gz").write_bytes(b"no image")
    damaged = Entry(name="b", patient="b", source="ct", image=tmp_path / "damaged.nii.gz", read=entry.read)
    assert estimate([nothing, damaged], recipe) is None
    assert estimate([entry, damaged], recipe) == Estimate(
        stored=2 * expected.stored, voxels=2 * expected.voxels, largest=expected.largest
    )


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9, 1000))
    with pytest.raises(DataError, match=r"needs about \d+ kB, but its disk has 1 kB left; make room"):
        prepare(recipe_of(), data, tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"data"}
    check(recipe_of(), data)  # writes nothing, so it needs nothing


def test_as_many_workers_as_there_is_work_and_memory_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(several, "allowed_cpus", lambda: 12)
    monkeypatch.setattr(several, "main_memory", lambda: system.MainMemory(64 * 10**9))
    large = Estimate(stored=1, voxels=10**10, largest=10**8)
    assert sensible_workers(large) == 7  # of 6.6 GB each in four fifths of the memory
    assert sensible_workers(Estimate(stored=1, voxels=10**10, largest=10**7)) == 12
    assert sensible_workers(Estimate(stored=1, voxels=10**8, largest=10**7)) == 2
    assert sensible_workers(Estimate(stored=1, voxels=10**6, largest=10**6)) == 1
    assert sensible_workers(None) == 1


def test_the_command_tells_the_disk_and_takes_workers(data: Path, tmp_path: Path) -> None:
    words = ["prepare", "liver3d_phantom", "--data", str(data), "-o", str(tmp_path / "out"), "--workers", "1"]
    sources = yaml.safe_dump([SOURCE], default_flow_style=True, width=10**6)
    for change in (f"sources={sources}", *SMALL):
        words += ["--set", change]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "will be written; the disk has" in result.output
