"""What is seen of a segmentation's quality, and what the user is told of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from LiverSegLib.engine.geometry import GridLabels, model_grid
from LiverSegLib.engine.progress import Monitor
from LiverSegLib.engine.second_look import Certainty, compare, on_grid
from LiverSegLib.engine.segmenter import Segmenter
from LiverSegLib.errors import InputError
from LiverSegLib.models import Guide
from LiverSegLib.quality import Calibration, Doubt
from LiverSegLib.volume import Volume
from Testing.engine.test_engine import ORIENTATIONS, reoriented

MakePackage = Callable[..., Path]
DrawCase = Callable[..., Volume]
GRID = np.array([[-2.0, 0, 0, 50], [0, -2, 0, 40], [0, 0, 2, -30], [0, 0, 0, 1]])  # LPS
SURE = Calibration(offset=0.5, weights={"agreement": 1.0, "certainty": 0.2}, low=-1.0, high=0.8)


def organ_and_look() -> tuple[Volume, Volume]:
    """An organ of 60 x 48 x 40 mm, and a look that lacks its lower right back corner and has a lump on its left."""
    organ = np.zeros((50, 40, 34), np.int16)
    organ[8:38, 6:30, 6:26] = 1
    look = organ.copy()
    look[8:20, 20:30, 6:14] = 0  # LPS: small i is the right, large j the back, small k below
    look[38:46, 14:24, 10:20] = 1
    return Volume(organ, GRID), Volume(look, GRID)


def looked(volume: Volume) -> GridLabels:
    """A look as a model on a grid of 2 mm has it."""
    grid = model_grid(volume, "LPS", (2.0, 2.0, 2.0))
    return GridLabels(torch.from_numpy(np.ascontiguousarray(grid.axes.apply(volume.array)).astype(np.uint8)), grid)


def agreed(result: Volume, look: Volume) -> tuple[dict[str, float], tuple[Doubt, ...]]:
    """What a result shows beside a second look."""
    found = looked(look)
    return compare(on_grid(result.array > 0, found.grid), found, result.affine)


@pytest.mark.parametrize("axes", ORIENTATIONS[::5], ids=str)
def test_places_to_check_are_those_of_the_patient_in_every_orientation(axes: object) -> None:
    organ, look = (reoriented(volume, axes) for volume in organ_and_look())  # type: ignore[arg-type]
    evidence, doubts = agreed(organ, look)
    assert evidence["agreement"] == pytest.approx(2 * 13440 / (14400 + 14240))
    assert [doubt.sentence("liver") for doubt in doubts] == [
        "Check the lower right part, at the back: 8 mL there may not be liver.",
        "Check the left part: 6 mL there may be missing from the liver.",
    ]
    assert doubts[0].center_ras == pytest.approx(GRID[:3] @ [13.5, 24.5, 9.5, 1], abs=0.01)


def test_borders_that_differ_by_a_voxel_are_no_doubt() -> None:
    organ, _ = organ_and_look()
    wider = np.zeros_like(organ.array)
    wider[7:39, 5:31, 5:27] = 1
    evidence, doubts = agreed(organ, replace(organ, array=wider))
    assert evidence["agreement"] < 0.9
    assert doubts == ()


def test_nothing_on_both_sides_is_no_evidence() -> None:
    empty = Volume(np.zeros((8, 8, 8), np.int16), GRID)
    assert agreed(empty, empty) == ({}, ())


def certainty(logits: torch.Tensor) -> float | None:
    look = Certainty(Monitor(None, None))
    look.add(logits)
    return look.value


def test_a_network_that_hesitates_is_less_certain() -> None:
    sure = torch.full((1, 12, 12, 12), -9.0)
    sure[:, 3:9, 3:9, 3:9] = 9.0
    high, low = certainty(sure), certainty(sure / 12)
    assert high is not None
    assert high == pytest.approx(1, abs=1e-2)
    assert low is not None
    assert low < 0.6
    both = torch.cat([torch.zeros_like(sure), sure])  # the same as logits of background and organ
    assert certainty(both) == pytest.approx(high)
    assert certainty(-sure.abs()) is None


@pytest.mark.usefixtures("float32")
def test_a_chain_tells_what_to_expect(threshold_package: MakePackage, draw_case: DrawCase) -> None:
    threshold_package(name="coarse", labels=1)
    case = draw_case(GRID, (46, 40, 34))
    result = Segmenter(threshold_package(guide=Guide("coarse", 12.0), calibration=SURE), "cpu").segment(case)
    quality = result.quality
    assert quality is not None
    assert quality.organ == "liver"
    assert quality.evidence["agreement"] > 0.99
    assert 100 < quality.evidence["gray"] < 200
    assert quality.expected_dice is not None
    assert quality.low is not None
    assert quality.high is not None
    assert 0.97 < quality.low < quality.expected_dice < quality.high < 1
    assert quality.text == "Expected Dice of the liver: 1.00 (1.00 to 1.00)"
    assert result.warnings == ()


def test_nothing_is_expected_of_a_few_slices(threshold_package: MakePackage, draw_case: DrawCase) -> None:
    threshold_package(name="coarse", labels=1)
    case = draw_case(GRID, (46, 40, 34))
    slices = round(14 / case.spacing[2])
    thin = replace(case, array=case.array[..., 17 : 17 + slices])
    result = Segmenter(threshold_package(guide=Guide("coarse", 12.0), calibration=SURE), "cpu").segment(thin)
    assert result.quality is not None
    assert result.quality.evidence["agreement"] > 0.5
    assert result.quality.expected_dice is None


def test_a_probable_failure_is_told_with_the_place(threshold_package: MakePackage, draw_case: DrawCase) -> None:
    threshold_package(name="coarse", labels=1, window=(-100.0, 420.0))  # sees what is above 160: half of the case
    case = draw_case(GRID, (46, 40, 34))
    dim = replace(case, array=case.array.copy())
    dim.array[:23][dim.array[:23] > 100] = 200
    result = Segmenter(threshold_package(guide=Guide("coarse", 60.0), calibration=SURE), "cpu").segment(dim)
    first, *others = result.warnings
    assert first.startswith("This is probably wrong in places. Expected Dice of the liver: 0.")
    assert first.endswith("; check all of it.")
    assert any(note.startswith("Check the ") and "may not be liver" in note for note in others)


def test_a_model_that_was_not_calibrated_expects_nothing(threshold_package: MakePackage, draw_case: DrawCase) -> None:
    result = Segmenter(threshold_package(), "cpu").segment(draw_case(GRID, (46, 40, 34)))
    assert result.quality is not None
    assert result.quality.expected_dice is None
    assert result.quality.text == ""
    assert set(result.quality.evidence) == {"certainty", "gray", "spread"}


@pytest.mark.parametrize("modality", ["MR", "CT", None])
def test_more_liver_than_anybody_has(modality: str | None, threshold_package: MakePackage) -> None:
    values = np.full((60, 60, 60), 150, np.int16)
    values[:6] = -900
    huge = Volume(values, np.diag([-4.0, -4, 4, 1]), "the scan", modality)
    segmenter = Segmenter(threshold_package(), "cpu")
    if modality == "MR":
        with pytest.raises(InputError, match=r"marked 12\.\d liters of the scan as liver, which no patient has"):
            segmenter.segment(huge)
    else:
        assert any("do not trust the result" in note for note in segmenter.segment(huge).warnings)


def test_a_calibration_needs_its_evidence() -> None:
    assert SURE.expected({"certainty": 0.9}) is None
    found = SURE.expected({"certainty": 0.9, "agreement": 0.0, "gray": 80.0})
    assert found is not None
    assert found[0] < 0.05
