"""From a volume to its segments: any grid, any type, and what the user is told."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from LiverSegLib.engine.axes import AxisOrder
from LiverSegLib.engine.segmenter import Segmenter
from LiverSegLib.errors import InputError
from LiverSegLib.volume import Volume

MakePackage = Callable[..., Path]
DrawCase = Callable[..., Volume]
Affine = npt.NDArray[np.float64]
SHAPE = (46, 40, 34)
GRID: Affine = np.array([[2.0, 0, 0, -40], [0, 2, 0, -44], [0, 0, 2, -30], [0, 0, 0, 1]])
ORIENTATIONS = [
    AxisOrder(order, flip)  # type: ignore[arg-type]
    for order in itertools.permutations(range(3))
    for flip in itertools.product((False, True), repeat=3)
]


def dice(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def drawn_liver(volume: Volume) -> npt.NDArray[np.bool_]:
    return np.asarray(volume.array > 100)


def reoriented(volume: Volume, axes: AxisOrder) -> Volume:
    """The same image with its axes permuted and reversed, and the affine that says so."""
    to_old = np.zeros((4, 4))
    to_old[3, 3] = 1
    for new, (old, flip) in enumerate(zip(axes.order, axes.flip, strict=True)):
        to_old[old, new] = -1 if flip else 1
        to_old[old, 3] = volume.array.shape[old] - 1 if flip else 0
    return replace(volume, array=axes.apply(volume.array), affine=volume.affine @ to_old)


@pytest.fixture
def segmenter(threshold_package: MakePackage) -> Segmenter:
    return Segmenter(threshold_package(), "cpu")


@pytest.fixture
def case(draw_case: DrawCase) -> Volume:
    return draw_case(GRID, SHAPE)


@pytest.mark.usefixtures("float32")
def test_liver_and_lesion_are_found_where_they_were_drawn(segmenter: Segmenter, case: Volume) -> None:
    result = segmenter.segment(case)

    assert [(label.value, label.name) for label in result.labels] == [(1, "liver"), (2, "tumor")]
    assert dice(result.mask("liver"), drawn_liver(case)) > 0.999
    assert dice(result.mask("tumor"), case.array > 200) > 0.99
    # An ellipsoid of half axes 34, 26 and 20 mm.
    assert result.measurements.volume_ml("liver") == pytest.approx(4 / 3 * np.pi * 34 * 26 * 20 / 1000, rel=0.02)
    assert len(result.measurements.lesions) == 1
    assert result.measurements.lesions[0].center_ras == pytest.approx((16, 4, 6), abs=0.5)
    assert result.warnings == ()
    assert result.model == "Toy model 1.2.3"
    assert list(result.timings) == ["prepare", "resample", "network", "restore", "postprocess", "measure"]


def test_all_48_orientations_give_the_same_segments(threshold_package: MakePackage, draw_case: DrawCase) -> None:
    affine = GRID @ np.diag([0.9, 1.1, 1.3, 1])
    case = draw_case(affine, (44, 36, 28))
    # One window: turning is done before windows are placed, and the model's grid is always the same.
    segmenter = Segmenter(threshold_package(roi_size=(48, 48, 48)), "cpu")
    straight = segmenter.segment(case).labelmap
    assert dice(straight > 0, drawn_liver(case)) > 0.98

    for axes in ORIENTATIONS:
        turned = reoriented(case, axes)
        result = segmenter.segment(turned)
        assert result.affine.tobytes() == turned.affine.tobytes()
        assert result.labelmap.shape == turned.array.shape
        flipped = result.labelmap[tuple(slice(None, None, -1 if f else 1) for f in axes.flip)]
        assert (flipped.transpose(np.argsort(axes.order)) == straight).mean() > 0.9999, axes


def test_an_oblique_grid_gives_the_same_segments_in_space(segmenter: Segmenter, draw_case: DrawCase) -> None:
    a, b = np.radians([20, -13])
    tilt = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]) @ np.array(
        [[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]]
    )
    affine = np.eye(4)
    affine[:3, :3] = tilt @ np.diag([-1.7, -1.9, 2.1])
    shape = (52, 48, 38)
    affine[:3, 3] = np.array([6, -4, 2]) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    case = draw_case(affine, shape)

    result = segmenter.segment(case)

    assert result.affine.tobytes() == affine.tobytes()
    assert dice(result.mask("liver"), drawn_liver(case)) > 0.99
    assert result.measurements.lesions[0].center_ras == pytest.approx((16, 4, 6), abs=0.5)


def test_thick_slices(threshold_package: MakePackage, draw_case: DrawCase) -> None:
    case = draw_case(GRID @ np.diag([0.3, 0.3, 2.5, 1]), (140, 120, 13))
    result = Segmenter(threshold_package(), "cpu").segment(case)
    assert case.spacing == pytest.approx((0.6, 0.6, 5))
    assert result.labelmap.shape == (140, 120, 13)
    assert dice(result.mask("liver"), drawn_liver(case)) > 0.98


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_single_slice(threshold_package: MakePackage, case: Volume, axis: int, dims: int) -> None:
    middle = case.array.shape[axis] // 2
    one = replace(case, array=case.array.take([middle], axis))
    result = Segmenter(threshold_package(dims), "cpu").segment(one)
    assert result.labelmap.shape == one.array.shape
    assert dice(result.mask("liver"), drawn_liver(one)) > 0.99
    assert any("only 1 slice;" in note for note in result.warnings)


@pytest.mark.parametrize("shape", [(2, 2, 2), (7, 5, 6), (1, 9, 1), (40, 3, 2)])
@pytest.mark.parametrize("dims", [2, 3])
def test_volumes_smaller_than_the_window(
    threshold_package: MakePackage, dims: int, shape: tuple[int, int, int]
) -> None:
    values = np.full(shape, -80, np.int16)
    values[: max(1, shape[0] // 2), : max(1, shape[1] // 2)] = 150
    result = Segmenter(threshold_package(dims), "cpu").segment(Volume(values, GRID, "a stamp", "CT"))
    np.testing.assert_array_equal(result.labelmap, values > 100)


@pytest.mark.parametrize("dtype", ["i2", "i4", "f4", "f8", ">i2", "f2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_the_image_is_never_changed(segmenter: Segmenter, case: Volume, dtype: str, order: Any) -> None:
    # The grid of the drawn case is the model's own: nothing needs to be resampled or copied.
    array = np.array(case.array, dtype, order=order)
    before = array.copy()
    result = segmenter.segment(replace(case, array=array))
    np.testing.assert_array_equal(array, before)
    assert dice(result.mask("liver"), drawn_liver(case)) > 0.98


def test_a_reversed_view_is_segmented_as_its_copy(segmenter: Segmenter, case: Volume) -> None:
    view = replace(case, array=case.array[::-1, :, ::-1])
    copy = replace(case, array=view.array.copy())
    np.testing.assert_array_equal(segmenter.segment(view).labelmap, segmenter.segment(copy).labelmap)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_taken_as_air_and_told(segmenter: Segmenter, case: Volume, value: float) -> None:
    expected = segmenter.segment(case).labelmap
    holed = case.array.copy()
    holed[:2, :2, :2] = value
    result = segmenter.segment(replace(case, array=holed))
    np.testing.assert_array_equal(result.labelmap, expected)
    assert result.warnings == ("the drawn case holds 8 voxels of NaN or infinity; they were taken as air.",)
    assert np.array_equal(holed[0, 0, 0], value, equal_nan=True)


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.full((6, 6, 6), 40, np.int16), "ct.nii has the value 40 everywhere; there is nothing to segment."),
        (np.zeros((1, 1, 1)), "ct.nii has the value 0.0 everywhere; there is nothing to segment."),
        (np.full((6, 6, 6), np.nan), "ct.nii holds NaN or infinity in most voxels; export or load it again."),
    ],
)
def test_images_without_content_are_refused(segmenter: Segmenter, array: npt.NDArray[Any], sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        segmenter.segment(Volume(array, GRID, "ct.nii"))
    assert str(caught.value) == sentence


def test_another_modality_is_told(segmenter: Segmenter, case: Volume) -> None:
    notes = segmenter.segment(replace(case, modality="MR")).warnings
    assert notes == (
        "the drawn case is MR but Toy model was trained on CT; do not trust the result, choose another model.",
    )


def test_values_that_are_no_hounsfield_units_are_told(segmenter: Segmenter, case: Volume) -> None:
    shifted = replace(case, array=(case.array + 1024).astype(np.uint16), modality=None)
    assert "does not look like a CT" in segmenter.segment(shifted).warnings[0]


def test_finding_nothing_is_told(segmenter: Segmenter, case: Volume) -> None:
    result = segmenter.segment(replace(case, array=case.array - 200))
    assert not result.labelmap.any()
    assert "liver and tumor not found in the drawn case; check that it shows the abdomen." in result.warnings
    assert result.measurements.volume_ml("liver") == 0
    assert result.measurements.tumor_burden_percent is None


def test_the_same_volume_twice_gives_the_same_result(random_package: MakePackage, case: Volume) -> None:
    segmenter = Segmenter(random_package(), "cpu")
    first, second = segmenter.segment(case), segmenter.segment(case)
    np.testing.assert_array_equal(first.labelmap, second.labelmap)
    assert first.measurements == second.measurements
    assert first.labelmap.any()
