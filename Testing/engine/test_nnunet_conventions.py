"""Grids, splines, windows and regions are nnU-Net's where a model asks for them, after SciPy's formulas."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage

from LiverSegLib.engine.axes import axis_order
from LiverSegLib.engine.geometry import model_grid, on_own_voxels, resample_window
from LiverSegLib.engine.one_model import OneModel
from LiverSegLib.engine.progress import Monitor
from LiverSegLib.engine.restore import labels_of, restore
from LiverSegLib.engine.slabs import whole
from LiverSegLib.engine.sliding_window import importance, infer_windows, mirrored, window_starts
from LiverSegLib.engine.splines import resample_cubic
from LiverSegLib.models import ModelPackage, read_package
from LiverSegLib.models.inferer import Inferer
from LiverSegLib.models.resampling import Resampling
from LiverSegLib.models.sidecar import Sidecar, write_sidecar
from LiverSegLib.models.weights import loaded_network
from LiverSegLib.volume import Volume
from Testing.models import nnunet_folders as nnunet

QUIET = Monitor(None, None)
NNUNET = Resampling(edges=True, cubic=True, separate_above=3.0, normalize_first=True)
Array = npt.NDArray[Any]
DrawCase = Callable[..., Volume]


def image(shape: tuple[int, ...], seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 100, shape).astype(np.float32)


def grid_over(array: Array, spacing: tuple[float, ...], pixdim: tuple[float, float, float], codes: str = "ijk") -> Any:
    volume = Volume(array, np.diag([*spacing, 1.0]), "an image", None)
    return model_grid(volume, codes, pixdim, None, None, NNUNET)


@pytest.mark.parametrize(
    ("size", "window", "places"),
    [
        (300, 128, [0, 57, 115, 172]),
        (110, 64, [0, 23, 46]),
        (128, 128, [0]),
        (129, 128, [0, 1]),
        (41, 16, [0, 6, 12, 19, 25]),
    ],
)
def test_windows_are_spread_evenly(size: int, window: int, places: list[int]) -> None:
    assert window_starts(size, window, 0.5, evenly=True) == places


def test_windows_of_other_models_stay_a_step_apart() -> None:
    assert window_starts(300, 128, 0.5) == [0, 64, 128, 172]


@pytest.mark.parametrize("shape", [(16, 24, 20), (25, 7, 32), (128, 8, 96), (40, 48)])
def test_the_gaussian_is_that_of_a_filtered_point(shape: tuple[int, ...]) -> None:
    point = np.zeros(shape)
    point[tuple(n // 2 for n in shape)] = 1
    wanted = ndimage.gaussian_filter(point, [n / 8 for n in shape], 0, mode="constant", cval=0)
    half = torch.from_numpy(wanted / (wanted.max() / 10)).half()
    half[half == 0] = half[half > 0].min()
    found = importance(Inferer(roi_size=shape, evenly=True), torch.device("cpu"))
    torch.testing.assert_close(found, half.float(), rtol=2e-3, atol=1e-7)


@pytest.mark.parametrize(
    ("first", "then", "axis"),
    [
        ((1.0, 1.0, 5.0), (1.0, 1.0, 1.0), 2),
        ((1.0, 1.0, 3.0), (1.0, 1.0, 1.0), None),
        ((1.0, 1.0, 1.0), (5.0, 1.0, 1.0), 0),
        ((0.24, 1.25, 1.25), (1.0, 1.0, 1.0), None),
        ((4.0, 1.0, 1.0), (1.0, 1.0, 9.0), 0),
    ],
)
def test_thick_slices(first: tuple[float, ...], then: tuple[float, ...], axis: int | None) -> None:
    assert NNUNET.thick_axis(first, then) == axis
    assert Resampling().thick_axis(first, then) is None


@pytest.mark.parametrize(
    ("count", "old", "new", "wanted"),
    [(101, 0.75, 1.5, 50), (103, 0.75, 1.5, 52), (55, 4.5, 4.0, 62), (3, 1.0, 9.0, 1)],
)
def test_sizes_are_rounded_as_there(count: int, old: float, new: float, wanted: int) -> None:
    grid = grid_over(np.zeros((count, 4, 4)), (old, 1.0, 1.0), (new, 1.0, 1.0))
    assert grid.shape == (wanted, 4, 4)


def resized(array: Array, shape: tuple[int, ...], order: int = 3) -> Array:
    """scikit-image's `resize` with mode edge and without anti-aliasing, which nnU-Net calls."""
    factors = [new / old for new, old in zip(shape, array.shape, strict=True)]
    found = ndimage.zoom(array.astype(float), factors, order=order, mode="nearest", grid_mode=True)
    return np.asarray(np.clip(found, array.min(), array.max()))


