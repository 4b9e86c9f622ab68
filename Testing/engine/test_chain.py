"""Models that help each other: one looks where another says, one's labels are dealt out to another's organ."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from LiverSegLib.engine.divide import divide
from LiverSegLib.engine.geometry import GridLabels, model_grid
from LiverSegLib.engine.posture import STRAIGHT, Turn, find_turned
from LiverSegLib.engine.progress import Monitor, Progress
from LiverSegLib.engine.segmenter import Segmenter
from LiverSegLib.engine.vote import outvote
from LiverSegLib.errors import ModelError, SegmentationCancelled
from LiverSegLib.labels import labels_for
from LiverSegLib.models import Guide, read_package
from LiverSegLib.request import Settings
from LiverSegLib.volume import Volume
from Testing.engine.test_engine import GRID, ORIENTATIONS, dice, reoriented
from Testing.label_names import rename

MakePackage = Callable[..., Path]
DrawCase = Callable[..., Volume]
RAW = Settings(largest_component=False, fill_holes=False, lesions_inside=False)


@pytest.fixture
def guided(threshold_package: MakePackage) -> Path:
    """A liver model that looks within 12 mm of what a coarse one finds."""
    threshold_package(name="coarse", labels=1, pixdim=(6.0, 6.0, 6.0))
    return threshold_package(name="fine", guide=Guide("coarse", 12.0))


@pytest.fixture
def parts(threshold_package: MakePackage) -> Path:
    """A model of two segments (above 100, above 200) that divides the liver of `fine`, whose guide it is."""
    threshold_package(name="fine", labels=1, guide=Guide("parts", 12.0))
    package = threshold_package(name="parts", pixdim=(4.0, 4.0, 4.0), divides="fine")
    rename(package, {"1": "liver_segment_1", "2": "liver_segment_2"})
    return package


@pytest.fixture
def case(draw_case: DrawCase) -> Volume:
    """The drawn liver with a small blob of its brightness far from it."""
    drawn = draw_case(GRID, (46, 40, 34))
    drawn.array[1:4, 1:4, 1:4] = 150
    return drawn


@pytest.mark.usefixtures("float32")
def test_what_lies_far_from_the_guides_organ_is_not_looked_at(guided: Path, case: Volume) -> None:
    result = Segmenter(guided, "cpu", RAW).segment(case)
    near = case.array > 100
    near[:5, :5, :5] = False
    assert dice(result.mask("liver"), near) > 0.999
    assert not result.labelmap[:5, :5, :5].any()
    assert result.affine.tobytes() == case.affine.tobytes()
    assert list(result.timings)[:3] == ["locate", "prepare", "resample"]
    alone = read_package(guided)
    (guided / "configs" / "metadata.json").write_text(
        (guided / "configs" / "metadata.json").read_text().replace("liverseg_chain", "another")
    )
    (guided / "checksums.sha256").unlink()
    assert alone.guide == Guide("coarse", 12.0)
    assert Segmenter(guided, "cpu", RAW).segment(case).labelmap[1:4, 1:4, 1:4].all()


@pytest.mark.usefixtures("float32")
def test_all_48_orientations_give_the_same_segments(parts: Path, draw_case: DrawCase) -> None:
    segmenter = Segmenter(parts, "cpu")
    case = draw_case(GRID @ np.diag([0.9, 1.1, 1.3, 1]), (44, 36, 28))
    straight = segmenter.segment(case).labelmap
    assert dice(straight > 0, case.array > 100) > 0.97
    for axes in ORIENTATIONS:
        turned = reoriented(case, axes)
        result = segmenter.segment(turned)
        assert result.affine.tobytes() == turned.affine.tobytes()
        flipped = result.labelmap[tuple(slice(None, None, -1 if f else 1) for f in axes.flip)]
        assert (flipped.transpose(np.argsort(axes.order)) == straight).mean() > 0.999, axes


def test_an_oblique_grid_is_guided_too(parts: Path, draw_case: DrawCase) -> None:
    a = np.radians(20)
    tilt = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = tilt @ np.diag([-1.7, -1.9, 2.1])
    affine[:3, 3] = np.array([6, -4, 2]) - affine[:3, :3] @ [25.5, 23.5, 18.5]
    case = draw_case(affine, (52, 48, 38))
    result = Segmenter(parts, "cpu").segment(case)
    assert result.affine.tobytes() == affine.tobytes()
    assert dice(result.labelmap > 0, case.array > 100) > 0.98
    assert dice(result.labelmap == 2, case.array > 200) > 0.8


def test_a_guide_that_finds_nothing_leaves_the_whole_volume(threshold_package: MakePackage, case: Volume) -> None:
    threshold_package(name="coarse", labels=1, window=(-100.0, 900.0))  # sees nothing below 400
    fine = threshold_package(name="fine", guide=Guide("coarse", 12.0))
    result = Segmenter(fine, "cpu").segment(case)
    assert dice(result.mask("liver"), case.array > 100) > 0.99
    assert any("stood out as the place to look at, so all of it was searched" in note for note in result.warnings)


@pytest.mark.usefixtures("float32")
def test_all_of_the_organ_goes_to_parts_of_one_piece(parts: Path, case: Volume) -> None:
    segmenter = Segmenter(parts, "cpu")
    result = segmenter.segment(case)
    organ = case.array > 100
    organ[:5, :5, :5] = False
    assert dice(result.labelmap > 0, organ) > 0.999
    assert dice(result.labelmap == 2, case.array > 200) > 0.8
    for value in (1, 2):
        assert ndimage.label(result.labelmap == value)[1] == 1
    assert [segment.name for segment in result.measurements.segments] == ["liver_segment_1", "liver_segment_2"]
    assert [package.path.name for package in segmenter.packages] == ["parts", "fine"]


def test_a_part_in_two_pieces_keeps_the_larger_and_its_neighbors_get_the_rest() -> None:
    volume = Volume(np.zeros((40, 20, 20), np.int16), np.diag([-1.0, -1, 1, 1]))
    grid = model_grid(volume, "LPS", (2.0, 2.0, 2.0))
    drawn = np.zeros(grid.shape, np.uint8)
    drawn[2:10, 2:8, 2:8] = 1
    drawn[10:14, 2:8, 2:8] = 2
    drawn[4:5, 4:5, 4:5] = 2  # an island of the second part in the first
    organ = np.zeros(volume.array.shape, bool)
    organ[3:36, 3:17, 3:17] = True
    labels = divide(organ, GridLabels(torch.from_numpy(drawn), grid), Monitor(None, None))
    assert np.array_equal(labels > 0, organ)
    assert (labels[3:18, 3:17, 3:17] == 1).all()
    assert (labels[21:36, 3:17, 3:17] == 2).all()


def test_nothing_drawn_divides_nothing() -> None:
    volume = Volume(np.zeros((8, 8, 8), np.int16), np.diag([-1.0, -1, 1, 1]))
    grid = model_grid(volume, "LPS", (2.0, 2.0, 2.0))
    nothing = GridLabels(torch.zeros(grid.shape, dtype=torch.uint8), grid)
    assert not divide(np.ones((8, 8, 8), bool), nothing, Monitor(None, None)).any()


def test_the_stages_of_a_chain_are_told_and_stop(parts: Path, case: Volume) -> None:
    segmenter = Segmenter(parts, "cpu")
    told: list[Progress] = []
    segmenter.segment(case, told.append)
    stages = list(dict.fromkeys(step.stage for step in told))
    assert stages == ["locate", "prepare", "network", "restore", "postprocess", "measure", "divide"]
    for stage in stages:
        reached: list[str] = []
        with pytest.raises(SegmentationCancelled):
            segmenter.segment(case, lambda step: reached.append(step.stage), lambda: stage in reached)  # noqa: B023


def test_a_partner_that_is_not_there_is_one_sentence(guided: Path) -> None:
    shutil.rmtree(guided.parent / "coarse")
    with pytest.raises(ModelError, match="works with a second one, coarse, which is not there; put its package"):
        Segmenter(guided, "cpu")


@pytest.mark.parametrize(
    "chain",
    [
        {"guide": {"model": "../coarse"}},
        {"guide": {"model": "/etc"}},
        {"guide": {"model": ""}},
        {"guide": {"model": "coarse", "margin_mm": -1}},
        {"guide": {"model": "coarse", "margin_mm": "wide"}},
        {"guide": {"model": "coarse", "margin_mm": 1e999}},
        {"guide": {}},
        {"guide": 3},
        {"guide": "coarse"},
        {"divides": "a/b"},
        {"voters": ["coarse"]},
        {"guide": {"model": "coarse"}, "voters": ["../coarse"]},
        {"guide": {"model": "coarse"}, "voters": 3},
        {"guide": {"model": "coarse"}, "voters": ["a"] * 9},
        {"divides": 3},
        ["coarse"],
    ],
)
def test_a_chain_that_is_no_chain_is_one_sentence(chain: Any, guided: Path) -> None:
    path = guided / "configs" / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"liverseg_chain": chain}))
    (guided / "checksums.sha256").unlink()
    with pytest.raises(ModelError, match=r"The package fine names other models by .* in metadata\.json"):
        read_package(guided)


def test_an_organ_that_the_other_model_lacks_is_one_sentence(parts: Path) -> None:
    rename(parts.parent / "fine", {"1": "spleen"})
    with pytest.raises(ModelError, match="divides the liver that Toy model finds, but that model finds none"):
        Segmenter(parts, "cpu")


def test_a_patient_who_lies_otherwise_than_the_header_says_is_found() -> None:
    """A guide that is sure only of the image turned by 270 degrees decides how all models see it."""
    grid = model_grid(Volume(np.zeros((4, 4, 4), np.int16), GRID), "LPS", (2.0, 2.0, 2.0))
    asked: list[Turn] = []

    def find(turn: Turn, sure: dict[Turn, float | None]) -> GridLabels:
        asked.append(turn)
        return GridLabels(torch.zeros(grid.shape, dtype=torch.uint8), grid, sure.get(turn, 0.5))

    mirrored, feet_first = Turn(exchanged=(0,)), Turn(exchanged=(0, 2))
    for sure, chosen, looks in (
        ({STRAIGHT: 0.97}, STRAIGHT, 1),
        ({STRAIGHT: 0.4, Turn(270): 0.97}, Turn(270), 4),
        ({STRAIGHT: 0.9, Turn(270): 0.93}, STRAIGHT, 10),  # sure of neither
        ({STRAIGHT: 0.935, Turn(90): 0.945}, STRAIGHT, 10),  # hardly surer
        ({STRAIGHT: None, Turn(180): 0.96, mirrored: 0.99}, Turn(180), 4),
        ({STRAIGHT: 0.6, mirrored: 0.95, feet_first: 0.96}, feet_first, 10),
    ):
        asked.clear()
        _, turn = find_turned(lambda turn, sure=sure: find(turn, sure))  # type: ignore[misc]
        assert turn == chosen
        assert len(asked) == looks


@pytest.mark.parametrize(
    ("turn", "words"),
    [
        (Turn(90), "The patient in ct lies turned by 90 degrees against"),
        (Turn(exchanged=(0,)), "ct seems to have left and right exchanged against .*situs inversus"),
        (Turn(exchanged=(1, 2)), "ct seems to have front and back exchanged and head and feet exchanged against"),
    ],
)
def test_a_turn_is_told(turn: Turn, words: str) -> None:
    assert re.match(words, turn.sentence("ct"))


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("turn", [Turn(90), Turn(exchanged=(0,)), Turn(exchanged=(1, 2))])
def test_a_turned_look_leaves_the_result_on_its_grid(turn: Turn, guided: Path, case: Volume) -> None:
    segmenter = Segmenter(guided, "cpu", RAW)
    straight = segmenter.segment(case)
    turned = segmenter._model.segment(case, RAW, Monitor(None, None), turn=turn)
    assert turned.affine.tobytes() == case.affine.tobytes()
    assert dice(turned.labelmap == 2, straight.labelmap == 2) > 0.95
    assert turned.measurements.lesions[0].center_ras == pytest.approx((16, 4, 6), abs=0.5)


@pytest.mark.usefixtures("float32")
def test_the_organ_is_what_most_models_say(threshold_package: MakePackage, case: Volume) -> None:
    """The first model calls everything above 60 liver, the guide and the voter what is above 100."""
    threshold_package(name="coarse", labels=1)
    threshold_package(name="second", labels=1)
    wide = {"window": (-100.0, 220.0), "labels": 1}  # above 60
    case.array[30:34, 15:25, 10:20] = np.maximum(case.array[30:34, 15:25, 10:20], 80)
    alone = threshold_package(name="alone", guide=Guide("coarse", 30.0), **wide)
    voting = threshold_package(name="voting", guide=Guide("coarse", 30.0), voters=("second",), **wide)
    segmenter = Segmenter(voting, "cpu")
    assert [package.path.name for package in segmenter.packages] == ["voting", "coarse", "second"]
    truth = case.array > 100
    truth[:5, :5, :5] = False
    assert dice(segmenter.segment(case).labelmap > 0, truth) > 0.99
    assert dice(Segmenter(alone, "cpu").segment(case).labelmap > 0, truth) < 0.98


def test_votes_keep_lesions_inside_and_ties_go_to_the_first() -> None:
    labels = labels_for({1: "liver", 2: "tumor"})
    first = np.array([[[0, 1, 2, 2, 1, 0]]], np.uint8)
    yes, no = np.ones(first.shape, bool), np.zeros(first.shape, bool)
    both = first.copy()
    assert outvote(both, "liver", labels, [yes, yes]) == pytest.approx((0.8 + 0.8 + 1) / 3)
    assert both.tolist() == [[[1, 1, 2, 2, 1, 1]]]
    outvote(both, "liver", labels, [no, no])
    assert not both.any()
    tie = first.copy()
    outvote(tie, "liver", labels, [no])
    assert np.array_equal(tie, first)


def test_a_voter_that_knows_nothing_of_the_organ_is_one_sentence(threshold_package: MakePackage) -> None:
    threshold_package(name="coarse", labels=1)
    rename(threshold_package(name="spleens", labels=1), {"1": "spleen"})
    package = threshold_package(name="fine", guide=Guide("coarse"), voters=("spleens",))
    with pytest.raises(ModelError, match="asks Toy model about its liver, which that model does not segment"):
        Segmenter(package, "cpu")
