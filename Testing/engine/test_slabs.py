"""Many classes: a few slices of logits at a time, the same labels, and of them what is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from LiverSegLib.engine import geometry, slabs
from LiverSegLib.engine.one_model import OneModel
from LiverSegLib.engine.plan import check_grid
from LiverSegLib.engine.progress import Monitor, Progress
from LiverSegLib.engine.region import of_same_organs, select_labels
from LiverSegLib.engine.restore import labels_on_grid, restore, restore_slabs
from LiverSegLib.engine.segmenter import Segmenter
from LiverSegLib.engine.slabs import Slab, inside, whole
from LiverSegLib.engine.sliding_window import infer_slices, infer_windows
from LiverSegLib.labels import labels_for
from LiverSegLib.models import read_package
from LiverSegLib.models.inferer import Inferer
from LiverSegLib.models.spec import MANY_LABELS
from LiverSegLib.networks import build_network
from LiverSegLib.request import ALL, SegmentationRequest, Settings
from LiverSegLib.volume import Volume
from Testing.conftest import toy_spec, write_toy

QUIET = Monitor(None, None)
ORGANS = ("spleen", "kidney", "stomach", "liver", "liver tumor", "hepatic vessels", "pancreas", "aorta", "bone")
RAW = Settings(largest_component=False, fill_holes=False, lesions_inside=False)
GRID = np.diag([1.4, 1.3, 1.7, 1.0])


@pytest.fixture(scope="module")
def many_organs(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes a package of nine organs by a network with random weights."""

    def make(name: str, **changes: Any) -> Path:
        arguments: dict[str, Any] = {"spatial_dims": 3, "in_channels": 1, "out_channels": len(ORGANS) + 1}
        arguments |= {"channels": [4, 8], "strides": [2], "num_res_units": 1}
        torch.manual_seed(11)
        network = build_network("UNet", arguments)
        spec = toy_spec("UNet", arguments, 3, 2, **changes)
        spec = replace(spec, labels=labels_for(dict(enumerate(ORGANS, 1))))
        return write_toy(tmp_path_factory.mktemp(name), spec, network.state_dict())

    return make


def smooth_volume(shape: tuple[int, int, int] = (50, 44, 61)) -> Volume:
    coarse = torch.randn((1, 1, 7, 6, 8), generator=torch.Generator().manual_seed(5))
    array = 150 * torch.nn.functional.interpolate(coarse, shape, mode="trilinear")[0, 0]
    return Volume(array.numpy(), GRID, "ct.nii", "CT")


def network_of(dims: int, channels: int) -> torch.nn.Module:
    torch.manual_seed(3)
    arguments = {"spatial_dims": dims, "in_channels": 1, "out_channels": channels, "channels": [4, 8], "strides": [2]}
    return build_network("UNet", arguments).eval()