def nearest_slices(array: Array, count: int, axis: int) -> Array:
    """What `map_coordinates` of order 0 makes of an axis."""
    size = array.shape[axis]
    at = np.arange(count) + 0.5
    coordinates = ndimage.map_coordinates(
        np.arange(size, dtype=float), [at * size / count - 0.5], order=0, mode="nearest"
    )
    return array.take(coordinates.astype(int), axis)


@pytest.mark.parametrize(
    ("shape", "spacing", "pixdim"),
    [
        ((20, 24, 18), (2.0, 1.5, 1.5), (1.5, 1.5, 2.1)),
        ((20, 24, 9), (1.0, 1.0, 5.0), (0.8, 1.3, 3.0)),
        ((11, 24, 20), (4.0, 1.0, 1.0), (8.0, 0.9, 1.0)),
        ((13, 12, 5), (1.0, 1.0, 1.0), (0.5, 1.0, 4.0)),
    ],
)
def test_images_are_resampled_by_splines(
    shape: tuple[int, ...], spacing: tuple[float, ...], pixdim: tuple[float, float, float]
) -> None:
    array = image(shape)
    grid = grid_over(array, spacing, pixdim)
    found = resample_cubic(on_own_voxels(array, grid, torch.device("cpu")), grid, QUIET).numpy()
    thick = NNUNET.thick_axis(spacing, pixdim)
    if thick is None:
        wanted = resized(array, grid.shape)
    else:
        flat = tuple(n for axis, n in enumerate(grid.shape) if axis != thick)
        slices = [resized(part, flat) for part in np.moveaxis(array, thick, 0)]
        wanted = nearest_slices(np.moveaxis(np.stack(slices), 0, thick), grid.shape[thick], thick)
    np.testing.assert_allclose(found, wanted, atol=2e-3)


