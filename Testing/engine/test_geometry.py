"""Where voxels are: the same axes as nibabel, the same grids and labels as MONAI's transforms."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, Orientation, Orientationd, Spacing, Spacingd

from LiverSegLib.boxes import bounding_box, whole_of
from LiverSegLib.engine import geometry
from LiverSegLib.engine import restore as restore_module
from LiverSegLib.engine.axes import axis_order
from LiverSegLib.engine.progress import Monitor
from LiverSegLib.engine.restore import restore
from LiverSegLib.engine.sliding_window import margin
from LiverSegLib.volume import Volume, spacing_of

Affine = npt.NDArray[np.float64]
CPU = torch.device("cpu")
QUIET = Monitor(None, None)
ALL_48 = [
    np.diag([*signs, 1.0])[[*order, 3]]
    for order in itertools.permutations(range(3))
    for signs in itertools.product((-1.0, 1.0), repeat=3)
]


def random_rotation(rng: np.random.Generator) -> Affine:
    return np.asarray(np.linalg.qr(rng.normal(size=(3, 3)))[0])


def random_affine(rng: np.random.Generator, *, sheared: bool = False) -> Affine:
    """A rotated, perhaps mirrored grid with unequal spacing."""
    affine = np.eye(4)
    shear = np.triu(rng.uniform(-0.4, 0.4, (3, 3)), 1) if sheared else 0
    affine[:3, :3] = random_rotation(rng) @ (np.eye(3) + shear) * rng.uniform(0.5, 5, 3)
    affine[:3, 3] = rng.uniform(-300, 300, 3)
    return affine


def nibabel_order(array: npt.NDArray[Any], affine: Affine, axcodes: str) -> npt.NDArray[Any]:
    target = nib.orientations.axcodes2ornt(tuple(axcodes))
    return np.asarray(nib.apply_orientation(array, nib.orientations.ornt_transform(nib.io_orientation(affine), target)))


@pytest.mark.parametrize("axcodes", ["RAS", "LPS", "SAR", "PIR"])
def test_axes_are_ordered_as_nibabel_does_for_all_48_orientations(axcodes: str) -> None:
    numbered = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    for affine in ALL_48:
        ordered = axis_order(affine, axcodes).apply(numbered)
        np.testing.assert_array_equal(ordered, nibabel_order(numbered, affine, axcodes))


@pytest.mark.parametrize("sheared", [False, True], ids=["oblique", "sheared"])
def test_axes_are_ordered_as_nibabel_does_for_oblique_grids(sheared: bool) -> None:
    rng = np.random.default_rng(0)
    numbered = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    for _ in range(500):
        affine = random_affine(rng, sheared=sheared)
        ordered = axis_order(affine, "RAS").apply(numbered)
        np.testing.assert_array_equal(ordered, nibabel_order(numbered, affine, "RAS"))


def test_an_array_in_another_axis_order_is_a_view() -> None:
    numbered = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    for affine in ALL_48:
        axes = axis_order(affine, "LPS")
        view = axes.apply(numbered)
        assert sorted(view.ravel().tolist()) == sorted(numbered.ravel().tolist())
        assert np.shares_memory(view, numbered)


@pytest.mark.parametrize("axcodes", ["RA", "RRS", "RLS", "XYZ", "RASX", ""])
def test_axcodes_that_do_not_name_three_axes_are_refused(axcodes: str) -> None:
    with pytest.raises(ValueError, match="three different axes"):
        axis_order(np.eye(4), axcodes)


def same(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return array


def flipped(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return array[::-1, :, ::-1]


def every_other(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.repeat(array, 2, axis=1)[:, ::2]


def one_field(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Strides that are no multiple of the voxel size."""
    records = np.zeros(array.shape, [("flag", "u1"), ("value", array.dtype)])
    records["value"] = array
    return records["value"]


LAYOUTS = [np.ascontiguousarray, np.asfortranarray, flipped, every_other, one_field]


