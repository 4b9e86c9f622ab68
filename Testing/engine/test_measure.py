"""Volumes in mL, lesions with their longest diameter, tumor burden."""

from __future__ import annotations

import tracemalloc

import numpy as np
import numpy.typing as npt
import pytest
from scipy.spatial import distance

from LiverSegLib.labels import labels_for
from LiverSegLib.measure import find_lesions, measure

Affine = npt.NDArray[np.float64]
LABELS = labels_for({1: "liver", 2: "tumor"})
PLAIN: Affine = np.diag([0.8, 0.8, 2.5, 1.0])
# Turned, mirrored and sheared, as a tilted gantry gives it.
SKEW: Affine = np.array([[0.0, -0.9, 0.3, 20], [0.7, 0.1, 0.0, -5], [0.2, 0.0, 3.0, 7], [0, 0, 0, 1]])


def blob(shape: tuple[int, int, int], *, radius: float, seed: int = 0) -> npt.NDArray[np.bool_]:
    """A bumpy ball in voxels."""
    at = np.indices(shape) - (np.array(shape).reshape(3, 1, 1, 1) - 1) / 2
    bumps = np.random.default_rng(seed).uniform(0.7, 1, shape)
    return np.asarray(np.linalg.norm(at, axis=0) <= radius * bumps)


def farthest_centers(mask: npt.NDArray[np.bool_], affine: Affine) -> tuple[float, Affine]:
    """Largest distance of two voxel centers in mm and its direction, by trying all pairs."""
    points = np.argwhere(mask) @ affine[:3, :3].T
    apart = distance.squareform(distance.pdist(points))
    first, second = np.unravel_index(int(apart.argmax()), apart.shape)
    return float(apart.max()), np.asarray((points[first] - points[second]) / apart.max())


@pytest.mark.parametrize("affine", [PLAIN, SKEW], ids=["plain", "sheared"])
def test_volumes_are_voxels_times_the_determinant(affine: Affine) -> None:
    labels = np.zeros((20, 20, 20), np.uint8, order="F")
    labels[2:12, 2:12, 2:12] = 1
    labels[5:7, 5:7, 5:7] = 2

    found = measure(labels, affine, LABELS)

    voxel_ml = abs(np.linalg.det(affine[:3, :3])) / 1000
    assert [(s.name, s.voxels) for s in found.segments] == [("liver", 1000), ("tumor", 8)]
    assert found.volume_ml("liver") == pytest.approx(1000 * voxel_ml)
    assert found.volume_ml("tumor") == pytest.approx(8 * voxel_ml)
    assert found.tumor_burden_percent == pytest.approx(0.8)
    assert found.lesions[0].volume_ml == pytest.approx(8 * voxel_ml)
    with pytest.raises(KeyError, match="spleen"):
        found.volume_ml("spleen")


def test_every_value_of_a_label_map_is_counted() -> None:
    labels = np.arange(256, dtype=np.uint8).repeat(3).reshape(8, 8, 12)
    found = measure(labels, np.eye(4), labels_for({n: f"organ {n}" for n in range(1, 256)}))
    assert {s.voxels for s in found.segments} == {3}
    assert found.lesions == ()
    assert found.tumor_burden_percent is None


@pytest.mark.parametrize("affine", [PLAIN, SKEW], ids=["plain", "sheared"])
@pytest.mark.parametrize(("shape", "radius"), [((9, 9, 5), 3.0), ((15, 13, 11), 6.0), ((21, 17, 1), 8.0)])
def test_longest_diameter_is_that_of_all_pairs(shape: tuple[int, int, int], radius: float, affine: Affine) -> None:
    mask = blob(shape, radius=radius)
    (lesion,) = find_lesions(mask, affine)
    longest, direction = farthest_centers(mask, affine)
    # One voxel more than center to center: as far as the line runs inside one voxel.
    voxel = 1 / np.abs(np.linalg.inv(affine[:3, :3]) @ direction).max()
    assert lesion.longest_diameter_mm == pytest.approx(longest + voxel, rel=1e-4)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("count", [1, 2, 80])
