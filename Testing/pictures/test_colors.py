"""Segments in pictures can be told apart, and segmentations keep their anatomical colors."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from LiverSegLib.io import write_measurements_json
from LiverSegLib.labels import KNOWN_NAMES, Label, label_for
from LiverSegLib.measure import Measurements, SegmentMeasurement
from LiverSegLib.pictures import save_case_picture
from LiverSegLib.pictures.build import build_scene
from LiverSegLib.pictures.colors import FAR, lab, picture_colors
from LiverSegLib.volume import Result, Volume
from Training.fit.preview import save_preview

PYRAMID = ("liver", "kidneys", "spleen", "stomach")
MANY = (
    *(name for name in KNOWN_NAMES if name not in ("lungs", "kidneys")),
    "left kidney",
    "esophagus",
    "vena cava",
    "bladder",
    "duodenum",
    "prostate",
)


def labels_of(names: tuple[str, ...]) -> tuple[Label, ...]:
    return tuple(label_for(value, name) for value, name in enumerate(names, 1))


def nearest(colors: list[tuple[int, int, int]]) -> float:
    """The least distance of any two in CIELAB."""
    return min(float(np.linalg.norm(a - b)) for a, b in itertools.combinations(lab(colors), 2))


@pytest.mark.parametrize("names", [PYRAMID, ("liver", "tumor"), ("liver", "pancreas", "aorta"), MANY, MANY[::-1]])
def test_no_two_segments_of_a_picture_look_alike(names: tuple[str, ...]) -> None:
    colors = picture_colors(labels_of(names))
    assert set(colors) == set(names)
    assert nearest(list(colors.values())) >= FAR
    gray = lab([(shade, shade, shade) for shade in (0, 60, 120, 180, 255)])
    assert min(np.linalg.norm(gray - color, axis=1).min() for color in lab(list(colors.values()))) > 20
    assert colors["liver"] == (221, 130, 101)


def test_even_sixty_labels_differ() -> None:
    colors = picture_colors(label_for(value, f"organ {value}") for value in range(1, 61))
    assert len(set(colors.values())) == 60


def test_the_measure_of_difference() -> None:
    # Reference values of sRGB red, white and a gray (D65).
    found = lab([(255, 0, 0), (255, 255, 255), (119, 119, 119)])
    np.testing.assert_allclose(found, np.array([[53.24, 80.09, 67.20], [100, 0, 0], [50.03, 0, 0]]), atol=0.1)
    assert nearest([label_for(1, "liver").color, label_for(1, "stomach").color]) < 5  # what the eye could not tell


@pytest.fixture
def organs() -> tuple[Volume, Result]:
    """Four organs side by side in one slab."""
    labelmap = np.zeros((80, 20, 20), np.uint8)
    for number in range(4):
        labelmap[20 * number + 2 : 20 * number + 18, 2:18, 2:18] = number + 1
    labels = labels_of(PYRAMID)
    measured = Measurements(
        segments=tuple(SegmentMeasurement(name=label.name, voxels=4096, volume_ml=4.1) for label in labels)
    )
    return Volume(np.zeros(labelmap.shape, np.int16), np.eye(4), "slab", "CT"), Result(
        labelmap=labelmap, affine=np.eye(4), labels=labels, measurements=measured
    )


def shown(path: Path, color: tuple[int, int, int]) -> int:
    """How many pixels have a color, or nearly: outlines are drawn with it."""
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    return int((np.abs(pixels - color).max(axis=-1) <= 6).sum())


def test_pictures_are_drawn_in_colors_that_differ(organs: tuple[Volume, Result], tmp_path: Path) -> None:
    volume, result = organs
    colors = picture_colors(result.labels)
    scene = build_scene(volume, result.labelmap, result.labels)
    assert {overlay.name: overlay.color for overlay in scene.overlays} == colors
    save_case_picture(tmp_path / "case.png", volume, result)
    mask = np.moveaxis(result.labelmap, 2, 0)[None, None, 10:11, :, :][:, :, 0]
    save_preview(
        {"image": mask.astype(np.float32), "label": mask}, tmp_path / "preview.png", dict(enumerate(PYRAMID, 1))
    )
    for path in (tmp_path / "case.png", tmp_path / "preview.png"):
        assert all(shown(path, color) > 20 for color in colors.values())


def test_a_result_keeps_the_colors_of_anatomy(organs: tuple[Volume, Result], tmp_path: Path) -> None:
    write_measurements_json(tmp_path / "a.json", replace(organs[1]))
    written = [label["color"] for label in json.loads((tmp_path / "a.json").read_text())["labels"]]
    assert written == [list(label_for(1, name).color) for name in PYRAMID]
