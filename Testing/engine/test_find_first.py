"""A model of others that looks only where the liver was found: the same labels from fewer windows, or all of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from LiverSegLib.batch.fingerprint import work_key
from LiverSegLib.cli.way import choose
from LiverSegLib.engine import find_first, segmenter
from LiverSegLib.engine.progress import Progress
from LiverSegLib.engine.segmenter import Segmenter
from LiverSegLib.errors import InputError
from LiverSegLib.models import read_package
from LiverSegLib.models.intensity import Normalize, ScalePercentiles
from LiverSegLib.models.store import DEFAULT, LOCATOR, find_package
from LiverSegLib.request import ALL, SegmentationRequest
from LiverSegLib.volume import Result, Volume
from Testing.benchmarks.find_first import alone, phantoms
from Testing.label_names import rename

MakePackage = Callable[..., Path]
GRID = np.diag([-2.0, -2.0, 2.0, 1.0])
FIRST = SegmentationRequest(find_first=True)
ALL_OF_IT = "The liver was not found for sure in ct.nii at first, so all of it was segmented."


def body(*livers: tuple[slice, slice, slice], shape: tuple[int, int, int] = (120, 110, 100)) -> Volume:
    array = np.full(shape, -100, np.int16, order="F")
    for liver in livers:
        array[liver] = 250
    return Volume(array, GRID, "ct.nii", "CT")


LIVER = (slice(20, 50), slice(30, 64), slice(60, 84))
BESIDE = (slice(50, 100), slice(40, 54), slice(66, 78))


@pytest.fixture
def locator(threshold_package: MakePackage, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A coarse model as the locator, that finds what is brighter than 200."""
    package = threshold_package(name="locator", pixdim=(6.0, 6.0, 6.0), targets=("liver",))
    rename(package, {"1": "spleen", "2": "liver"})
    monkeypatch.setattr(segmenter, "LOCATOR", str(package))
    monkeypatch.setattr(find_first, "_SURE", 0.6)  # its logits are small
    return package


@pytest.fixture
def whole_body(threshold_package: MakePackage) -> Segmenter:
    return Segmenter(threshold_package(name="body", labels=1, roi_size=(32, 32, 32)), "cpu")


def run(model: Segmenter, volume: Volume, request: SegmentationRequest) -> tuple[Result, int]:
    """The result, and how many windows of the model it took."""
    windows: list[int] = []

    def count(step: Progress) -> None:
        if step.stage == "network" and step.done:
            windows.append(step.done)

    return model.segment(volume, count, request=request), len(windows)


@pytest.mark.usefixtures("locator", "float32")
def test_the_labels_are_the_same_from_fewer_windows(whole_body: Segmenter) -> None:
    everywhere, many = run(whole_body, body(LIVER), SegmentationRequest())
    near, few = run(whole_body, body(LIVER), FIRST)
    assert np.array_equal(near.labelmap, everywhere.labelmap)
    assert near.labelmap.sum() == 30 * 34 * 24
    assert near.measurements == everywhere.measurements
    assert near.warnings == everywhere.warnings
    assert few < many / 2
    assert next(iter(near.timings)) == "locate"