def to_monai(volume: Volume, axcodes: str, pixdim: tuple[float, ...]) -> torch.Tensor:
    values = np.ascontiguousarray(volume.array).astype(np.float32)
    image = MetaTensor(torch.from_numpy(values)[None], affine=torch.from_numpy(volume.affine))
    return Spacing(pixdim, mode="bilinear")(Orientation(axcodes)(image))


def assert_same_values_as_monai(volume: Volume, axcodes: str, pixdim: tuple[float, float, float]) -> None:
    grid = geometry.model_grid(volume, axcodes, pixdim)
    ours = geometry.to_model_grid(volume.array, grid, CPU)
    theirs = to_monai(volume, axcodes, pixdim)[0]

    assert ours.dtype == torch.float32
    assert tuple(ours.shape) == grid.shape == tuple(theirs.shape)
    value_range = float(theirs.max() - theirs.min()) or 1.0
    assert float((ours - torch.Tensor(theirs)).abs().max()) <= 1e-3 * value_range


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    "dtype", ["i2", "u2", "i4", "u1", "f4", "f8", ">i2", ">f4", ">u2", "?", "f2", "u4", "i8", "i1"]
)
def test_every_type_and_memory_layout_resamples_as_monai_does(
    dtype: str, layout: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
) -> None:
    rng = np.random.default_rng(1)
    values = rng.integers(0, 2 if dtype == "?" else 100, (9, 7, 6)).astype(dtype)
    affine = ALL_48[13] @ np.diag([0.8, 1.1, 3.0, 1.0])
    assert_same_values_as_monai(Volume(layout(values), affine), "RAS", (1.5, 1.5, 1.5))


@pytest.mark.parametrize("seed", range(25))
def test_random_grids_resample_as_monai_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(2, 24, 3))
    values = rng.normal(0, 300, shape).astype(np.int16)
    pixdim = tuple(float(n) for n in rng.uniform(0.6, 4, 3))
    axcodes = str(rng.choice(["RAS", "LPS", "LAS", "SPL"]))
    assert_same_values_as_monai(Volume(values, random_affine(rng)), axcodes, pixdim)  # type: ignore[arg-type]


def test_a_pixdim_of_minus_one_keeps_the_spacing_of_that_axis() -> None:
    volume = Volume(np.arange(60, dtype=np.float32).reshape(5, 4, 3), np.diag([0.7, 0.9, 5, 1.0]))
    grid = geometry.model_grid(volume, "RAS", (1.4, -1.0, -1.0))
    assert grid.spacing == pytest.approx((1.4, 0.9, 5.0))
    assert grid.shape == (3, 4, 3)
    assert_same_values_as_monai(volume, "RAS", (1.4, -1.0, -1.0))


def test_the_model_grid_never_shares_memory_with_the_input() -> None:
    volume = Volume(np.zeros((4, 5, 6), np.float32), np.eye(4))
    geometry.to_model_grid(volume.array, geometry.model_grid(volume, "RAS", (1, 1, 1)), CPU).fill_(7)
    assert not volume.array.any()


def test_a_read_only_array_can_be_read() -> None:
    array = np.arange(60, dtype=np.int16).reshape(5, 4, 3)
    array.flags.writeable = False
    assert_same_values_as_monai(Volume(array, np.eye(4)), "LPS", (1.3, 1.3, 1.3))