@pytest.mark.parametrize("channels", [2, 5])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    ("shape", "roi", "overlap"),
    [((20, 18, 70), (16, 16, 16), 0.5), ((9, 18, 41), (16, 8, 16), 0.25), ((20, 20, 12), (16, 16, 16), 0.0)],
)
def test_slabs_of_windows_are_the_whole(
    shape: tuple[int, ...],
    roi: tuple[int, ...],
    overlap: float,
    batch: int,
    channels: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    inferer = Inferer(roi_size=roi, overlap=overlap, batch_size=batch)
    network = network_of(3, channels)
    with torch.inference_mode():
        at_once = list(infer_windows(image, network, inferer, QUIET))
        monkeypatch.setattr(slabs, "KEPT_VALUES", 1)
        in_slabs = whole(infer_windows(image, network, inferer, QUIET))
        count = sum(1 for _ in infer_windows(image, network, inferer, QUIET))
    assert len(at_once) == 1
    assert count > 1 or shape[2] <= roi[2]
    torch.testing.assert_close(in_slabs, at_once[0].logits, rtol=0, atol=0)


def test_slabs_of_slices_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    image = torch.randn((20, 24, 17), generator=torch.Generator().manual_seed(2))
    inferer, network = Inferer(roi_size=(16, 16), overlap=0.5, batch_size=3), network_of(2, 4)
    with torch.inference_mode():
        (at_once,) = infer_slices(image, network, inferer, QUIET)
        monkeypatch.setattr(slabs, "KEPT_VALUES", 1)
        in_slabs = whole(infer_slices(image, network, inferer, QUIET))
        assert sum(1 for _ in infer_slices(image, network, inferer, QUIET)) > 4
    torch.testing.assert_close(in_slabs, at_once.logits, rtol=0, atol=0)


def cut(logits: torch.Tensor, *ends: int) -> Iterator[Slab]:
    first = 0
    for end in (*ends, logits.shape[3]):
        yield Slab(first, logits[..., first:end])
        first = end - 1


def test_a_box_of_slabs_is_that_of_the_whole() -> None:
    logits = torch.randn((3, 6, 7, 20))
    for low, high in [(0, 20), (4, 13), (5, 6), (9, 20), (10, 12)]:
        box = (slice(1, 5), slice(2, 7), slice(low, high))
        found = whole(inside(cut(logits, 5, 6, 10, 17), box))
        torch.testing.assert_close(found, logits[(slice(None), *box)], rtol=0, atol=0)


@pytest.mark.parametrize("nearest", [False, True])
@pytest.mark.parametrize("pixdim", [(3.1, 2.7, 4.4), (0.9, 1.1, 0.6), (2.0, 2.0, 1.7)])
@pytest.mark.parametrize("axcodes", ["RAS", "SPL"])
def test_restoring_from_slabs_changes_nothing(axcodes: str, pixdim: tuple[float, ...], nearest: bool) -> None:
    volume = smooth_volume((31, 37, 29))
    grid = geometry.model_grid(volume, axcodes, (pixdim[0], pixdim[1], pixdim[2]))
    coarse = torch.randn((1, 5, 4, 4, 5), generator=torch.Generator().manual_seed(1))
    logits = torch.nn.functional.interpolate(coarse, grid.shape, mode="trilinear")[0]
    at_once = restore(logits, grid, volume.array.shape, nearest, QUIET)
    assert len(np.unique(at_once)) == 5
    ends = [end for end in (2, 3, 9, 10, 11, 15) if end < grid.shape[2]]
    in_slabs = restore_slabs(cut(logits, *ends), grid, volume.array.shape, nearest, QUIET)
    np.testing.assert_array_equal(in_slabs, at_once)
    on_grid = labels_on_grid(cut(logits, *ends), grid.shape)
    np.testing.assert_array_equal(on_grid.numpy(), logits.argmax(0).numpy())


@pytest.mark.parametrize("axcodes", ["RAS", "SPL", "LPI"])
def test_a_part_of_the_input_is_that_of_the_whole(axcodes: str) -> None:
    volume = smooth_volume((31, 37, 29))
    grid = geometry.model_grid(volume, axcodes, (3.1, 2.7, 4.4))
    coarse = torch.randn((1, 4, 4, 4, 5), generator=torch.Generator().manual_seed(1))
    logits = torch.nn.functional.interpolate(coarse, grid.shape, mode="trilinear")[0]
    logits[1:, :3] = logits[1:, :, :, -2:] = -9  # background on two sides
    everywhere = restore(logits, grid, volume.array.shape, False, QUIET)
    for low, high in [((0, 0, 0), (31, 37, 29)), ((3, 8, 11), (4, 30, 20)), ((9, 0, 2), (20, 12, 9))]:
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        part = everywhere[box]
        order = [box[n] for n in grid.axes.order]
        sizes = [volume.array.shape[n] for n in grid.axes.order]
        i, j, k = (
            slice(size - side.stop, size - side.start) if flip else side
            for side, size, flip in zip(order, sizes, grid.axes.flip, strict=True)
        )
        cuts = cut(logits, 3, 4, grid.shape[2] - 1)
        found = restore_slabs(cuts, grid, part.shape, False, QUIET, within=(i, j, k))
        np.testing.assert_array_equal(found, part)


def test_only_the_last_slab_is_told_of() -> None:
    heard: list[Progress] = []
    volume = smooth_volume((20, 20, 20))
    grid = geometry.model_grid(volume, "RAS", (2.0, 2.0, 2.0))
    restore_slabs(cut(torch.randn((3, *grid.shape)), 4, 9), grid, (20, 20, 20), False, Monitor(heard.append, None))
    assert [p.done for p in heard if p.done == 0] == [0]
    assert heard[-1].done == heard[-1].total


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("nearest", [False, True])
def test_what_is_asked_for_is_that_of_all(
    many_organs: Callable[..., Path], nearest: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, volume = many_organs("nearest" if nearest else "linear", nearest=nearest), smooth_volume()
    segmenter = Segmenter(package, "cpu")
    everything = segmenter.segment(volume, request=SegmentationRequest(targets=ALL, settings=RAW))
    assert [label.name for label in everything.labels][3:6] == ["liver", "tumor", "hepatic vessels"]
    monkeypatch.setattr(slabs, "KEPT_VALUES", 1)
    for targets in (None, ("liver",), ("spleen", "bone"), ("tumor",)):
        found = segmenter.segment(volume, request=SegmentationRequest(targets=targets, settings=RAW))
        wanted = frozenset(targets or ("liver", "tumor", "hepatic vessels"))
        assert {label.name for label in found.labels} == wanted
        expected = select_labels(replace(everything, labelmap=everything.labelmap.copy()), wanted)
        assert expected.labelmap.any()
        different = np.count_nonzero(found.labelmap != expected.labelmap)
        assert different <= (0 if nearest else 1e-4 * np.count_nonzero(expected.labelmap))
        if not different:
            assert found.measurements == expected.measurements


@pytest.mark.usefixtures("float32")
def test_cleaning_what_is_asked_for_is_cleaning_all(many_organs: Callable[..., Path]) -> None:
    package, volume = many_organs("clean", nearest=True), smooth_volume()
    segmenter = Segmenter(package, "cpu")
    everything = segmenter.segment(volume, request=SegmentationRequest(targets=ALL))
    found = segmenter.segment(volume)
    for name in ("liver", "tumor"):
        np.testing.assert_array_equal(found.mask(name), everything.mask(name))


def test_a_guide_looks_for_what_it_segments_by_default(many_organs: Callable[..., Path]) -> None:
    package, volume = read_package(many_organs("guide")), smooth_volume()
    found = OneModel(package, "cpu").find(volume, QUIET)
    assert set(found.labels.unique().tolist()) <= {0, 4, 5, 6}
    stated = OneModel(replace(package, targets=("Spleen",)), "cpu").find(volume, QUIET)
    assert set(stated.labels.unique().tolist()) == {0, 1}


def test_what_is_segmented_unless_others_are_asked_for(many_organs: Callable[..., Path]) -> None:
    package = read_package(many_organs("default"))
    assert package.default_targets == ("liver", "tumor", "hepatic vessels")
    assert replace(package, targets=("Spleen", "nothing")).default_targets == ("spleen",)
    few = replace(package, labels=package.labels[:MANY_LABELS])
    assert few.default_targets == tuple(label.name for label in few.labels)
    no_liver = replace(package, labels=labels_for({n: f"rib {n}" for n in range(1, 9)}))
    assert len(no_liver.default_targets) == 8
    assert [label.name for label in of_same_organs({"tumor"}, package.labels)] == ["liver", "tumor"]


def test_a_hundred_classes_of_a_body_need_no_hundred_volumes(many_organs: Callable[..., Path]) -> None:
    package = read_package(many_organs("large", roi_size=(96, 96, 96)))
    volume = Volume(np.broadcast_to(np.int16(0), (512, 512, 300)), np.diag([0.75, 0.75, 1.5, 1.0]), "ct.nii", "CT")
    package = replace(package, labels=labels_for({n: f"organ {n}" for n in range(1, 105)}))
    grid = geometry.model_grid(volume, "RAS", (1.5, 1.5, 1.5))
    depth = slabs.kept_slices(grid.shape, 105, 96)
    assert depth == 97
    assert 105 * 4 * grid.shape[0] * grid.shape[1] * depth < 2.8e9 < 8e9 < 105 * 4 * np.prod(grid.shape)
    check_grid(volume, grid, package, 0.25)
