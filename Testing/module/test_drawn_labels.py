"""What is drawn in a segmentation as one label map on its volume, whoever drew it and wherever the two lie."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("slicer.util", exc_type=ImportError)

import slicer
import slicer.util

from LiverSegLib import slicer_bridge as bridge
from LiverSegLib.errors import InputError
from Testing.module.test_bridge import AFFINE, SHAPE, a_labelmap, a_result, a_transform, a_turn, a_volume, scene

__all__ = ["scene"]


def a_segmentation(volume: Any) -> Any:
    return bridge.write_segments(a_result(volume), volume).node


def draw(node: Any, volume: Any, name: str, mask: np.ndarray) -> str:
    """A segment of a person, named by that person."""
    segment_id = node.GetSegmentation().AddEmptySegment("", name)
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask.transpose(2, 1, 0).astype(np.uint8), node, segment_id, volume)
    return str(segment_id)


@pytest.mark.usefixtures("scene")
@pytest.mark.parametrize("moved", [False, True], ids=["at home", "under transforms"])
def test_a_result_comes_back_as_it_was_written(moved: bool) -> None:
    volume = a_volume()
    if moved:
        volume.SetAndObserveTransformNodeID(a_transform(a_turn()).GetID())
    read, labelmap, labels = bridge.labels_on_volume(a_segmentation(volume))
    np.testing.assert_array_equal(labelmap, a_labelmap())
    np.testing.assert_allclose(read.affine, AFFINE)
    assert [(label.value, label.name, label.part_of) for label in labels] == [(1, "liver", None), (2, "tumor", "liver")]


@pytest.mark.usefixtures("scene")
def test_segments_that_hang_over_the_volume_are_cut_off() -> None:
    """The volume was cropped after it was segmented: the same voxels, fewer of them."""
    volume = a_volume()
    node = a_segmentation(volume)
    array = slicer.util.arrayFromVolume(volume)[3:, 2:, 12:].copy()
    shifted = AFFINE.copy()
    shifted[:3, 3] = (AFFINE @ [12, 2, 3, 1])[:3]
    slicer.util.updateVolumeFromArray(volume, array)
    volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(shifted))
    _, labelmap, _ = bridge.labels_on_volume(node)
    np.testing.assert_array_equal(labelmap, a_labelmap()[12:, 2:, 3:])
    shifted[:3, 3] -= 1000
    volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(shifted))
    with pytest.raises(InputError, match=r"Nothing is drawn in .* segment it first"):
        bridge.labels_on_volume(node)


@pytest.mark.usefixtures("scene")
def test_lesions_lie_on_organs_and_what_others_drew_is_told() -> None:
    volume = a_volume()
    node = a_segmentation(volume)
    assert bridge.drawn_by_others(node) == ()
    everywhere = np.ones(SHAPE, bool)
    node.GetSegmentation().RemoveSegment("LiverSeg_liver")
    draw(node, volume, "Liver", everywhere)
    _, labelmap, labels = bridge.labels_on_volume(node, ["liver", "gallbladder"])
    values = {label.name: label.value for label in labels}
    assert set(values) == {"liver", "tumor", "gallbladder"}
    np.testing.assert_array_equal(labelmap == values["tumor"], a_labelmap() == 2)
    np.testing.assert_array_equal(labelmap == values["liver"], a_labelmap() != 2)
    assert bridge.drawn_by_others(node) == ("liver",)
    draw(node, volume, "tumor", everywhere)  # joins ours of this name
    assert (bridge.labels_on_volume(node)[1] == values["tumor"]).sum() == everywhere.sum()
    assert set(bridge.drawn_by_others(node)) == {"liver", "tumor"}
