"""Main memory as a budget: what is predicted is what a process takes, and a limit is kept or refused in a sentence."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from LiverSegLib.engine import budget
from LiverSegLib.engine.segmenter import Segmenter
from LiverSegLib.errors import DeviceError, InputError
from LiverSegLib.request import SegmentationRequest, Settings
from LiverSegLib.system import resident_bytes
from LiverSegLib.volume import Volume
from Testing.benchmarks.models import random_package
from Testing.conftest import MakePackage

ROOT = Path(__file__).resolve().parents[2]
GRID = np.diag([1.5, 1.5, 1.5, 1.0])
FACTOR = 1.6
"""Between what is predicted and what is found, either way; see docs/performance.md."""


def noise(shape: tuple[int, int, int]) -> Volume:
    array = np.random.default_rng(0).integers(-100, 250, shape).astype(np.int16, order="F")
    return Volume(array, GRID, "ct.nii", "CT")


@pytest.fixture
def empty_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if nothing were loaded: limits are then those of the segmentation alone."""
    monkeypatch.setattr(budget, "resident_bytes", lambda: 0)
    monkeypatch.setattr(budget, "ROOM", 0)


@pytest.mark.usefixtures("empty_process", "float32")
@pytest.mark.parametrize("dims", [2, 3])
def test_within_a_limit_fewer_slices_are_kept_and_the_labels_are_the_same(
    random_package: MakePackage, dims: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = random_package(dims, labels=2, roi_size=(32,) * dims)
    segmenter, volume = Segmenter(package, "cpu"), noise((48, 48, 100))
    expected, usual = segmenter.segment(volume), segmenter.need(volume)
    assert usual.kept == 75  # all, of 2 mm
    kept: list[int | None] = []
    choose = budget.most_kept
    monkeypatch.setattr(budget, "most_kept", lambda *about: kept.append(choose(*about)) or kept[-1])
    enough = SegmentationRequest(settings=segmenter.settings, memory_limit=usual.most)
    assert np.array_equal(segmenter.segment(volume, request=enough).labelmap, expected.labelmap)
    less = SegmentationRequest(settings=segmenter.settings, memory_limit=usual.most - 30 * usual.slices)
    found = segmenter.segment(volume, request=less)
    assert np.array_equal(found.labelmap, expected.labelmap)
    assert found.warnings == expected.warnings
    assert kept[0] is None
    assert kept[-1] is not None
    per_slice = usual.slices // 4 * usual.values // (usual.values + (dims == 3))
    assert kept[-1] // per_slice == 45


@pytest.mark.usefixtures("empty_process", "float32")
def test_then_windows_are_smaller_and_then_it_is_refused_by_its_numbers(threshold_package: MakePackage) -> None:
    segmenter, volume = Segmenter(threshold_package(roi_size=(64, 64, 64)), "cpu"), noise((64, 64, 64))
    least = segmenter.need(volume).most

    def within(limit: int) -> SegmentationRequest:
        return SegmentationRequest(memory_limit=limit, settings=Settings(largest_component=False))

    smaller = segmenter.segment(volume, request=within(least - 1))
    assert smaller.warnings[-1].endswith("the segmentation was done with windows 2 times smaller.")
    with pytest.raises(DeviceError) as caught:
        segmenter.segment(volume, request=within(1_000_000))
    sentence = str(caught.value)
    found = re.fullmatch(
        r"Toy model needs (\S+) GB of memory for ct.nii, but the memory limit of 0.00 GB leaves 0.00 GB beside the "
        r"program; raise the limit to (\S+) GB or crop the image to a region of interest.",
        sentence,
    )
    assert found, sentence
    assert found[1] == found[2]
    enough = segmenter.segment(volume, request=within(int(float(found[2]) * 1e9)))
    np.testing.assert_array_equal(enough.labelmap, smaller.labelmap)


def test_a_limit_counts_what_the_process_has_already(threshold_package: MakePackage) -> None:
    used = resident_bytes()
    assert used is not None
    assert used > 50_000_000
    with budget.limited_to(used + budget.ROOM + 10_000_000):
        assert budget.left(None) == pytest.approx(10_000_000, abs=5_000_000)
        assert budget.left(1) == 1
        with budget.limited_to(1):
            assert budget.left(None) == 0
    assert budget.left(7) == 7
    assert budget.left(None) is None
    with pytest.raises(DeviceError, match=r"limit of 0\.10 GB leaves 0\.00 GB beside the program; raise the limit to "):
        Segmenter(threshold_package(), "cpu").segment(
            noise((40, 40, 40)), request=SegmentationRequest(memory_limit=10**8)
        )
    with pytest.raises(InputError, match="A memory limit of 0 bytes leaves nothing"):
        SegmentationRequest(memory_limit=0)


def measured(model: Path | str, shape: str, out: Path) -> dict[str, int]:
    """Bytes of a process that segments a phantom: predicted and found."""
    code = (
        "import sys; from pathlib import Path; from Testing.benchmarks.volumes import write_phantom_ct; "
        f"write_phantom_ct(Path(sys.argv[1]), {tuple(int(n) for n in shape.split('x'))}, 2.5)"
    )
    image = out / "ct.nii"
    subprocess.run([sys.executable, "-c", code, image], cwd=ROOT, check=True)
    command = [sys.executable, "-m", "Testing.benchmarks.memory", "--model", model, "--inside", image, out]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peaks of stages")
def test_the_prediction_is_what_a_process_takes(tmp_path: Path) -> None:
    # Windows of 128 voxels make the layers a good part of it.
    found = measured(random_package_of(tmp_path, "UNet", 128, 4.0), "128x128x64", tmp_path)
    assert 1 / FACTOR < found["predicted"] / found["segmented"] < FACTOR


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peaks of stages")
@pytest.mark.parametrize("model", ["UNet", "SegResNet", "liver_ct_starter"])
def test_the_prediction_holds_for_large_volumes(tmp_path: Path, model: str) -> None:
    package = model if model == "liver_ct_starter" else random_package_of(tmp_path, model, 96, 3.0)
    found = measured(package, "512x512x300", tmp_path)
    assert 1 / FACTOR < found["predicted"] / found["segmented"] < FACTOR


def random_package_of(folder: Path, name: str, window: int, voxel_mm: float) -> Path:
    return random_package(folder / name, name, window, voxel_mm)
