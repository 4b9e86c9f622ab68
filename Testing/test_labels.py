"""The Couinaud segments are labels like any other, and together the liver."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from LiverSegLib.labels import (
    Label,
    by_rank,
    label_for,
    labels_for,
    organs_first,
    organs_of_pieces,
    short_name,
    values_of,
)
from LiverSegLib.pictures.colors import FAR, lab, picture_colors

ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII")
CODES = ("71133005", "277956007", "277957003", "277958008", "277959000", "277960005", "277961009", "277962002")
SEGMENTS = {number: f"liver_segment_{number}" for number in range(1, 9)}
TOUCHING = ("12", "13", "14", "17", "18", "23", "24", "34", "45", "48", "56", "57", "58", "67", "68", "78")
# Machado et al. 2009: linear RGB as people without one kind of cone see it.
COLOR_BLIND = {
    "no red": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "no green": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
}


@pytest.mark.parametrize("number", SEGMENTS)
def test_a_segment_has_its_name_and_its_terms(number: int) -> None:
    label = label_for(number, SEGMENTS[number])
    assert label.display_name == f"Liver segment {ROMAN[number - 1]}"
    assert short_name(label.name) == ROMAN[number - 1]
    assert (label.part_of, label.is_piece, label.is_lesion) == ("liver", True, False)
    meaning = f"Couinaud hepatic segment {ROMAN[number - 1]}"
    assert f"~SCT^123037004^Anatomical Structure~SCT^{CODES[number - 1]}^{meaning}~^^~" in label.terminology
    assert label.segment_id == f"LiverSeg_liver_segment_{number}"


@pytest.mark.parametrize(
    "spelled", ["segment_4", "Couinaud_4", "liver segment 4", "Liver Segment IV", "segment iv", "couinaud_segment_4"]
)
def test_a_segment_is_known_by_its_other_names(spelled: str) -> None:
    assert label_for(4, spelled) == label_for(4, "liver_segment_4")


@pytest.mark.parametrize("name", ["segment_9", "segment_0", "liver_segment", "segment", "spleen_segment_4"])
def test_other_names_stay_names(name: str) -> None:
    label = label_for(1, name)
    assert (label.name, label.part_of, label.terminology) == (name, None, "")


def test_all_segments_together_are_the_liver() -> None:
    labels = labels_for(SEGMENTS)
    assert organs_of_pieces(labels) == ("liver",)
    assert values_of("liver", labels) == tuple(SEGMENTS)
    assert values_of("liver_segment_3", labels) == (3,)


def test_lesions_alone_and_some_of_the_segments_are_no_liver() -> None:
    assert values_of("liver", labels_for({2: "tumor"})) == ()
    assert values_of("liver", labels_for({2: "liver_segment_2", 3: "liver_segment_3", 4: "tumor"})) == ()


def test_a_liver_holds_its_segments_and_its_lesions() -> None:
    labels = labels_for({1: "liver", 2: "tumor"} | {number + 2: name for number, name in SEGMENTS.items()})
    assert values_of("liver", labels) == tuple(range(1, 11))
    assert organs_of_pieces(labels) == ()
    without = labels_for(SEGMENTS | {9: "tumor"})
    assert values_of("liver", without) == tuple(range(1, 10))


def test_a_lesion_beside_segments_belongs_to_their_organ() -> None:
    labels = labels_for({1: "spleen", 2: "tumor"} | {number + 2: name for number, name in SEGMENTS.items()})
    assert (labels[1].part_of, labels[1].display_name) == ("liver", "Liver tumor")


def test_what_lies_inside_comes_after_what_holds_it() -> None:
    labels = labels_for({1: "tumor", 9: "liver"} | {number + 9: name for number, name in SEGMENTS.items()})
    names = [label.name for label in organs_first(labels)]
    assert names == ["liver", *SEGMENTS.values(), "tumor"]
    assert [label.name for label in by_rank(labels)] == ["liver", "tumor", *SEGMENTS.values()]


def seen(labels: tuple[Label, ...], matrix: list[list[float]]) -> np.ndarray:
    """The labels' colors in CIELAB as a color-blind person sees them, [labels, 3]."""
    linear = (np.array([label.color for label in labels]) / 255) ** 2.2 @ np.array(matrix).T
    colors = np.round(255 * np.clip(linear, 0, 1) ** (1 / 2.2)).astype(int)
    return lab([(int(r), int(g), int(b)) for r, g, b in colors])


def test_the_colors_of_segments_can_be_told_apart() -> None:
    labels = labels_for(SEGMENTS | {9: "liver", 10: "tumor"})
    # They are far from each other, from the liver and from the tumor, so pictures have the colors of segmentations.
    assert picture_colors(labels) == {label.name: label.color for label in labels}
    ordinary = lab([label.color for label in labels])
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(ordinary, 2)) >= FAR
    pairs = [(int(pair[0]) - 1, int(pair[1]) - 1) for pair in TOUCHING]
    assert min(np.linalg.norm(ordinary[a] - ordinary[b]) for a, b in pairs) >= 60
    for matrix in COLOR_BLIND.values():
        blind = seen(labels, matrix)
        assert min(np.linalg.norm(blind[a] - blind[b]) for a, b in pairs) >= FAR


def test_the_colors_of_segments_show_on_a_gray_image() -> None:
    grays = lab([(shade, shade, shade) for shade in range(0, 256, 15)])
    for color in lab([label.color for label in labels_for(SEGMENTS)]):
        assert color[0] > 40  # neither dark ...
        assert np.linalg.norm(grays - color, axis=1).min() > 30  # ... nor gray