@pytest.mark.usefixtures("locator", "float32")
def test_a_liver_that_goes_on_behind_the_region_is_followed(
    whole_body: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The locator sees the thick part alone; the thin one is longer than any margin."""
    volume = body(LIVER, BESIDE)
    volume.array[BESIDE] = 150  # too faint for it
    everywhere, _ = run(whole_body, volume, SegmentationRequest())
    monkeypatch.setattr(find_first, "MARGIN_MM", 8.0)
    near, _ = run(whole_body, volume, FIRST)
    assert np.array_equal(near.labelmap, everywhere.labelmap)
    assert near.labelmap[BESIDE].all()
    assert ALL_OF_IT not in near.warnings


@pytest.mark.usefixtures("locator", "float32")
@pytest.mark.parametrize("case", ["nothing", pytest.param("two halves", marks=pytest.mark.slow), "not certain"])
def test_where_it_is_unsure_all_is_segmented(whole_body: Segmenter, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    volume = body(LIVER)
    if case == "nothing":
        volume.array[...] = np.arange(110)[:, None] % 50 - 500
    elif case == "two halves":
        volume.array[20:50, 30:64, 10:34] = 250
    else:
        monkeypatch.setattr(find_first, "_SURE", 1.1)
    everywhere, many = run(whole_body, volume, SegmentationRequest())
    near, count = run(whole_body, volume, FIRST)
    assert np.array_equal(near.labelmap, everywhere.labelmap)
    assert near.warnings == (*everywhere.warnings, ALL_OF_IT)
    assert count == many


@pytest.mark.usefixtures("locator")
def test_a_region_of_the_user_comes_first(whole_body: Segmenter) -> None:
    there, elsewhere = ((0, 60), (0, 110), (50, 100)), ((60, 120), (0, 110), (0, 50))
    found = whole_body.segment(body(LIVER), request=replace(FIRST, region=there))
    assert found.labelmap.sum() == 30 * 34 * 24
    with pytest.raises(InputError, match="has the value -100 everywhere"):
        whole_body.segment(body(LIVER), request=replace(FIRST, region=elsewhere))


def refused(package: Path, request: SegmentationRequest = FIRST, **changes: object) -> str:
    model = Segmenter(replace(read_package(package), **changes), "cpu")  # type: ignore[arg-type]
    with pytest.raises(InputError) as caught:
        model.segment(body(LIVER), request=request)
    return str(caught.value)


def test_what_lies_elsewhere_or_needs_all_of_the_image_is_refused(threshold_package: MakePackage) -> None:
    package = threshold_package(name="organs")
    rename(package, {"1": "liver", "2": "spleen"})
    sentence = "Toy model is asked for spleen, which does not lie in the liver; ask for labels of the liver alone"
    assert refused(package).startswith(sentence)
    assert "spleen" in refused(package, replace(FIRST, targets=ALL))
    for changes in (
        {"intensity": (ScalePercentiles(lower=1, upper=99),)},
        {"intensity": (Normalize(),)},
        {"size": (64, 64, 64)},
    ):
        found = refused(package, replace(FIRST, targets=("liver",)), **changes)
        assert re.fullmatch(r"What Toy model makes of a voxel depends on the whole image; .*\(--find-first\)\.", found)
    assert "not for single CT images" in refused(package, replace(FIRST, targets=("liver",)), modality="MR")


@pytest.mark.usefixtures("locator", "float32")
def test_a_label_of_the_liver_among_others_is_enough(threshold_package: MakePackage) -> None:
    package = threshold_package(name="organs", roi_size=(32, 32, 32))
    rename(package, {"1": "liver", "2": "spleen"})
    volume = body(LIVER)
    volume.array[LIVER] = 150
    volume.array[24:40, 36:60, 64:80] = 250
    found = Segmenter(package, "cpu").segment(volume, request=replace(FIRST, targets=("liver",)))
    assert found.labelmap.sum() == 30 * 34 * 24 - 16 * 24 * 16


def test_the_shipped_locator_is_the_guide_of_the_default_model_and_counts_in_a_batch() -> None:
    guide = read_package(find_package(DEFAULT)).guide
    assert guide is not None
    assert guide.model == LOCATOR
    starter = SegmentationRequest(model="liver_ct_starter")
    folders = choose(replace(starter, find_first=True), None).folders
    assert [folder.name for folder in folders] == ["liver_ct_starter", LOCATOR, DEFAULT]
    assert work_key(starter, [], []) != work_key(replace(starter, find_first=True), [], [])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a trunk", "liver at the border", "left half of it", "no liver", "mirrored"])
def test_phantoms_have_the_same_labels(name: str) -> None:
    volume = phantoms(1, 3.0)[name]
    model = Segmenter(alone(read_package(find_package(DEFAULT))), "cpu")
    everywhere, near = model.segment(volume).labelmap > 0, model.segment(volume, request=FIRST).labelmap > 0
    both = everywhere.sum() + near.sum()
    assert not both or 2 * (everywhere & near).sum() / both > 0.98
