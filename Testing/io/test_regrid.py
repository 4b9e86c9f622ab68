"""Back to the order of the DICOM images, from every way in which a program may keep them."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from LiverSegLib.errors import InputError
from LiverSegLib.io.dicom.regrid import regrid

SHAPE = (5, 4, 3)
NUMBERED = np.arange(60, dtype=np.int16).reshape(SHAPE)
OBLIQUE = np.array([[0.48, -0.14, 0.0, 10], [0.14, 0.48, 0.0, -7], [0.0, 0.0, 2.5, 30], [0, 0, 0, 1.0]])
TILTED = OBLIQUE.copy()
TILTED[1, 2] = 0.6  # a gantry tilt: the step from slice to slice is not across them


def turned(order: tuple[int, ...], flips: tuple[bool, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The numbered images kept in another order, and the matrix from those indices to the images' own."""
    back = np.zeros((4, 4))
    back[3, 3] = 1
    for place, (axis, flip) in enumerate(zip(order, flips, strict=True)):
        back[axis, place] = -1 if flip else 1
        back[axis, 3] = SHAPE[axis] - 1 if flip else 0
    array = NUMBERED.transpose(order)[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
    return array, back


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("flips", list(product([False, True], repeat=3)))
def test_every_order_is_undone(order: tuple[int, ...], flips: tuple[bool, ...]) -> None:
    array, back = turned(order, flips)
    noise = 0.001 * np.array([[1, -1, 1, 1], [1, 1, -1, -1], [-1, 1, 1, 1], [0, 0, 0, 0]])
    way = regrid(array.shape, OBLIQUE @ back + noise, SHAPE, OBLIQUE, "CT")
    np.testing.assert_array_equal(way.apply(array), NUMBERED)


def test_a_part_of_the_images_comes_to_its_place() -> None:
    array, back = turned((1, 0, 2), (True, False, True))
    back[:3, 3] += back[:3, :3] @ [1, 2, 1]
    way = regrid((2, 2, 2), OBLIQUE @ back, SHAPE, OBLIQUE, "CT")
    found = way.apply(array[1:3, 2:4, 1:3])
    assert set(found[found > 0]) == set(array[1:3, 2:4, 1:3].ravel().tolist())
    np.testing.assert_array_equal(found[found > 0], NUMBERED[found > 0])


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("is_long", [False, True])
def test_a_tilted_gantry_without_its_shear_is_known(flip: bool, is_long: bool) -> None:
    straight = TILTED.copy()
    straight[:3, 2] = [0, 0, np.hypot(0.6, 2.5) if is_long else 2.5]
    array, back = turned((0, 1, 2), (False, flip, flip))
    way = regrid(array.shape, straight @ back, SHAPE, TILTED, "CT")
    np.testing.assert_array_equal(way.apply(array), NUMBERED)


@pytest.mark.parametrize(
    "change",
    [
        np.diag([0.5, 1, 1, 1.0]),
        np.array([[1, 0, 0, 0.3], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
        np.array([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
        np.array([[0.8, -0.6, 0, 0], [0.6, 0.8, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
    ],
    ids=["resampled", "between voxels", "beside the images", "turned"],
)
def test_voxels_that_are_not_those_of_the_images_are_refused(change: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"^CT has another grid than the DICOM images .* or export a label map"):
        regrid(SHAPE, OBLIQUE @ change, SHAPE, OBLIQUE, "CT")
