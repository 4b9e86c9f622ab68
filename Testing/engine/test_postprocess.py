"""One liver without holes and lesions only inside it, on arrays drawn by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from LiverSegLib.boxes import bounding_box
from LiverSegLib.engine.postprocess import least_voxels, postprocess
from LiverSegLib.labels import labels_for
from LiverSegLib.request import Settings

Labels = npt.NDArray[np.uint8]
LIVER, TUMOR, SPLEEN = 1, 2, 3
LABELS = labels_for({LIVER: "liver", TUMOR: "tumor"})
ALL = Settings()


def liver_block() -> Labels:
    """A 10x8x6 liver in a 20x18x16 grid, in the memory order of a NIfTI image."""
    labels = np.zeros((20, 18, 16), np.uint8, order="F")
    labels[4:14, 4:12, 4:10] = LIVER
    return labels


def cleaned(labels: Labels, **switches: Any) -> Labels:
    result = labels.copy(order="K")
    settings = Settings(
        largest_component=switches.get("largest", False),
        fill_holes=switches.get("holes", False),
        lesions_inside=switches.get("inside", False),
    )
    postprocess(result, LABELS, settings)
    return result


def test_only_the_largest_part_stays() -> None:
    labels = liver_block()
    labels[16:18, 14:16, 12:14] = LIVER
    np.testing.assert_array_equal(cleaned(labels, largest=True), liver_block())


def test_parts_that_touch_at_an_edge_only_are_separate() -> None:
    labels = liver_block()
    labels[14, 12, 9] = LIVER
    np.testing.assert_array_equal(cleaned(labels, largest=True), liver_block())


def test_a_lesion_bridges_two_parts_of_the_liver() -> None:
    labels = liver_block()
    labels[8, 4:12, 4:10] = TUMOR
    np.testing.assert_array_equal(cleaned(labels, largest=True, inside=True), labels)


@pytest.mark.parametrize(("inside", "voxel_mm3", "stays"), [(True, 20, False), (True, 60, True), (False, 20, True)])
def test_a_speck_smaller_than_any_lesion_is_tissue(inside: bool, voxel_mm3: float, stays: bool) -> None:
    labels = liver_block()
    labels[6:8, 5:7, 5:7] = TUMOR  # 160 mm3 or more
    labels[11, 9, 5:8] = TUMOR  # 60 or 180 mm3; a ball of 5 mm has 65
    result = labels.copy(order="K")
    switches = Settings(largest_component=False, fill_holes=False, lesions_inside=inside)
    postprocess(result, LABELS, switches, spacing=(1.0, 1.0, voxel_mm3))
    assert (result[11, 9, 5:8] == (TUMOR if stays else LIVER)).all()
    labels[11, 9, 5:8] = result[11, 9, 5:8]
    np.testing.assert_array_equal(result, labels)


def test_on_a_single_slice_the_smallest_lesion_is_a_disc() -> None:
    assert least_voxels((40, 40, 1), (0.5, 1.0, 8.0)) == pytest.approx(np.pi / 4 * 25 / 0.5)
    assert least_voxels((40, 1, 40), (0.5, 8.0, 1.0)) == pytest.approx(np.pi / 4 * 25 / 0.5)


def test_enclosed_holes_become_liver() -> None:
    labels = liver_block()
    labels[7:9, 7, 6] = 0
    np.testing.assert_array_equal(cleaned(labels, holes=True), liver_block())


def test_a_hole_open_in_three_dimensions_stays() -> None:
    labels = liver_block()
    labels[7, 7, 4:8] = 0  # closed in every axial slice, open below
    np.testing.assert_array_equal(cleaned(labels, holes=True), labels)


def test_a_hole_within_a_lesion_becomes_liver_and_the_lesion_stays() -> None:
    labels = liver_block()
    labels[6:9, 6:9, 5:8] = TUMOR
    labels[7, 7, 6] = 0
    result = cleaned(labels, holes=True)
    assert result[7, 7, 6] == LIVER
    assert (result == TUMOR).sum() == 26


def test_the_border_of_the_image_closes_no_hole() -> None:
    labels = np.full((5, 5, 5), LIVER, np.uint8)
    labels[2, 2, 0] = 0
    np.testing.assert_array_equal(cleaned(labels, holes=True), labels)


def test_other_organs_inside_are_not_filled() -> None:
    labels = liver_block()
    labels[7, 7, 6] = SPLEEN
    np.testing.assert_array_equal(cleaned(labels, largest=True, holes=True, inside=True), labels)


def test_lesions_apart_from_the_liver_go_and_attached_ones_stay() -> None:
    attached = liver_block()
    attached[14:16, 6, 6] = TUMOR
    labels = attached.copy()
    labels[17:19, 15:17, 12:14] = TUMOR
    np.testing.assert_array_equal(cleaned(labels, inside=True), attached)


def test_a_lesion_on_a_removed_part_goes_with_it() -> None:
    labels = liver_block()
    labels[16:18, 14:16, 12:14] = LIVER
    labels[18, 14:16, 12:14] = TUMOR
    np.testing.assert_array_equal(cleaned(labels, largest=True, holes=True, inside=True), liver_block())


def test_without_switches_nothing_changes() -> None:
    labels = np.random.default_rng(0).integers(0, 4, (9, 8, 7)).astype(np.uint8)
    np.testing.assert_array_equal(cleaned(labels), labels)


@pytest.mark.parametrize("value", [0, SPLEEN, TUMOR])
def test_label_maps_without_liver_survive(value: int) -> None:
    labels = np.full((4, 4, 4), value, np.uint8)
    postprocess(labels, LABELS[1:], ALL)
    assert (labels == value).all()
    postprocess(labels, LABELS[:1], ALL)
    assert (labels == value).all()


def test_lesions_without_any_liver_are_removed_only_when_asked() -> None:
    labels = np.zeros((6, 6, 6), np.uint8)
    labels[2:4, 2:4, 2:4] = TUMOR
    np.testing.assert_array_equal(cleaned(labels), labels)
    assert not cleaned(labels, inside=True).any()


def test_a_model_without_lesions() -> None:
    labels = liver_block()
    labels[7, 7, 6] = 0
    labels[18, 16, 14] = LIVER
    postprocess(labels, LABELS[:1], ALL)
    np.testing.assert_array_equal(labels, liver_block())


def test_the_box_of_a_mask() -> None:
    mask = np.zeros((6, 5, 4), bool)
    assert bounding_box(mask) is None
    mask[1:3, 2, 1] = True
    assert bounding_box(mask) == (slice(1, 3), slice(2, 3), slice(1, 2))
    assert bounding_box(mask, margin=2) == (slice(0, 5), slice(0, 5), slice(0, 4))