def test_images_are_resampled_linearly_where_a_model_asks_for_that() -> None:
    array = image((20, 24, 18))
    grid = grid_over(array, (2.0, 1.5, 1.5), (1.5, 1.5, 2.1))
    x = on_own_voxels(array, grid, torch.device("cpu"))
    for axis in range(3):
        x = resample_window(x, axis, grid)
    wanted = F.interpolate(torch.from_numpy(array)[None, None], grid.shape, mode="trilinear")[0, 0]
    torch.testing.assert_close(x, wanted, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize(
    ("spacing", "pixdim"), [((1.1, 1.3, 2.0), (2.0, 2.0, 1.5)), ((1.0, 1.0, 6.0), (1.4, 1.4, 3.0))]
)
def test_logits_come_back_as_there(spacing: tuple[float, ...], pixdim: tuple[float, float, float]) -> None:
    array = image((21, 19, 11))
    grid = grid_over(array, spacing, pixdim)
    logits = torch.from_numpy(image((3, *grid.shape), seed=2))
    thick = NNUNET.thick_axis(pixdim, spacing)
    between = list(array.shape)
    if thick is not None:
        between[thick] = grid.shape[thick]
    wanted = F.interpolate(logits[None], tuple(between), mode="trilinear")[0].argmax(0).numpy()
    wanted = wanted if thick is None else nearest_slices(wanted, array.shape[thick], thick)
    found = restore(logits, grid, array.shape, False, QUIET)
    assert (found == wanted).mean() > 0.9995  # ties of float32


def test_axes_of_the_image_itself() -> None:
    affine = np.array([[0.0, -2.0, 0, 0], [1.0, 0, 0, 0], [0, 0, -3.0, 0], [0, 0, 0, 1]])
    order = axis_order(affine, "kji")
    assert order.order == (2, 1, 0)
    assert order.flip == (False, False, False)


def test_regions_paint_one_after_the_other() -> None:
    logits = torch.tensor([[-1.0, 1.0, 1.0, -1.0], [-1.0, -1.0, 1.0, 1.0]]).view(2, 4, 1, 1)
    assert labels_of(logits, (1, 2)).flatten().tolist() == [0, 1, 2, 2]
    assert labels_of(logits, (2, 1)).flatten().tolist() == [0, 2, 1, 1]
    assert labels_of(logits[:1], (7,)).flatten().tolist() == [0, 7, 7, 0]


def test_two_regions_are_both_kept() -> None:
    inferer = Inferer(roi_size=(4, 4, 4), evenly=True)
    x = torch.randn(6, 5, 4)
    kept = whole(infer_windows(x, lambda w: torch.cat([w, -w], 1), inferer, QUIET, regions=True))
    torch.testing.assert_close(kept, torch.stack([x, -x]))


def test_mirror_images_count_in_all_combinations() -> None:
    torch.manual_seed(0)
    network = torch.nn.Conv3d(1, 2, 3, padding=1)
    x = torch.randn(2, 1, 6, 5, 4)
    flips = [list(axes) for count in range(3) for axes in itertools.combinations((2, 4), count)]
    wanted = torch.stack([network(x.flip(axes)).flip(axes) if axes else network(x) for axes in flips]).mean(0)
    torch.testing.assert_close(mirrored(network, (0, 2))(x), wanted)
    assert mirrored(network, ()) is network


def by_the_book(package: ModelPackage, volume: Volume, order: tuple[int, int, int], regions: bool = False) -> Array:
    """Labels [i, j, k] as nnU-Net makes them, step by step, on [z, y, x] arrays; the image has no zeros around it."""
    zyx = np.asarray(volume.array, np.float32).transpose(2, 1, 0).transpose(order)
    old = np.array(volume.spacing)[::-1][list(order)]
    new = np.array(package.pixdim)
    shape = tuple(round(a / b * n) for a, b, n in zip(old, new, zyx.shape, strict=True))
    x = (np.clip(zyx, nnunet.CT["percentile_00_5"], nnunet.CT["percentile_99_5"]) - nnunet.CT["mean"]) / nnunet.CT[
        "std"
    ]
    thick = NNUNET.thick_axis(tuple(old), tuple(new))
    if thick is None:
        x = resized(x, shape)
    else:
        flat = tuple(n for axis, n in enumerate(shape) if axis != thick)
        x = np.moveaxis(np.stack([resized(part, flat) for part in np.moveaxis(x, thick, 0)]), 0, thick)
        x = nearest_slices(x, shape[thick], thick)
    logits = windows_by_the_book(package, torch.from_numpy(x.astype(np.float32)))
    between = [n if axis == thick else have for axis, (n, have) in enumerate(zip(shape, zyx.shape, strict=True))]
    back = F.interpolate(logits[None], between, mode="trilinear")[0].numpy()
    if thick is not None:
        back = nearest_slices(back, zyx.shape[thick], thick + 1)
    labels = np.where(back[1] > 0, 2, np.where(back[0] > 0, 1, 0)) if regions else back.argmax(0)
    return np.asarray(labels.transpose(np.argsort(order)).transpose(2, 1, 0))


def windows_by_the_book(package: ModelPackage, x: torch.Tensor) -> torch.Tensor:
    """Logits [C, ...] of the mean of windows that overlap by half."""
    patch = package.inferer.roi_size
    missing = [max(0, p - n) for p, n in zip(patch, x.shape, strict=True)]
    padded = F.pad(x, [w for n in reversed(missing) for w in (n // 2, n - n // 2)])
    network = loaded_network(package).eval()
    point = np.zeros(patch)
    point[tuple(n // 2 for n in patch)] = 1
    weight = torch.from_numpy(ndimage.gaussian_filter(point, [n / 8 for n in patch])).float()
    steps = []
    for n, p in zip(padded.shape, patch, strict=True):
        count = math.ceil((n - p) / (p * 0.5)) + 1
        steps.append([int(np.round((n - p) / max(count - 1, 1) * i)) for i in range(count)])
    total, weights = torch.zeros(package.channels, *padded.shape), torch.zeros(padded.shape)
    with torch.inference_mode():
        for start in itertools.product(*steps):
            place = tuple(slice(s, s + p) for s, p in zip(start, patch, strict=True))
            total[(slice(None), *place)] += network(padded[place][None, None])[0] * weight
            weights[place] += weight
    inner = tuple(slice(n // 2, n // 2 + size) for n, size in zip(missing, x.shape, strict=True))
    return (total / weights)[(slice(None), *inner)]


REGIONS = {"background": 0, "liver": [1, 2], "tumor": [2]}
BOOKS: list[tuple[str, dict[str, Any], dict[str, Any], tuple[float, float, float], tuple[int, int, int]]] = [
    ("plain", {}, {}, (2.2, 2.0, 3.3), (0, 1, 2)),
    ("thick", {"spacing": [6.0, 2.0, 1.8]}, {}, (2.1, 2.3, 8.0), (0, 1, 2)),
    ("transposed", {"spacing": [3.0, 2.0, 2.5]}, {"transpose_forward": [2, 0, 1]}, (2.2, 2.0, 3.3), (2, 0, 1)),
    ("small", {"patch_size": [48, 16, 32]}, {}, (4.0, 2.0, 3.3), (0, 1, 2)),
    ("regions", {}, {}, (2.2, 2.0, 3.3), (0, 1, 2)),
]


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize(("name", "changes", "others", "spacing", "order"), BOOKS, ids=[book[0] for book in BOOKS])
def test_a_whole_model_by_the_book(
    name: str, changes: Any, others: Any, spacing: Any, order: Any, tmp_path: Path, draw_case: DrawCase
) -> None:
    plans = nnunet.plans({"3d_fullres": nnunet.plan(**changes)}, **others)
    regions = name == "regions"
    described = nnunet.dataset(REGIONS, regions_class_order=[1, 2]) if regions else nnunet.dataset()
    weights = nnunet.checkpoint(nnunet.toy_arguments(2 if regions else 3))
    package = read_package(nnunet.write(tmp_path / "model", plans, described, {"fold_0": weights}))
    affine = np.diag([-spacing[0], spacing[1], spacing[2], 1.0])
    affine[:3, 3] = 40, -40, -30
    volume = draw_case(affine, (31, 35, 21))
    volume.array[volume.array == 0] = 1
    found = OneModel(package, "cpu").draw(volume, QUIET)
    wanted = by_the_book(package, volume, order, regions)
    assert len(np.unique(wanted)) > 1
    assert (found == wanted).mean() > 0.999


@pytest.mark.usefixtures("float32")
def test_a_model_of_named_axes_sees_the_same_whatever_way_the_image_lies(tmp_path: Path, draw_case: DrawCase) -> None:
    folder = nnunet.toy(tmp_path / "model")
    write_sidecar(folder, Sidecar(axcodes="RAS"))
    model = OneModel(read_package(folder), "cpu")
    volume = draw_case(np.diag([2.2, 2.0, 3.3, 1.0]), (24, 28, 17), np.int16)
    straight = model.draw(volume, QUIET)
    for order, flips in itertools.product(itertools.permutations(range(3)), [(), (0,), (1, 2)]):
        turned = np.flip(volume.array.transpose(order), flips)
        affine = volume.affine[:, [*order, 3]].copy()
        for axis in flips:
            affine[:3, 3] += affine[:3, axis] * (turned.shape[axis] - 1)
            affine[:3, axis] *= -1
        found = model.draw(Volume(turned, affine, "turned", "CT"), QUIET)
        np.testing.assert_array_equal(found, np.flip(straight.transpose(order), flips))


@pytest.mark.usefixtures("float32")
def test_what_is_0_around_an_image_changes_nothing_inside(tmp_path: Path, draw_case: DrawCase) -> None:
    model = OneModel(read_package(nnunet.toy(tmp_path / "model")), "cpu")
    volume = draw_case(np.diag([2.2, 2.0, 3.3, 1.0]), (24, 28, 17))
    volume.array[volume.array == 0] = 1
    wide = np.pad(volume.array, ((3, 0), (0, 5), (2, 2)))
    found = model.draw(Volume(wide, volume.affine, "padded", "CT"), QUIET)
    np.testing.assert_array_equal(found[3:, :-5, 2:-2], model.draw(volume, QUIET))
    assert not found[:3].any()
