"""Slicer's own views, which draw a picture of the documentation, show the same as ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("trame_slicer", reason="the extra slicer is not installed", exc_type=ImportError)

from matplotlib.image import imread

from LiverSegLib.pictures import figures, save_case_picture
from Testing.headless.slicer_views import save_slicer_picture
from Testing.pictures.test_pictures import AFFINE, LABELS, TILE, colored, panels, phantom


def test_slicers_views_show_the_same_as_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "TILE", TILE)
    affine, angle = AFFINE.copy(), np.deg2rad(-20)
    affine[1:3, 1:3] = [[2 * np.cos(angle), -4 * np.sin(angle)], [2 * np.sin(angle), 4 * np.cos(angle)]]
    volume, result = phantom(affine)
    try:
        save_slicer_picture(tmp_path / "slicer.png", volume, result)
    except RuntimeError as error:  # a machine without OpenGL
        pytest.skip(str(error))
    save_case_picture(tmp_path / "plain.png", volume, result)
    assert imread(tmp_path / "plain.png").shape == imread(tmp_path / "slicer.png").shape
    for ours, theirs in zip(panels(tmp_path / "plain.png")[:3], panels(tmp_path / "slicer.png")[:3], strict=True):
        for label in LABELS:
            plain, slicer = colored(ours, label.color), colored(theirs, label.color)
            np.testing.assert_allclose(plain.min(axis=0), slicer.min(axis=0), atol=0.02)
            np.testing.assert_allclose(plain.max(axis=0), slicer.max(axis=0), atol=0.02)
    assert colored(panels(tmp_path / "slicer.png")[3], (150, 80, 60), 0.2).size > 0
