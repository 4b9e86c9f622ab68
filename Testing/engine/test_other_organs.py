"""Lesions of any organ, by data alone: kidney with its tumor, lung with a lesion, two organs at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from LiverSegLib.engine.postprocess import postprocess
from LiverSegLib.labels import label_for, labels_for, lesion_in
from LiverSegLib.measure import Measurements, measure
from LiverSegLib.pictures.build import build_scene
from LiverSegLib.pictures.colors import picture_colors
from LiverSegLib.request import Settings
from LiverSegLib.volume import Result, Volume

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
MODELS = [
    ({1: "liver", 2: "tumor"}, "Liver tumor", "10200004"),
    ({1: "kidney", 2: "kidney_tumor"}, "Kidney tumor", "64033007"),
    ({1: "kidneys", 2: "kidney_tumor"}, "Kidney tumor", "64033007"),
    ({1: "lung", 2: "lesion"}, "Lung tumor", "39607008"),
]


def a_labelmap() -> Any:
    """An organ of 10 x 8 x 6 voxels with a lesion of 2 x 2 x 2 inside, and a second lesion far away."""
    labels = np.zeros((20, 18, 16), np.uint8, order="F")
    labels[4:14, 4:12, 4:10] = 1
    labels[7:9, 7:9, 6:8] = 2
    labels[17:19, 14:16, 12:14] = 2
    return labels


@pytest.mark.parametrize(("names", "shown", "region"), MODELS, ids=lambda value: str(value)[:40])
def test_a_lesion_is_named_and_coded_by_its_organ(names: dict[int, str], shown: str, region: str) -> None:
    organ, lesion = labels_for(names)
    assert (lesion.part_of, lesion.is_lesion, lesion.display_name) == (organ.name, True, shown)
    assert f"SCT^{region}^" in lesion.terminology
    assert not organ.is_lesion


@pytest.mark.parametrize(("names", "shown", "region"), MODELS, ids=lambda value: str(value)[:40])
def test_a_lesion_is_kept_inside_measured_and_drawn(names: dict[int, str], shown: str, region: str) -> None:
    del shown, region
    labels, labelmap = labels_for(names), a_labelmap()
    organ, lesion = labels
    postprocess(labelmap, labels, Settings())
    assert not labelmap[17:19].any()
    measured = measure(labelmap, AFFINE, labels)
    assert measured.volume_ml(organ.name) == pytest.approx(480 * 0.008)
    assert measured.volume_ml(lesion.name) == pytest.approx(8 * 0.008)
    assert [found.name for found in measured.lesions] == [lesion.name]
    assert measured.tumor_burden_percent == pytest.approx(100 * 8 / 480)
    result = Result(labelmap=labelmap, affine=AFFINE, labels=labels, measurements=measured)
    assert int(result.mask(organ.name).sum()) == 480
    outer, inner = build_scene(Volume(labelmap.astype(np.int16), AFFINE), result).overlays
    assert (outer.values, outer.is_lesion) == ((1, 2), False)
    assert (inner.values, inner.is_lesion) == ((2,), True)


def test_two_organs_each_have_their_lesions() -> None:
    labels = labels_for({1: "liver", 2: "tumor", 3: "kidney", 4: "kidney_tumor"})
    labelmap = np.zeros((12, 6, 6), np.uint8)
    labelmap[:4], labelmap[4:6], labelmap[6:9], labelmap[9:] = 1, 2, 3, 4
    measured = measure(labelmap, AFFINE, labels)
    burdens = {part.name: part.burden_percent for part in measured.segments}
    assert burdens == {
        "liver": None,
        "tumor": pytest.approx(100 / 3),
        "kidney": None,
        "kidney_tumor": pytest.approx(50),
    }
    assert [lesion.name for lesion in measured.lesions] == ["tumor", "kidney_tumor"]
    assert [number for number, _ in measured.numbered_lesions()] == [1, 1]
    assert len({*picture_colors(labels).values()}) == 4


def test_a_lesion_beside_several_organs_belongs_to_none() -> None:
    assert [label.part_of for label in labels_for({1: "kidney", 2: "spleen", 3: "tumor"})] == [None, None, None]
    assert labels_for({1: "kidney", 2: "spleen", 3: "tumor"})[2].display_name == "Tumor"
    assert labels_for({1: "tumor"})[0].part_of == "liver"


def test_what_a_second_model_finds_is_a_lesion_of_the_organ_it_was_looked_for_in() -> None:
    lesion = lesion_in(label_for(2, "cancer"), "lungs")
    assert (lesion.part_of, lesion.display_name) == ("lungs", "Lung tumor")
    assert lesion_in(lesion, "organ").display_name == "Tumor"


def test_nothing_measured_is_no_burden() -> None:
    assert Measurements().tumor_burden_percent is None
