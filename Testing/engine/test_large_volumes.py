"""Volumes and packages that ask for more than there is: known before it is tried, and one sentence in every stage."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from LiverSegLib.engine import components, geometry, one_model, plan, preprocess
from LiverSegLib.engine.postprocess import postprocess
from LiverSegLib.engine.progress import Monitor, Progress
from LiverSegLib.engine.region import select_labels
from LiverSegLib.engine.segmenter import Segmenter
from LiverSegLib.engine.slabs import whole
from LiverSegLib.engine.sliding_window import infer_windows
from LiverSegLib.errors import DeviceError, InputError, SegmentationCancelled
from LiverSegLib.labels import labels_for
from LiverSegLib.measure import measure
from LiverSegLib.models.inferer import Inferer
from LiverSegLib.request import Settings
from LiverSegLib.volume import Result, Volume

MakePackage = Callable[..., Path]
GRID = np.diag([2.0, 2.0, 2.0, 1.0])
QUIET = Monitor(None, None)
LABELS = labels_for({1: "liver", 2: "tumor"})


def spots(shape: tuple[int, ...], seed: int = 0) -> Any:
    """A liver with lesions, holes and other parts, in the memory order of a NIfTI image."""
    chance = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint8, order="F")
    labels[2:-2, 2:-2, 2:-2] = 1
    for value in (0, 2, 0, 2):
        for corner in chance.integers(0, np.array(shape) - 3, (40, 3)):
            labels[tuple(slice(c, c + 3) for c in corner)] = value
    labels[shape[0] // 2] = 0
    return labels


@pytest.mark.parametrize("switches", list(itertools.product([False, True], repeat=3)))
def test_slabs_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch, switches: tuple[bool, ...]) -> None:
    largest, holes, inside = switches
    settings = Settings(largest_component=largest, fill_holes=holes, lesions_inside=inside)
    for seed in range(5):
        found = []
        for size in (1, 700, 10**9):
            monkeypatch.setattr(components, "SLAB_VOXELS", size)
            labels = spots((23, 19, 17), seed)
            postprocess(labels, LABELS, settings)
            found.append(labels)
        np.testing.assert_array_equal(found[0], found[2])
        np.testing.assert_array_equal(found[1], found[2])


def test_postprocessing_takes_twice_the_box_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(components, "SLAB_VOXELS", 1 << 18)  # as small beside this volume as ours beside a large one
    labels = spots((250, 240, 220))
    tracemalloc.start()
    postprocess(labels, LABELS, Settings())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * labels.size


def test_postprocessing_can_be_stopped_between_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(components, "SLAB_VOXELS", 1000)
    asked = itertools.count()
    with pytest.raises(SegmentationCancelled):
        postprocess(spots((40, 30, 20)), LABELS, Settings(), Monitor(None, lambda: next(asked) > 30).check)


def noise(shape: tuple[int, ...] = (40, 36, 34)) -> Volume:
    return Volume(np.random.default_rng(0).integers(-100, 200, shape).astype(np.int16), GRID, "ct.nii", "CT")


@pytest.mark.parametrize("stage", ["usable_channels", "to_model_grid", "restore_slabs", "postprocess", "measure"])
@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")], ids=repr)
def test_want_of_memory_in_any_stage_is_a_sentence(
    threshold_package: MakePackage, monkeypatch: pytest.MonkeyPatch, stage: str, error: Exception
) -> None:
    segmenter = Segmenter(threshold_package(), "cpu")

    def fail(*_: Any, **__: Any) -> None:
        raise error

    home = preprocess if stage == "to_model_grid" else one_model
    monkeypatch.setattr(home, stage, fail)
    with pytest.raises(DeviceError, match=r"not enough memory for this volume.*crop it\.$"):
        segmenter.segment(noise())


def test_want_of_memory_for_the_model_is_a_sentence(
    threshold_package: MakePackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(one_model, "loaded_network", fail)
    with pytest.raises(DeviceError, match="not enough memory for the model Toy model"):
        Segmenter(threshold_package(), "cpu")


@pytest.mark.parametrize(
    ("changes", "shape", "words"),
    [
        ({"pixdim": (0.1, 0.1, 0.1)}, (90, 80, 70), ["pixdim 0.1x0.1x0.1", "voxels are 2x2x2 mm"]),
        ({"roi_size": (400, 400, 400)}, (9, 8, 7), ["roi_size 400x400x400", "make 400x400x400 voxels"]),
        ({"size": (2048, 2048, 2048), "pixdim": (-1, -1, -1)}, (9, 8, 7), ["size 2048x2048x2048"]),
        ({"divisible": (256, 256, 256)}, (257, 8, 7), ["make 512x256x256 voxels"]),
    ],
)
def test_a_grid_beyond_the_memory_is_refused_by_its_numbers(
    threshold_package: MakePackage,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    shape: tuple[int, int, int],
    words: list[str],
) -> None:
    monkeypatch.setattr(plan, "available_bytes", lambda: 200_000_000)
    with pytest.raises(InputError) as caught:
        Segmenter(threshold_package(**changes), "cpu").segment(noise(shape))
    sentence = str(caught.value)
    assert [word for word in ("Toy model", "ct.nii", *words) if word not in sentence] == [], sentence
    assert sentence.endswith("or crop or resample the image.")


def test_a_grid_beyond_all_bounds_is_refused_where_the_system_tells_no_memory(
    threshold_package: MakePackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "available_bytes", lambda: None)
    package = threshold_package(size=(2048, 2048, 2048), pixdim=(-1, -1, -1))
    with pytest.raises(InputError, match="make 2048x2048x2048 voxels"):
        Segmenter(package, "cpu").segment(noise())


@pytest.mark.parametrize("dims", [2, 3])
def test_too_many_windows_are_counted_and_not_listed(threshold_package: MakePackage, dims: int) -> None:
    roi = (32,) * dims
    segmenter = Segmenter(threshold_package(dims, roi_size=roi), "cpu", Settings(overlap=0.999))
    with pytest.raises(InputError) as caught:
        segmenter.segment(noise((200, 180, 150)))
    assert "Toy model would need" in str(caught.value)
    assert "windows for ct.nii" in str(caught.value)
    assert "overlap of 0.999" in str(caught.value)


def test_a_stop_is_asked_for_before_the_first_of_many_windows() -> None:
    asked = itertools.count()
    stop = Monitor(None, lambda: next(asked) > 2)
    done: list[int] = []

    def network(x: torch.Tensor) -> torch.Tensor:
        done.append(len(x))
        return x

    with pytest.raises(SegmentationCancelled):
        whole(infer_windows(torch.zeros(60, 60, 60), network, Inferer(roi_size=(8, 8, 8), overlap=0.99), stop))
    assert len(done) <= 3


@pytest.mark.usefixtures("float32")
def test_a_batch_beyond_the_memory_leads_to_smaller_windows(
    threshold_package: MakePackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = threshold_package(roi_size=(64, 64, 64))
    expected = Segmenter(package, "cpu").segment(noise()).labelmap
    monkeypatch.setattr(plan, "available_bytes", lambda: 6_000_000)  # a window of 64 voxels needs 8 MB a layer
    result = Segmenter(package, "cpu").segment(noise())
    assert result.warnings[-1] == ("cpu had too little memory; the segmentation was done with windows 2 times smaller.")
    np.testing.assert_array_equal(result.labelmap, expected)


def test_every_stage_is_reported_also_where_nothing_is_found(threshold_package: MakePackage) -> None:
    heard: list[Progress] = []
    empty = Volume(np.arange(24**3).reshape(24, 24, 24) % 50 - 500, GRID, "air", "CT")
    assert not Segmenter(threshold_package(), "cpu").segment(empty, heard.append).labelmap.any()
    stages = [stage for stage, _ in itertools.groupby(p.stage for p in heard)]
    assert stages == ["prepare", "network", "restore", "postprocess", "measure"]


def test_resampling_takes_little_beside_the_grid_and_gives_the_same_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    volume = Volume(noise((60, 50, 70)).array.transpose(2, 1, 0)[::-1], np.diag([0.7, 0.8, 1.3, 1.0]), "ct.nii", "CT")
    for pixdim in [(1.5, 1.5, 3.0), (0.7, 0.8, 1.3), (0.7, 0.5, 2.6)]:
        grid = geometry.model_grid(volume, "LPS", pixdim)
        monkeypatch.setattr(geometry, "_PART_VOXELS", 10**9)
        whole_at_once = geometry.to_model_grid(volume.array, grid, torch.device("cpu"))
        monkeypatch.setattr(geometry, "_PART_VOXELS", 5000)
        in_parts = geometry.to_model_grid(volume.array, grid, torch.device("cpu"))
        assert torch.equal(whole_at_once, in_parts)
        assert in_parts.dtype == torch.float32


def test_measuring_and_choosing_labels_take_no_more_than_two_masks() -> None:
    labels = np.zeros((160, 150, 140), np.uint8, order="F")
    labels[20:-20, 20:-20, 20:-20] = 1
    labels[40:-60, 40:-40, 40:-40] = 2  # a lesion of 300,000 voxels: their indices alone would take 7 MB
    tracemalloc.start()
    found = measure(labels, GRID, LABELS, labels)
    result = Result(labelmap=labels, affine=GRID, labels=LABELS, measurements=found)
    assert result.mask("liver").sum() == 120 * 110 * 100
    only = select_labels(result, frozenset({"liver"}))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * labels.size
    assert len(found.lesions) == 1
    assert found.lesions[0].center_ras == pytest.approx((139.0, 149.0, 139.0))
    assert found.lesions[0].longest_diameter_mm == pytest.approx(2 * np.linalg.norm([60, 70, 60]), rel=0.02)
    assert only.labelmap.max() == 1
