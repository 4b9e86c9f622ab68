"""A box of a volume, and some labels of a result."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

from LiverSegLib.engine.region import check_targets, crop, segment_region, select_labels, voxel_box
from LiverSegLib.errors import InputError
from LiverSegLib.labels import labels_for
from LiverSegLib.measure import measure
from LiverSegLib.plain_data import from_plain
from LiverSegLib.request import RasBox, SegmentationRequest, Settings
from LiverSegLib.volume import Result, Volume

AFFINE = np.array([[0.7, 0.1, 0, -120.3], [-0.1, 0.7, 0.2, 1 / 3], [0, -0.2, 2.5, 7e-7], [0, 0, 0, 1.0]])


def a_result(names: dict[int, str]) -> Result:
    labelmap = np.zeros((4, 5, 6), np.uint8, order="F")
    labelmap[1:3, 2, 3] = 1
    labelmap[1, 2, 3] = 2
    labels = labels_for(names)
    measured = measure(labelmap, AFFINE, labels, labelmap * 50.0, "HU")
    return Result(labelmap=labelmap, affine=AFFINE, labels=labels, measurements=measured)


def test_a_region_lies_in_the_same_place() -> None:
    volume = Volume(np.arange(120).reshape(4, 5, 6), AFFINE, "ct")
    box = voxel_box(((-3, 3), (2, 4), (5, 99)), volume)
    assert box == ((0, 3), (2, 4), (5, 6))
    part = crop(volume, box)
    assert np.allclose(part.affine @ [1, 1, 0, 1], AFFINE @ [1, 3, 5, 1])
    assert part.array[1, 1, 0] == volume.array[1, 3, 5]
    with pytest.raises(InputError, match="lies outside ct"):
        voxel_box(((4, 9), (0, 5), (0, 6)), volume)


def test_the_result_of_a_region_lies_in_the_whole_volume() -> None:
    volume = Volume(np.arange(120).reshape(4, 5, 6), AFFINE, "ct")
    whole = a_result({1: "liver", 2: "tumor"})

    def segment(part: Volume) -> Result:
        assert part.array.shape == (2, 1, 1)
        return replace(whole, labelmap=np.full(part.array.shape, 2, np.uint8), affine=part.affine)

    found = segment_region(volume, ((1, 3), (2, 3), (3, 4)), segment)
    assert found.labelmap.shape == (4, 5, 6)
    assert np.argwhere(found.labelmap).tolist() == [[1, 2, 3], [2, 2, 3]]
    assert np.array_equal(found.affine, AFFINE)


@pytest.mark.parametrize("affine", [np.diag([-0.8, -0.8, 2.5, 1.0]), AFFINE], ids=["LPS", "oblique"])
def test_a_box_in_mm_holds_the_voxels_that_it_touches(affine: Any) -> None:
    volume = Volume(np.zeros((40, 50, 30)), affine, "ct")
    axes = np.linalg.qr(affine[:3, :3])[0].T
    first, last = affine @ [8, 9, 10, 1], affine @ [20, 22, 14, 1]
    size = np.abs(axes @ (last - first)[:3])
    box = RasBox(
        center=tuple((first + last)[:3] / 2), size=tuple(size), axes=(tuple(axes[0]), tuple(axes[1]), tuple(axes[2]))
    )
    found = voxel_box(box, volume)
    middle = np.stack(np.meshgrid(*(np.linspace(-0.5, 0.5, 21),) * 3), axis=-1).reshape(-1, 3) * size
    inside = (np.linalg.inv(affine) @ np.c_[middle @ axes + box.center, np.ones(len(middle))].T)[:3]
    touched = np.round(inside).astype(int)
    for (start, stop), low, high in zip(found, touched.min(axis=1), touched.max(axis=1), strict=True):
        assert start <= low
        assert high < stop
        assert start >= low - 1
        assert stop <= high + 2


def test_a_box_in_mm_beside_the_volume_is_refused() -> None:
    volume = Volume(np.zeros((4, 5, 6)), AFFINE, "ct")
    with pytest.raises(InputError, match="lies outside ct; move it over the liver"):
        voxel_box(RasBox(center=(500, 0, 0), size=(10, 10, 10)), volume)
    with pytest.raises(InputError, match="no box in a patient"):
        RasBox(center=(1e300, 0, 0), size=(10, 10, 10))


@pytest.mark.parametrize("size", [(0, 1, 1), (1, -1, 1), (float("nan"), 1, 1), (float("inf"), 1, 1)])
def test_a_box_without_a_size_is_refused(size: Any) -> None:
    with pytest.raises(InputError, match="give three sides above 0"):
        RasBox(center=(0, 0, 0), size=size)


def test_without_tumors_the_liver_is_whole() -> None:
    result = a_result({1: "liver", 2: "tumor"})
    liver = select_labels(result, check_targets(["Liver"], result.labels, "Toy"))
    assert int((liver.labelmap == 1).sum()) == 2
    assert [label.name for label in liver.labels] == ["liver"]
    assert liver.measurements.lesions == ()
    assert liver.measurements.intensity_unit == "HU"
    assert liver.measurements.tumor_burden_percent is None
    with pytest.raises(InputError, match="does not segment 'spleen'; choose among liver, tumor"):
        check_targets(["spleen"], result.labels, "Toy")
    with pytest.raises(InputError, match="No target is chosen"):
        check_targets([], result.labels, "Toy")


def test_without_its_lesions_any_organ_is_whole() -> None:
    result = a_result({1: "kidney", 2: "kidney_tumor"})
    kidney = select_labels(result, frozenset({"kidney"}))
    assert int((kidney.labelmap == 1).sum()) == 2


def test_lesions_alone_keep_their_share_of_the_organ() -> None:
    result = select_labels(a_result({1: "liver", 2: "tumor"}), frozenset({"tumor"}))
    assert result.measurements.tumor_burden_percent == 50
    assert not (result.labelmap == 1).any()


REQUESTS = [
    SegmentationRequest(),
    SegmentationRequest(model="starter", device="cpu", region=((0, 1), (2, 3), (4, 5)), targets=("liver",)),
    SegmentationRequest(
        region=RasBox(center=(1.0, 2.5, -3.0), size=(10.0, 20.0, 30.0)),
        settings=Settings(fill_holes=False, overlap=0.5),
    ),
]


@pytest.mark.parametrize("request_", REQUESTS)
def test_a_request_survives_json(request_: SegmentationRequest) -> None:
    assert from_plain(SegmentationRequest, json.loads(json.dumps(asdict(request_))), "request") == request_


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (3, "request should be an object, not 3"),
        ({"modle": "x"}, "unknown field 'modle'"),
        ({"region": [[0, 1], [2, 3]]}, r"request\.region should have 3 items, not 2"),
        ({"region": {"center": [0, 0, 0], "size": [1, 1, 0]}}, "give three sides above 0"),
        ({"region": {"center": [0, 0, 0]}}, "lacks the field 'size'"),
        ({"targets": "liver"}, r"request\.targets should be of type"),
        ({"settings": {"overlap": 2}}, "overlap 2 is not allowed"),
        ({"device": 1}, r"request\.device should be of type str"),
    ],
)
def test_data_that_is_no_request_is_refused(data: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        from_plain(SegmentationRequest, data, "request")