def smooth_logits(channels: int, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """Random logits without noise from voxel to voxel, so that classes form regions."""
    rough = torch.randn((1, channels, 4, 4, 4), generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(2 * rough, shape, mode="trilinear", align_corners=True)


def monai_labels(
    volume: Volume, axcodes: str, pixdim: tuple[float, ...], logits: torch.Tensor, nearest: bool, softmax: bool
) -> npt.NDArray[Any]:
    """Labels [i, j, k] by MONAI's own inversion of its own preprocessing."""
    steps = Compose([Orientationd("image", axcodes), Spacingd("image", pixdim, mode="bilinear")])
    image = MetaTensor(torch.from_numpy(volume.array)[None], affine=torch.from_numpy(volume.affine))
    case = steps({"image": image})
    values = logits[0].softmax(0) if softmax else logits[0]
    values = values.argmax(0, keepdim=True).float() if nearest else values
    case["pred"] = MetaTensor(values, meta=case["image"].meta)
    back = Invertd("pred", steps, orig_keys="image", nearest_interp=nearest)(case)["pred"]
    return np.asarray(back[0] if nearest else back.argmax(0))


@pytest.mark.parametrize("variant", ["logits", "softmax", "nearest"])
@pytest.mark.parametrize("channels", [2, 3, 5])
@pytest.mark.parametrize("seed", range(4))
def test_labels_come_back_as_monai_inverts_them(seed: int, channels: int, variant: str) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(20, 40, 3))
    volume = Volume(np.zeros(shape, np.float32), random_affine(rng))
    pixdim = tuple(s * f for s, f in zip(spacing_of(volume.affine), rng.uniform(0.7, 3, 3), strict=True))
    grid = geometry.model_grid(volume, "LPS", (1, 1, 1))
    pixdim = tuple(float(pixdim[n]) for n in grid.axes.order)
    grid = geometry.model_grid(volume, "LPS", pixdim)
    logits = smooth_logits(channels, grid.shape, seed)

    kept = margin(logits, variant == "softmax")[0]
    ours = restore(kept, grid, shape, variant == "nearest", QUIET)

    theirs = monai_labels(volume, "LPS", pixdim, logits, variant == "nearest", variant == "softmax")
    assert ours.dtype == np.uint8
    assert ours.shape == shape
    assert len(np.unique(theirs)) > 1
    assert (ours == theirs).mean() >= 0.9999


@pytest.mark.parametrize("nearest", [False, True])
@pytest.mark.parametrize("channels", [2, 3])
def test_restoring_only_the_foreground_box_changes_nothing(
    channels: int, nearest: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(3)
    volume = Volume(np.zeros((31, 37, 29), np.float32), random_affine(rng))
    grid = geometry.model_grid(volume, "RAS", (3.1, 2.7, 4.4))
    logits = smooth_logits(channels, grid.shape, 1)
    middle = np.array(grid.shape).reshape(3, 1, 1, 1) / 2
    logits[:, 0] += torch.from_numpy(20 * np.linalg.norm(np.indices(grid.shape) / middle - 1, axis=0) - 6)
    kept = margin(logits, False)[0]
    inside = restore(kept, grid, volume.array.shape, nearest, QUIET)

    boxes = []
    monkeypatch.setattr(restore_module, "bounding_box", lambda mask, **_: boxes.append(mask) or whole_of(mask))
    whole = restore(kept, grid, volume.array.shape, nearest, QUIET)
    box = bounding_box(boxes[0], margin=1)
    assert box is not None
    assert np.prod([side.stop - side.start for side in box]) < 0.5 * np.prod(grid.shape)
    np.testing.assert_array_equal(whole, inside)


def test_restoring_slab_by_slab_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    volume = Volume(np.zeros((30, 30, 30), np.float32), random_affine(np.random.default_rng(4)))
    grid = geometry.model_grid(volume, "RAS", (2.5, 2.5, 2.5))
    kept = margin(smooth_logits(3, grid.shape, 2), False)[0]
    at_once = restore(kept, grid, volume.array.shape, False, QUIET)
    monkeypatch.setattr(restore_module, "_SLAB_VALUES", 1)
    np.testing.assert_array_equal(restore(kept, grid, volume.array.shape, False, QUIET), at_once)


def test_nothing_found_restores_to_background() -> None:
    volume = Volume(np.zeros((6, 7, 8), np.float32), np.eye(4))
    grid = geometry.model_grid(volume, "RAS", (2, 2, 2))
    labelmap = restore(torch.full((1, *grid.shape), -1.0), grid, (6, 7, 8), False, QUIET)
    assert labelmap.shape == (6, 7, 8)
    assert not labelmap.any()
