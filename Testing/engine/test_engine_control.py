"""Watching, stopping and switching a segmentation, and what happens without memory or device."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from LiverSegLib.engine import devices, one_model
from LiverSegLib.engine.devices import choose_device
from LiverSegLib.engine.progress import Progress
from LiverSegLib.engine.segmenter import Segmenter
from LiverSegLib.errors import DeviceError, SegmentationCancelled
from LiverSegLib.models import read_package
from LiverSegLib.request import Settings
from LiverSegLib.volume import Volume

MakePackage = Callable[..., Path]
DrawCase = Callable[..., Volume]
STAGES = ["prepare", "network", "restore", "postprocess", "measure"]
GRID = np.array([[2.0, 0, 0, -40], [0, 2, 0, -44], [0, 0, 2, -30], [0, 0, 0, 1]])


@pytest.fixture
def case(draw_case: DrawCase) -> Volume:
    return draw_case(GRID, (46, 40, 34))


@pytest.mark.parametrize("dims", [2, 3])
def test_progress_rises_to_the_total_stage_by_stage(threshold_package: MakePackage, case: Volume, dims: int) -> None:
    heard: list[Progress] = []
    Segmenter(threshold_package(dims), "cpu").segment(case, progress=heard.append)

    stages = [(stage, list(steps)) for stage, steps in itertools.groupby(heard, lambda p: p.stage)]
    assert [stage for stage, _ in stages] == STAGES
    for _, steps in stages:
        done = [step.done for step in steps]
        assert done == sorted(set(done))
        assert (done[0], done[-1]) == (0, steps[-1].total)
        assert len({(step.total, step.unit) for step in steps}) == 1
    network = dict(stages)["network"]
    assert (network[-1].total, network[-1].unit) == ((34, "slices") if dims == 2 else (8, "windows"))
    assert network[0].seconds_left is None
    assert network[-1].seconds_left == 0


def test_progress_in_words() -> None:
    assert Progress("network", 3, 8, "windows", 12.4).text == "Network: 3 of 8 windows, about 12 s left"
    assert Progress("restore", 0, 5).text == "Restore"


@pytest.mark.parametrize("stage", STAGES)
def test_stopping_works_in_every_stage(threshold_package: MakePackage, case: Volume, stage: str) -> None:
    heard: list[str] = []
    with pytest.raises(SegmentationCancelled, match="nothing was changed"):
        Segmenter(threshold_package(), "cpu").segment(case, lambda p: heard.append(p.stage), lambda: stage in heard)
    assert heard[-1] == stage


class Slow(torch.nn.Module):
    """Like a large network on a small processor: one window takes seconds, in many layers."""

    class Layer(torch.nn.Module):
        def __init__(self, network: Slow) -> None:
            super().__init__()
            self._count = network.count

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self._count()
            return x

    def __init__(self) -> None:
        super().__init__()
        self.passed = 0
        self.layers = torch.nn.Sequential(*(self.Layer(self) for _ in range(100)))

    def count(self) -> None:
        """One layer more was computed."""
        self.passed += 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([-self.layers(x), x, x - 1], dim=1)


@pytest.mark.parametrize("half_precision", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("after", [1, 33, 70])
def test_no_layer_of_a_slow_network_follows_a_stop(
    threshold_package: MakePackage, case: Volume, after: int, half_precision: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "has_bf16_matrix_unit", lambda: half_precision)
    segmenter = Segmenter(threshold_package(), "cpu")
    segmenter._model._network = slow = Slow()
    with pytest.raises(SegmentationCancelled):
        segmenter.segment(case, should_stop=lambda: slow.passed >= after)
    assert slow.passed == after


def test_a_segmenter_works_again_after_it_was_stopped(threshold_package: MakePackage, case: Volume) -> None:
    segmenter = Segmenter(threshold_package(), "cpu")
    expected = segmenter.segment(case).labelmap
    asked = itertools.count()
    with pytest.raises(SegmentationCancelled):
        segmenter.segment(case, should_stop=lambda: next(asked) > 20)
    np.testing.assert_array_equal(segmenter.segment(case).labelmap, expected)


class Greedy(torch.nn.Module):
    """Thresholds like the toy model, on devices and windows for which there is enough memory."""

    def __init__(self, error: Exception, largest: int, full: str = "none") -> None:
        super().__init__()
        self.error, self.largest, self.full = error, largest, full
        self.sizes: list[tuple[str, int]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.sizes.append((x.device.type, x.shape[-1]))
        if x.shape[-1] > self.largest or x.device.type == self.full:
            raise self.error
        return torch.cat([torch.zeros_like(x), 10 * x - 5, 20 * x - 12.5], dim=1)


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory."),
    MemoryError(),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
    RuntimeError("MPS backend out of memory (MPS allocated: 9.00 GB)."),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
]


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda e: type(e).__name__)
def test_too_little_memory_leads_to_smaller_windows(
    threshold_package: MakePackage, draw_case: DrawCase, error: Exception
) -> None:
    case = draw_case(GRID, (70, 66, 34))
    segmenter = Segmenter(threshold_package(roi_size=(64, 64, 64)), "cpu")
    expected = segmenter.segment(case)
    segmenter._model._network = greedy = Greedy(error, largest=32)

    result = segmenter.segment(case)

    assert set(greedy.sizes) == {("cpu", 64), ("cpu", 32)}
    np.testing.assert_array_equal(result.labelmap, expected.labelmap)
    assert result.warnings == ("cpu had too little memory; the segmentation was done with windows 2 times smaller.",)


@pytest.mark.usefixtures("float32")
def test_a_full_device_leads_to_the_processor(threshold_package: MakePackage, case: Volume) -> None:
    package = read_package(threshold_package())
    package = replace(package, inferer=replace(package.inferer, gaussian=False))
    segmenter = Segmenter(package, "cpu")
    expected = segmenter.segment(case)
    # "meta" is a real torch device that no machine lacks; it plays a graphics card without memory.
    segmenter._model._wanted = torch.device("meta")
    segmenter._model._network = greedy = Greedy(torch.OutOfMemoryError("full"), largest=999, full="meta")

    result = segmenter.segment(case)

    assert [device for device, _ in itertools.groupby(d for d, _ in greedy.sizes)] == ["meta", "cpu"]
    np.testing.assert_array_equal(result.labelmap, expected.labelmap)
    assert result.device == "cpu (float32)"
    assert result.warnings == ("meta had too little memory; the segmentation was done on the CPU.",)


def test_no_memory_at_all_is_a_sentence(threshold_package: MakePackage, case: Volume) -> None:
    segmenter = Segmenter(threshold_package(), "cpu")
    segmenter._model._network = Greedy(MemoryError(), largest=0)
    with pytest.raises(DeviceError, match=r"not enough memory for this volume.*crop it"):
        segmenter.segment(case)


def test_other_failures_of_the_network_are_not_hidden(threshold_package: MakePackage, case: Volume) -> None:
    segmenter = Segmenter(threshold_package(), "cpu")
    segmenter._model._network = Greedy(RuntimeError("a defect"), largest=0)
    with pytest.raises(RuntimeError, match="a defect"):
        segmenter.segment(case)


def test_the_order_of_attempts() -> None:
    card, processor = torch.device("cuda:0"), torch.device("cpu")
    assert one_model._attempts(card) == [(card, 1), (card, 2), (processor, 1), (processor, 2)]
    assert one_model._attempts(processor) == [(processor, 1), (processor, 2)]


def spotted(case: Volume) -> Volume:
    """The drawn case with a second blob, a hole in the liver, and a lesion on its own outside."""
    values = np.full((46, 40, 34), -80, np.int16)
    values[10:30, 10:30, 10:26] = 150
    values[15:18, 15:18, 15:18] = 0
    values[36:40, 4:8, 4:8] = 150
    values[36:40, 32:36, 28:32] = 250
    return Volume(values, case.affine, "spots", "CT")


@pytest.mark.parametrize(
    ("setting", "place"),
    [("largest_component", (37, 5, 5)), ("fill_holes", (16, 16, 16)), ("lesions_inside", (37, 33, 29))],
)
def test_each_switch_changes_its_own_spot(
    threshold_package: MakePackage, case: Volume, setting: str, place: tuple[int, int, int]
) -> None:
    off: dict[str, Any] = {"largest_component": False, "fill_holes": False, "lesions_inside": False}
    package = threshold_package()
    without = Segmenter(package, "cpu", Settings(**off)).segment(spotted(case)).labelmap
    with_it = Segmenter(package, "cpu", Settings(**off | {setting: True})).segment(spotted(case)).labelmap
    assert with_it[place] != without[place]
    assert with_it[20, 20, 20] == without[20, 20, 20] == 1


def test_overlap_sets_the_number_of_windows(threshold_package: MakePackage, case: Volume) -> None:
    def windows(overlap: float | None) -> int:
        heard: list[Progress] = []
        Segmenter(threshold_package(), "cpu", Settings(overlap=overlap)).segment(case, heard.append)
        return max(p.total for p in heard if p.unit == "windows")

    assert windows(None) == windows(0.25) == 8
    assert windows(0.75) == 12


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("gpu", "There is no device 'gpu'; use auto, cpu, cuda, cuda:N or mps."),
        ("cuda:x", "There is no device 'cuda:x'"),
        ("meta", "The device 'meta' is not supported"),
        ("", "There is no device ''"),
    ],
)
def test_unknown_devices_are_refused(name: str, sentence: str) -> None:
    with pytest.raises(DeviceError) as caught:
        choose_device(name)
    assert sentence in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:7"])
def test_a_missing_graphics_card_is_a_sentence(name: str, threshold_package: MakePackage) -> None:
    with pytest.raises(DeviceError, match=rf"{name} is not there \(0 CUDA devices found\); use auto or cpu"):
        Segmenter(threshold_package(), name)
    assert choose_device("auto").type in ("cpu", "mps")