def test_a_row_of_voxels_is_as_long_as_its_voxels(axis: int, count: int) -> None:
    mask = np.zeros((90, 90, 90), bool)
    line = [slice(4, 5)] * 3
    line[axis] = slice(4, 4 + count)
    mask[tuple(line)] = True
    (lesion,) = find_lesions(mask, PLAIN)
    spacing = (0.8, 0.8, 2.5)
    # A single voxel counts as long as its longest side.
    expected = 2.5 if count == 1 else count * spacing[axis]
    assert lesion.longest_diameter_mm == pytest.approx(expected)


def test_voxels_that_touch_at_a_corner_are_one_lesion() -> None:
    mask = np.zeros((8, 8, 8), bool)
    mask[1, 1, 1] = mask[2, 2, 2] = True
    assert len(find_lesions(mask, PLAIN)) == 1
    mask[4, 4, 4] = True
    assert len(find_lesions(mask, PLAIN)) == 2


def test_lesions_come_largest_first_with_their_centers() -> None:
    mask = np.zeros((20, 20, 20), bool)
    mask[2, 2, 2] = True
    mask[10:13, 10:13, 10:13] = True
    large, small = find_lesions(mask, SKEW)
    assert large.volume_ml == pytest.approx(27 * small.volume_ml)
    assert large.center_ras == pytest.approx((SKEW @ [11, 11, 11, 1])[:3])
    assert small.center_ras == pytest.approx((SKEW @ [2, 2, 2, 1])[:3])


def test_burden_without_liver_voxels_counts_the_lesions_as_liver() -> None:
    labels = np.zeros((6, 6, 6), np.uint8)
    labels[2, 2, 2] = 2
    assert measure(labels, PLAIN, LABELS).tumor_burden_percent == 100
    assert measure(labels, PLAIN, labels_for({2: "tumor"})).tumor_burden_percent is None


def test_an_empty_label_map_has_no_volume_and_no_burden() -> None:
    found = measure(np.zeros((6, 6, 6), np.uint8), PLAIN, LABELS)
    assert [(s.name, s.voxels, s.volume_ml) for s in found.segments] == [("liver", 0, 0), ("tumor", 0, 0)]
    assert found.lesions == ()
    assert found.tumor_burden_percent is None


def test_counting_needs_little_memory() -> None:
    labels = np.ones((200, 200, 200), np.uint8, order="F")
    tracemalloc.start()
    measure(labels, PLAIN, labels_for({1: "liver"}))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * labels.nbytes


def test_gray_values_are_those_of_the_image_in_each_segment() -> None:
    rng = np.random.default_rng(1)
    labels = np.zeros((30, 28, 26), np.uint8, order="F")
    labels[4:20, 5:21, 3:19] = 1
    labels[6:10, 6:10, 6:10] = 2
    labels[15:18, 15:18, 12:16] = 2
    image = rng.normal(1000, 3, labels.shape).astype(np.float32)
    image[labels == 2] -= 60
    image[0, 0, 0] = np.nan

    found = measure(labels, PLAIN, LABELS, image, "HU")

    for segment, inside in zip(found.segments, (labels > 0, labels == 2), strict=True):
        assert segment.mean_intensity == pytest.approx(image[inside].mean(dtype=np.float64), abs=1e-3)
        assert segment.std_intensity == pytest.approx(image[inside].std(dtype=np.float64), abs=1e-3)
    assert found.intensity_unit == "HU"
    assert found.lesions[0].mean_intensity == pytest.approx(image[6:10, 6:10, 6:10].mean(), abs=1e-2)
    assert found.lesions[1].std_intensity == pytest.approx(image[15:18, 15:18, 12:16].std(), abs=1e-2)


def test_without_an_image_or_voxels_there_is_no_gray_value() -> None:
    labels = np.zeros((6, 6, 6), np.uint8)
    assert {s.mean_intensity for s in measure(labels, PLAIN, LABELS, labels).segments} == {None}
    labels[2:4, 2:4, 2:4] = 1
    liver, tumor = measure(labels, PLAIN, LABELS).segments
    assert (liver.mean_intensity, tumor.std_intensity) == (None, None)
    nothing = np.full(labels.shape, np.nan)
    assert measure(labels, PLAIN, LABELS, nothing).segments[0].mean_intensity is None
