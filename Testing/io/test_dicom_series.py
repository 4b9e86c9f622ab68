"""Folders with several series: told, chosen from, and the best of them by the rule that is written down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")

from LiverSegLib.errors import InputError  # noqa: E402
from LiverSegLib.io import read_volume  # noqa: E402
from LiverSegLib.io.dicom.series import list_series  # noqa: E402
from Testing.io import test_io_dicom as dicom  # noqa: E402


def add(folder: Path, number: int, description: str, slices: int, **changes: Any) -> None:
    """A series of its own; `gap`: mm from slice to slice."""
    gap = changes.pop("gap", 2.0)
    for k in range(slices):
        fields = {"SeriesInstanceUID": f"1.2.9.{number}", "SeriesNumber": number, "SeriesDescription": description}
        fields |= {"ImagePositionPatient": [-100, -50, gap * k], **changes}
        dicom.save(folder, dicom.image(k, **fields), f"{number}-{k}")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """What a scanner sends: scout, thick and thin axial slices, another phase, a coronal reformat, a screenshot."""
    folder = tmp_path / "study"
    add(folder, 1, "Scout", 1, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    add(folder, 2, "portal venous 5.0", 5, gap=5.0)
    add(folder, 3, "portal venous 1.0", 9, gap=1.0)
    add(folder, 4, "lung 0.3", 12, gap=0.3)
    coronal = {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1], "ImageType": ["DERIVED", "SECONDARY", "REFORMATTED"]}
    for k in range(14):
        place = {"SeriesInstanceUID": "1.2.9.5", "SeriesNumber": 5, "SeriesDescription": "coronal"}
        dicom.save(folder, dicom.image(k, **place, **coronal, ImagePositionPatient=[0, 2 * k, 0]), f"5-{k}")
    add(folder, 6, "subtraction", 11, ImageType=["DERIVED", "PRIMARY", "AXIAL"])
    return folder


def test_series_are_listed_with_what_tells_them_apart(study: Path) -> None:
    found = [(s.text("SeriesNumber"), s.text("SeriesDescription"), s.slices, s.remark) for s in list_series(study)]
    assert found == [
        ("1", "Scout", 1, "scout"),
        ("2", "portal venous 5.0", 5, ""),
        ("3", "portal venous 1.0", 9, ""),
        ("4", "lung 0.3", 12, ""),
        ("5", "coronal", 14, "derived"),
        ("6", "subtraction", 11, "derived"),
    ]


@pytest.mark.parametrize(
    ("choice", "slices"),
    [("2", 5), ("1.2.9.4", 12), ("Portal Venous 1.0", 9), ("lung", 12), ("best", 9)],
    ids=["number", "UID", "description", "part of a description", "best"],
)
def test_a_series_is_chosen(study: Path, choice: str, slices: int) -> None:
    assert read_volume(study, series=choice).array.shape[2] == slices


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        (None, r"holds 5 series \(2: portal venous 5\.0, 5 slices; .*choose it with --series NUMBER"),
        ("7", r"has no series 7; choose one of 2: portal"),
        ("portal", r"has 2 series portal \(2: .*; 3: .*\); choose one by its UID"),
        ("", r"has no series ; choose one of"),
    ],
)
def test_what_cannot_be_chosen_is_told_with_the_series(study: Path, choice: str | None, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_volume(study, series=choice)


def test_the_best_is_original_before_derived_and_sensible_before_many(tmp_path: Path) -> None:
    add(tmp_path / "a", 1, "derived", 9, ImageType=["DERIVED", "PRIMARY", "AXIAL"])
    assert read_volume(tmp_path / "a", series="best").array.shape[2] == 9
    add(tmp_path / "a", 2, "thick", 4, gap=8.0)
    assert read_volume(tmp_path / "a", series="best").array.shape[2] == 4
    add(tmp_path / "a", 3, "thin", 3, gap=1.0)
    assert read_volume(tmp_path / "a", series="best").array.shape[2] == 3


def test_a_tilted_gantry_is_axial(tmp_path: Path) -> None:
    add(tmp_path / "a", 1, "tilted", 4, ImageOrientationPatient=[1, 0, 0, 0, np.cos(0.4), -np.sin(0.4)])
    add(tmp_path / "a", 2, "short", 3)
    assert read_volume(tmp_path / "a", series="best").array.shape[2] == 4


def test_where_none_is_axial_the_best_is_not_guessed(tmp_path: Path) -> None:
    add(tmp_path / "a", 1, "pet", 4, Modality="PT")
    add(tmp_path / "a", 2, "one", 1)
    with pytest.raises(InputError, match=r"has no axial CT or MR series .*among 1: pet, 4 slices; 2: one, 1 slices"):
        read_volume(tmp_path / "a", series="best")


def test_a_series_that_lacks_a_slice_is_not_the_best(tmp_path: Path) -> None:
    add(tmp_path / "a", 1, "broken", 9)
    (tmp_path / "a/1-4").unlink()
    add(tmp_path / "a", 2, "whole", 3)
    assert read_volume(tmp_path / "a", series="best").array.shape[2] == 3
