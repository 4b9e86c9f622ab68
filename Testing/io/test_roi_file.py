"""A region of interest as Slicer saves it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from LiverSegLib.errors import InputError
from LiverSegLib.io.roi_file import read_roi

TURN = [[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]]
"""Rotation about the axis from feet to head; its columns are the directions of the sides."""


def a_markup(**changes: Any) -> dict[str, Any]:
    """What vtkMRMLMarkupsJsonStorageNode writes of a ROI."""
    return {
        "type": "ROI",
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "locked": False,
        "fixedNumberOfControlPoints": False,
        "labelFormat": "%N-%d",
        "lastUsedControlPointNumber": 1,
        "roiType": "Box",
        "center": [10.0, -20.0, 30.0],
        "orientation": [-1.0, -0.0, -0.0, -0.0, -1.0, -0.0, 0.0, 0.0, 1.0],
        "size": [40.0, 50.0, 60.0],
        "insideOut": False,
        "controlPoints": [],
        **changes,
    }


def save(path: Path, *markups: Any) -> Path:
    path.write_text(json.dumps({"@schema": "https://example.org#", "markups": markups}))
    return path


def test_a_box_along_the_axes(tmp_path: Path) -> None:
    box = read_roi(save(tmp_path / "R.mrk.json", a_markup()))
    assert (box.center, box.size) == ((-10.0, 20.0, 30.0), (40.0, 50.0, 60.0))
    np.testing.assert_allclose(box.axes, np.eye(3))


@pytest.mark.parametrize("system", ["LPS", "RAS"])
def test_a_turned_box_in_either_coordinate_system(tmp_path: Path, system: str) -> None:
    markup = a_markup(coordinateSystem=system, orientation=np.ravel(TURN).tolist())
    box = read_roi(save(tmp_path / "R.mrk.json", markup))
    sign = np.array([-1, -1, 1]) if system == "LPS" else np.ones(3)
    np.testing.assert_allclose(box.center, sign * [10, -20, 30])
    np.testing.assert_allclose(box.axes[0], sign * [0.8, 0.6, 0])
    np.testing.assert_allclose(box.axes[1], sign * [-0.6, 0.8, 0])
    np.testing.assert_allclose(box.axes[2], sign * [0, 0, 1])


@pytest.mark.parametrize(
    ("markups", "sentence"),
    [
        ([], "holds 0 markups"),
        ([a_markup(), a_markup()], "holds 2 markups; save the ROI that is meant into a file of its own"),
        ([a_markup(type="Fiducial")], "of the type Fiducial; save a ROI box"),
        ([a_markup(roiType="Sphere")], "of the type Sphere; save a ROI box"),
        ([a_markup(coordinateSystem="IJK")], "counts in IJK; save the ROI in LPS or RAS"),
        ([a_markup(coordinateUnits="m")], "other units than mm"),
        ([a_markup(center=[1, 2])], "no center of 3 numbers"),
        ([a_markup(size=[1, 2, "3"])], "no size of 3 numbers"),
        ([a_markup(size=[1, 2, True])], "no size of 3 numbers"),
        ([a_markup(size=[1, 2, 0])], "give three sides above 0"),
        ([a_markup(size=[1, 2, float("nan")])], "give three sides above 0"),
        ([a_markup(center=[10**400, 0, 0])], "has a center that is too large"),
        ([a_markup(orientation=[1, 0, 0, 0, 1, 0, 0, 0, 2])], "no rotation"),
        ([a_markup(orientation=[float("nan")] * 9)], "no rotation"),
        (["ROI"], "holds no markups"),
    ],
)
def test_what_is_no_box_is_refused(tmp_path: Path, markups: list[Any], sentence: str) -> None:
    path = save(tmp_path / "R.mrk.json", *markups)
    with pytest.raises(InputError, match=sentence) as caught:
        read_roi(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[]", "holds no markups"),
        (b'{"markups": {}}', "holds no markups"),
        (b" " * (1 << 20) + b"{}", "is larger than any ROI file"),
    ],
)
def test_files_of_other_content_are_refused(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "R.mrk.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        read_roi(path)


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_roi(tmp_path / "R.mrk.json")
